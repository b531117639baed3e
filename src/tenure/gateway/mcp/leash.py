"""Runs a command, and takes down all that it has started when it ends or when the process that started this one dies.

    python -I -S leash.py COMMAND...

For systems without a sandbox: a launcher such as npx or uvx starts the real server as a child, which nobody would end
when the gateway is killed. A process that wants to escape can kill this one first; a sandbox it cannot.
SIGTERM leaves the command half a second to end, SIGINT none.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_GRACE_S = 0.5
_KILLING_S = 2.0


class _Stop(BaseException):
    """The command is to end. ``now``: without grace."""

    def __init__(self, now: bool) -> None:
        self.now = now


def _children() -> list[int]:
    """Processes whose parent this is: also those whose own parent has died, for this is where they fall to."""
    mine = f") {{}} {os.getpid()} "
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                stat = Path(entry.path, "stat").read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue  # it has ended meanwhile
            tail = stat[stat.rindex(")") :]
            if tail.startswith(mine.format(tail[2])):
                found.append(int(entry.name))
    return found


def _kill_all() -> None:
    end = time.monotonic() + _KILLING_S
    while time.monotonic() < end:
        for child in _children():
            os.kill(child, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.01)


def _wait(child: int) -> int:
    """The wait status of ``child``; buries the orphans that end before it."""
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == child:
            return status


def _end(number: int, _frame: object) -> None:
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, signal.SIG_IGN)
    raise _Stop(number == signal.SIGINT)


def main() -> int:
    """Ends as the command did: with its exit code, or by the same signal."""
    parent = os.getppid()
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        try:
            os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606 (the manifest's command, without a shell)
        except OSError as error:
            os.write(2, f"{sys.argv[1]} could not be started: {error}\n".encode())
        os._exit(127)
    os.close(0)  # the pipes are the command's: their ends must show when it closes them
    os.close(1)
    try:
        status = _wait(child)
    except _Stop as stop:
        end = time.monotonic() + (0.0 if stop.now or os.getppid() != parent else _GRACE_S)
        status = 0
        while time.monotonic() < end and os.waitpid(child, os.WNOHANG)[0] == 0:
            time.sleep(0.01)
    _kill_all()
    if os.WIFSIGNALED(status):
        signal.signal(os.WTERMSIG(status), signal.SIG_DFL) if os.WTERMSIG(status) != signal.SIGKILL else None
        os.kill(os.getpid(), os.WTERMSIG(status))
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main())
