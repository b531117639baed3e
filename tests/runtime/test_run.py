"""``tenure run`` against a real control plane in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from demo.processes import Process, listening, until
from tests.sim.installation import COMMAND, Installation
from tests.sim.manifests import manifest

SERVER = (sys.executable, "-m", "tenure.app.server")
PYTHON = sys.executable


class Control:
    """A control plane that a test can end and start again."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.tenure = Installation(folder)
        self._server: Process | None = None
        self._agents = 0

    def start(self) -> None:
        """Serves."""
        server = self._server = Process(SERVER, self.tenure.env)
        until(lambda: any(line.startswith("control ready") for line in server.lines), "the control plane", 40)

    def kill(self) -> None:
        """kill -9."""
        assert self._server is not None
        os.kill(self._server.pid, signal.SIGKILL)
        self._server.wait(10)

    def stop(self) -> None:
        """Ends it."""
        if self._server is not None:
            self._server.stop()

    def agent(self) -> str:
        """A new agent in staging."""
        self._agents += 1
        name = f"clerk-{self._agents}"
        self.tenure.employ(manifest(name, "http://127.0.0.1:1/v1"))
        return name

    def instances(self, name: str) -> list[dict[str, Any]]:
        """The instances of an agent."""
        with self.tenure.client() as client:
            return client.get(f"/v1/agents/{name}/instances", list[dict[str, Any]])

    def run(self, name: str, *command: str, **more: Any) -> Process:
        """``tenure run`` in the background."""
        return Process((*COMMAND, "run", "--agent", name, "--", *command), {**self.tenure.env, **more})

    def code(self, name: str, code: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """``tenure run`` of a Python program, to its end."""
        words = (*COMMAND, "run", "--agent", name, "--", PYTHON, "-c", code)
        return subprocess.run(
            words, env=self.tenure.env, capture_output=True, text=True, timeout=60, check=False, **more
        )


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Control]:
    control = Control(tmp_path_factory.mktemp("run") / "data")
    control.start()
    yield control
    control.stop()


def gone(*pids: int) -> Callable[[], bool]:
    """Whether none of the processes runs any more."""
    return lambda: not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in pids)


def test_a_process_gets_its_identity_by_its_environment_alone(control: Control) -> None:
    name = control.agent()
    code = """
import json, os, sys
print(json.dumps({"env": dict(os.environ), "argv": sys.argv, "stdin": sys.stdin.read()}))
print("words for people", file=sys.stderr)
sys.exit(7)
"""
    done = control.code(name, code, input="what it reads")
    assert done.returncode == 7, done.stderr
    told = json.loads(done.stdout)
    env = told["env"]
    assert env["OPENAI_BASE_URL"].startswith("http://127.0.0.1:")
    assert env["OPENAI_BASE_URL"] != f"{control.tenure.gateway}/v1"
    assert env["OPENAI_API_KEY"].startswith("tnp_")
    assert "TENURE_TOKEN" not in env
    assert told["stdin"] == "what it reads"
    assert "words for people" in done.stderr
    assert "tenure:" not in done.stderr, "an end by itself is not told as one that was ordered"
    assert env["OPENAI_API_KEY"] not in done.stderr + json.dumps(told["argv"])
    (instance,) = control.instances(name)
    assert (instance["end"], instance["exit_code"], instance["session"]) == ("exited", 7, env["TENURE_SESSION"])


def test_a_command_killed_by_a_signal_is_told_as_a_shell_would(control: Control) -> None:
    done = control.code(control.agent(), "import os; os.kill(os.getpid(), 9)")
    assert done.returncode == 137


def test_signals_are_passed_on(control: Control) -> None:
    code = """
import signal, sys, time
signal.signal(signal.SIGUSR1, lambda *_: print("usr1", flush=True))
signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
print("ready", flush=True)
while True: time.sleep(0.05)
"""
    run = control.run(control.agent(), PYTHON, "-c", code)
    until(lambda: "ready" in run.lines, "the child")
    os.kill(run.pid, signal.SIGUSR1)
    until(lambda: "usr1" in run.lines, "the signal")
    os.kill(run.pid, signal.SIGTERM)
    assert run.wait(10) == 5


STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen(["sleep", "600"])
stray = subprocess.Popen(["sleep", "600"], start_new_session=True)
print("pids", os.getpid(), child.pid, stray.pid, flush=True)
while True: time.sleep(0.05)
"""


def pids_of(run: Process) -> list[int]:
    """The processes that a program told of."""
    until(lambda: any(line.startswith("pids ") for line in run.lines) or run.status() is not None, "the child")
    return [int(word) for word in next(line for line in run.lines if line.startswith("pids ")).split()[1:]]


@pytest.mark.req("R014")
@pytest.mark.parametrize("to", ["suspended", "retired"])
@pytest.mark.asi("ASI10", "A suspended or retired agent has no process left")
def test_a_suspended_or_retired_agent_has_no_process_left(control: Control, to: str) -> None:
    name = control.agent()
    run = control.run(name, PYTHON, "-c", STUBBORN)
    pids = pids_of(run)
    started = time.monotonic()
    if to == "suspended":
        control.tenure.move(name, "suspended")
    else:
        control.tenure.run("agents", "retire", name, "--reason", "replaced", "--drain", "1", "--yes")
    assert run.wait(20) == 137, run.lines
    assert time.monotonic() - started < 12
    until(gone(*pids), "every process to be gone", 5)
    assert any(f"{name} is {to}: " in line for line in run.lines), run.lines
    assert control.tenure.state(name) == to
    (instance,) = control.instances(name)
    assert (instance["end"], instance["exit_code"]) == ("exited", 137)


def test_what_a_command_leaves_behind_is_ended_with_it(control: Control) -> None:
    code = "import subprocess; print('pids', subprocess.Popen(['sleep', '600']).pid, flush=True)"
    run = control.run(control.agent(), PYTHON, "-c", code)
    pids = pids_of(run)
    assert run.wait(10) == 0
    assert gone(*pids)()


def test_it_outlives_the_control_plane(control: Control) -> None:
    name = control.agent()
    code = "import os, time; print('pids', os.getpid(), flush=True); time.sleep(600)"
    run = control.run(name, PYTHON, "-c", code)
    (child,) = pids_of(run)
    control.kill()
    until(lambda: any("The process goes on" in line for line in run.lines), "the loss to be told", 15)
    assert run.status() is None
    assert psutil.pid_exists(child)
    control.start()
    assert listening(control.tenure.control_port)
    until(lambda: any("the control plane is back" in line for line in run.lines), "the return", 15)
    control.tenure.move(name, "suspended")
    assert run.wait(10) == 143
    assert gone(child)()


def test_a_terminal_is_passed_through(control: Control) -> None:
    code = "import sys; print('got', input('name? '), flush=True); sys.stdin.read()"
    words = [*COMMAND, "run", "--agent", control.agent(), "--", PYTHON, "-c", code]
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe(words[0], words, control.tenure.env)  # noqa: S606 (the child of the terminal becomes the command)
    seen = b""

    def shows(text: bytes) -> bool:
        nonlocal seen
        if select.select([terminal], [], [], 0)[0]:
            with contextlib.suppress(OSError):
                seen += os.read(terminal, 4096)
        return text in seen

    until(lambda: shows(b"name? "), "the prompt")
    os.write(terminal, b"Ada\n")
    until(lambda: shows(b"got Ada"), "what was typed")
    os.write(terminal, b"\x1a")  # Ctrl-Z stops both, as a shell expects it
    until(lambda: os.waitpid(pid, os.WNOHANG | os.WUNTRACED)[0] == pid, "both to stop")
    os.kill(pid, signal.SIGCONT)
    time.sleep(0.3)
    os.write(terminal, b"\x03")  # Ctrl-C reaches the command, not `tenure run`
    ends: list[int] = []

    def ended() -> bool:
        shows(b"")
        found, status = os.waitpid(pid, os.WNOHANG)
        ends[:] = [os.waitstatus_to_exitcode(status)] if found else []
        return bool(ends)

    until(ended, "the end")
    os.close(terminal)
    assert ends == [130], seen.decode()


def test_what_cannot_run_is_refused_before_anything_starts(control: Control) -> None:
    name = control.agent()
    assert "no program" in control.tenure.run("run", "--agent", name, "--", "no-such-program", expect=2)
    assert "no agent 'nobody'" in control.tenure.run("run", "--agent", "nobody", "--", "true", expect=2)
    control.tenure.move(name, "suspended")
    assert "only an agent in staging" in control.tenure.run("run", "--agent", name, "--", "true", expect=2)
    assert control.instances(name) == []
    assert "Nothing runs" in control.tenure.run("instances", name)
