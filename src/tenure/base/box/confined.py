"""A process that reaches nothing but a few addresses, whatever it starts.

It runs in bubblewrap with a network namespace of its own, in which there is a loopback and nothing else. Before it
begins, a listening socket of that namespace is handed out for each port that it may connect to (``launch.py``); what
connects to it inside is accepted outside, by whoever started it, and carried on (``ways.py``). No other address can be
reached: not this machine's other ports, no host, no name server, no other process; and the filter in ``syscalls.py``
shuts what namespaces leave open.
"""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tenure.base.box import bubblewrap, syscalls
from tenure.kernel.errors import Refused

_LAUNCH = str(Path(__file__).with_name("launch.py"))
_PROXIES = frozenset({"http_proxy", "https_proxy", "all_proxy", "ftp_proxy", "no_proxy"})
_READY_S = 30.0


@dataclass(frozen=True, slots=True)
class Files:
    """What a confined process meets of the machine's files, beyond reading what its user can read. ``write``: files and
    folders that it may write to; ``hidden``: those that it does not see."""

    write: tuple[Path, ...] = ()
    hidden: tuple[Path, ...] = ()


class Confinement:
    """How one command is to be started; use it once. ``ports``: those of the loopback inside that lead out."""

    def __init__(self, command: Sequence[str], ports: Sequence[int], files: Files) -> None:
        """Raises Refused for files that cannot be given, and ``confinement_impossible`` where it does not work."""
        if problem := _unusable():
            raise _impossible(problem)
        written = list(_written(files, Path.cwd().resolve()))
        self._ports = tuple(ports)
        self._ours, self._theirs = socket.socketpair()
        self._filter, given = os.pipe()
        os.write(given, syscalls.program(platform.machine()))  # fits into the pipe
        os.close(given)
        self.fds = (self._theirs.fileno(), self._filter)
        """What the process must inherit."""
        self.command = self._words(command, written, files.hidden)
        """The command line that starts it."""

    def _words(self, command: Sequence[str], written: Sequence[str], hidden: Sequence[Path]) -> list[str]:
        here = Path.cwd().resolve()
        python = [sys.executable, "-I", "-S", _LAUNCH]
        return [
            *(*python, "around", str(shutil.which("bwrap")), *bubblewrap.BASE),
            *("--unshare-net", "--seccomp", str(self._filter)),
            *bubblewrap.shown(
                [*bubblewrap.needed(command, here), *bubblewrap.needed(python, here), Path(sys.base_prefix)]
            ),
            *written,
            *bubblewrap.hidden(hidden),
            *("--chdir", str(here), "--"),
            *(*python, "within", str(self._theirs.fileno()), ",".join(map(str, self._ports)), *command),
        ]

    def started(self) -> list[socket.socket]:
        """Call it when the process was started: the sockets on which to accept what connects to each port inside, in
        their order. None when the process ended before it had them; what it wrote says why."""
        self._theirs.close()
        os.close(self._filter)
        self._ours.settimeout(_READY_S)
        with self._ours:
            try:
                _, fds, _, _ = socket.recv_fds(self._ours, 64, len(self._ports))
            except OSError:
                return []
        return [socket.socket(fileno=fd) for fd in fds]


def _written(files: Files, here: Path) -> Iterator[str]:
    hidden = [path.resolve() for path in files.hidden]
    for word in files.write:
        path = (here / word).resolve()
        if not path.exists():
            raise Refused("no_such_path", f"{path}, which it may write to, does not exist.", fix="Make it first.")
        if any(path.is_relative_to(secret) for secret in hidden):
            raise Refused("hidden_path", f"{path} is Tenure's own; no agent may write there.", fix="Choose another.")
        yield from ("--bind", str(path), str(path))


def environment(env: Mapping[str, str]) -> dict[str, str]:
    """``env`` without what names a proxy: none can be reached."""
    return {name: value for name, value in env.items() if name.lower() not in _PROXIES}


@lru_cache(maxsize=1)
def trouble() -> str:
    """Why no process can be confined here; empty when it can. Tries it, once."""
    if problem := _unusable():
        return problem
    trial = Confinement(["true"], [7710], Files())
    try:
        done = subprocess.run(
            trial.command, pass_fds=trial.fds, capture_output=True, timeout=bubblewrap.TRIAL_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"a process could not be confined: {error}"
    said = done.stderr.decode("utf-8", "replace").strip().splitlines()
    listeners = trial.started()
    for listener in listeners:
        listener.close()
    if done.returncode or not listeners:
        return f"a process could not be confined: {said[-1] if said else f'exit code {done.returncode}'}"
    return ""


def _unusable() -> str:
    if sys.platform != "linux":
        return "only Linux has the namespaces that it takes"
    if not syscalls.known(platform.machine()):
        return f"there is no filter of system calls for {platform.machine()}"
    return bubblewrap.trouble()


def _impossible(problem: str) -> Refused:
    return Refused(
        "confinement_impossible",
        f"No process can be confined here: {problem}.",
        fix="Install bubblewrap and allow user namespaces (see `tenure doctor`), or run it where that works.",
    )
