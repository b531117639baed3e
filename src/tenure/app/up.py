"""``tenure up``: the gateway and the control plane, supervised together.

The supervisor holds the data folder's lock, starts both processes, starts one again that ends by itself, and stops the
gateway before the control plane, so that what is in flight can still be recorded. It imports nothing heavy, and sleeps
while both run: being ready fast is part of the job, and so is taking next to nothing. ``python -m tenure.app.up``.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tenure.app.told import told
from tenure.base.config import Config, environment, load
from tenure.kernel.errors import Failed, Refused

READY_WITHIN_S = 30.0
_STEADY_S = 20.0  # a process that ran this long is not in a crash loop
_MAX_PAUSE_S = 5.0
_PR_SET_PDEATHSIG = 1


def check_port(host: str, port: int, what: str, setting: str) -> None:
    """Raises Refused when ``what`` cannot listen there."""
    try:
        with socket.create_server((host, port)):
            pass
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise Refused(
                "port_taken",
                f"Port {port} for the {what} is taken by another process.",
                fix=f"Stop that process, or choose another port with {setting}.",
            ) from error
        raise Refused(
            "cannot_listen", f"The {what} cannot listen on {host}:{port}: {error.strerror}.", fix=f"Change {setting}."
        ) from error


def prepare_folder(folder: Path) -> None:
    """Makes the data folder, readable by its owner alone. Raises Refused when it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        probe = folder / f".probe-{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise Refused(
            "folder_not_writable",
            f"The data folder {folder} cannot be written: {error.strerror}.",
            fix="Give its owner the right to write, or choose another with TENURE_DATA.",
        ) from error


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the data folder for this process. Raises Refused while another Tenure holds it."""
    with (folder / "lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Refused(
                "folder_in_use",
                f"Another `tenure up` uses the data folder {folder}.",
                fix="Stop it, or choose another folder with TENURE_DATA.",
            ) from error
        yield


def _die_with_parent() -> None:
    """Runs in the child before it starts: no orphan may go on serving when the supervisor is killed (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _decides(config: Config) -> bool:
    """Whether the gateway has the facts to decide calls from."""
    # By hand: Python's HTTP client loads TLS and the formats of mail, for this one line.
    asked = b"GET /healthz HTTP/1.1\r\nhost: tenure\r\nconnection: close\r\n\r\n"
    try:
        with socket.create_connection((config.host, config.gateway_port), timeout=2) as connection:
            connection.sendall(asked)
            with connection.makefile("rb") as answer:
                return answer.readline().split()[1:2] == [b"200"]
    except OSError:
        return False


@dataclass(slots=True)
class Child:
    """One supervised process. ``ready`` is set by the line that it prints when it serves, whose rest is ``told``."""

    name: str
    command: Sequence[str]
    ready: threading.Event = field(default_factory=threading.Event)
    told: str = ""
    process: subprocess.Popen[str] | None = None
    started: float = 0.0
    pause: float = 0.2
    due: float = 0.0

    def start(self, env: Mapping[str, str]) -> None:
        """Starts the process and a thread that reads what it prints."""
        self.ready.clear()
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            self.command,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 (the supervisor starts its processes from one thread)
        )
        assert self.process.stdout is not None  # noqa: S101 (asked for a pipe above)
        threading.Thread(target=self._listen, args=(self.process.stdout,), daemon=True).start()

    def _listen(self, stdout: IO[str]) -> None:
        for line in stdout:
            if line.startswith(f"{self.name} ready"):
                self.told = line.removeprefix(f"{self.name} ready").strip()
                self.ready.set()
            else:
                sys.stderr.write(line)

    def stop(self, within: float) -> None:
        """SIGTERM, and SIGKILL when it does not end in ``within`` seconds."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(within)
        except subprocess.TimeoutExpired:
            sys.stderr.write(f"{self.name} did not drain within {within:.0f} s and was killed\n")
            self.process.kill()
            self.process.wait()


class _Alarm:
    """Wakes whoever sleeps here when a signal comes: a child has ended, or somebody wants a stop."""

    def __init__(self) -> None:
        self._bed, wakes = socket.socketpair()
        for end in (self._bed, wakes):
            end.setblocking(False)
        self._wakes = wakes
        signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # Python tells of a signal only where something handles it

    def sleep(self, seconds: float | None) -> None:
        """Until a signal came after the last sleep, or for so long; None: no longer than until a signal."""
        select.select((self._bed,), (), (), seconds)
        with suppress(BlockingIOError):
            self._bed.recv(4096)


class Supervisor:
    """Keeps the children running until told to stop."""

    def __init__(self, config: Config, say: Callable[[str], None]) -> None:
        self.config = config
        self._say = say
        self._env = {**os.environ, **environment(config)}
        self._gateway_env = {name: value for name, value in self._env.items() if name not in _kept_back(config)}
        self.control = Child("control", (sys.executable, "-m", "tenure.app.server"))
        self.gateway = Child("gateway", (sys.executable, "-m", "tenure.gateway"))
        self._alarm = _Alarm()
        self._stop = False

    def start(self) -> None:
        """Starts both and waits until both serve. Raises Failed when one does not; SystemExit when it has said why."""
        children = (self.control, self.gateway)
        for child in children:
            child.start(self._env_of(child))
        deadline = time.monotonic() + READY_WITHIN_S
        for child in children:
            while not child.ready.wait(0.02):
                process = child.process
                if process is not None and process.poll() is not None:
                    self.stop()
                    if process.returncode > 0:  # it has said why
                        raise SystemExit(process.returncode)
                    raise Failed(
                        "did_not_start", f"The {child.name} process was ended by signal {-process.returncode}."
                    )
                if time.monotonic() > deadline:
                    self.stop()
                    raise Failed("did_not_start", f"The {child.name} process was not ready in {READY_WITHIN_S:.0f} s.")

        while not _decides(self.config):
            if time.monotonic() > deadline:
                self.stop()
                raise Failed("did_not_start", "The gateway got no Snapshot from the control plane.")
            time.sleep(0.02)

    def _env_of(self, child: Child) -> dict[str, str]:
        return self._gateway_env if child is self.gateway else self._env

    def watch(self) -> None:
        """Starts again whatever ends by itself, after a pause that doubles, until ``ask_to_stop``."""
        children = (self.control, self.gateway)
        while not self._stop:
            now = time.monotonic()
            for child in children:
                process = child.process
                if process is None or process.poll() is None:
                    continue
                if child.due == 0.0:
                    child.pause = 0.2 if now - child.started > _STEADY_S else min(child.pause * 2, _MAX_PAUSE_S)
                    child.due = now + child.pause
                    self._say(
                        f"{child.name} ended with status {process.returncode}, starts again in {child.pause:.1f} s"
                    )
                elif now >= child.due:
                    child.due = 0.0
                    child.start(self._env_of(child))
            self._alarm.sleep(min((max(0.0, child.due - now) for child in children if child.due), default=None))

    def ask_to_stop(self, *_signal: object) -> None:
        """Makes ``watch`` return."""
        self._stop = True

    def stop(self) -> None:
        """Drains: the gateway first, so that its last Events still find the control plane."""
        self.gateway.stop(self.config.drain_s + 2)
        self.control.stop(self.config.drain_s + 2)


def _kept_back(config: Config) -> frozenset[str]:
    """What opens all secrets, the database, the trace store, or the endpoint of embeddings or of whoever is asked what
    failed a run, is the control plane's alone: no gateway is started with it."""
    kind, _, variable = config.secrets_key.partition(":")
    own = {name for name in (config.traces_key, config.embeddings_key, config.blame_judge_key) if name}
    own |= {variable} if kind == "env" else set()
    if not config.database.startswith("sqlite"):  # where an SQLite file is, the gateway must know to hide it
        own.add("TENURE_DATABASE_URL")
    return frozenset(own | {"VAULT_TOKEN", "BAO_TOKEN"})


def run(config: Config, say: Callable[[str], None]) -> None:
    """The whole of ``tenure up``. Raises Refused or Failed when it cannot start."""
    began = time.monotonic()
    prepare_folder(config.data_dir)
    with locked(config.data_dir):
        check_port(config.host, config.control_port, "control plane", "TENURE_CONTROL_PORT")
        check_port(config.host, config.gateway_port, "gateway", "TENURE_GATEWAY_PORT")
        if config.otlp_port:
            check_port(config.host, config.otlp_port, "control plane's OTLP over gRPC", "TENURE_OTLP_PORT (0: none)")
        supervisor = Supervisor(config, say)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, supervisor.ask_to_stop)
        supervisor.start()
        say(f"ready in {time.monotonic() - began:.1f} s, data in {config.data_dir.resolve()}")
        say(f"  console and API  {config.control_url}")
        say(f"  gateway          {config.gateway_url}")
        if supervisor.control.told:
            say(f"  log in, once     {config.control_url}/login?code={supervisor.control.told}")
        say("Ctrl-C stops both; calls in flight get to finish.")
        try:
            supervisor.watch()
        finally:
            say("draining")
            supervisor.stop()
            say("stopped")


def main() -> int:
    """The exit status of ``tenure up``."""
    try:
        run(load(), lambda line: print(line, flush=True))
    except (Refused, Failed) as error:
        return told(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
