"""A process in a process group of its own, run as a shell would run it: the terminal, signals and exit status are
passed through, and the whole group can be ended. Knows nothing of agents."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import FrameType

import psutil

GRACE_S = 5.0
"""Seconds between SIGTERM and SIGKILL."""

_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


class Group:
    """A running command and everything it started."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], inherits: Sequence[int] = ()) -> None:
        """Starts it, in the main thread, and passes signals on to it from then on. ``inherits``: descriptors that it
        gets besides the first three. Raises OSError as ``subprocess.Popen`` does."""
        self._terminal = _own_terminal()
        self._ending = threading.Lock()
        self.pid = 0
        # From before it starts: a signal that came in between would end us and leave the command alone.
        self._handlers = {number: signal.signal(number, self._pass_on) for number in _PASSED_ON}
        try:
            self._child = subprocess.Popen(list(command), env=dict(env), process_group=0, pass_fds=tuple(inherits))
        except OSError:
            self._restore_handlers()
            raise
        self.pid = self._child.pid
        if self._terminal is not None:
            self._hand_over(self.pid)
            # It may have asked for the terminal before it had it, and been stopped for that.
            self._signal(signal.SIGCONT)

    def wait(self) -> int:
        """Waits until the command has exited and returns its exit status as a shell tells it (128 + signal). Call it in
        the main thread."""
        while True:
            found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WSTOPPED | os.WNOWAIT)
            if found is None or found.si_code != os.CLD_STOPPED:
                break
            os.waitid(os.P_PID, self.pid, os.WSTOPPED)
            self._stopped(found.si_status)
        status = self._child.wait()
        if self._terminal is not None:
            self._hand_over(os.getpgrp())
        self._restore_handlers()
        return status if status >= 0 else 128 - status

    def end(self, grace_s: float = GRACE_S) -> None:
        """SIGTERM to all of it, and SIGKILL to what is left after ``grace_s`` seconds. From any thread; a second call
        waits for the first."""
        with self._ending:
            strays = self._strays()
            self._signal(signal.SIGTERM, strays)
            self._signal(signal.SIGCONT, strays)  # one that is stopped could not hear it
            deadline = time.monotonic() + grace_s
            while self._alive(strays) and time.monotonic() < deadline:
                time.sleep(0.05)
            if self._alive(strays):
                self._signal(signal.SIGKILL, [*strays, *self._strays()])

    # -- the group
    def _strays(self) -> list[psutil.Process]:
        """Descendants that made a group of their own."""
        with suppress(psutil.Error):
            children = psutil.Process(self.pid).children(recursive=True)
            return [child for child in children if _group_of(child.pid) not in (None, self.pid)]
        return []

    def _signal(self, number: int, strays: Sequence[psutil.Process] = ()) -> None:
        if self.pid:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)
        for stray in strays:
            with suppress(psutil.Error):
                stray.send_signal(number)

    def _alive(self, strays: Sequence[psutil.Process]) -> bool:
        if any(stray.is_running() and stray.status() != psutil.STATUS_ZOMBIE for stray in strays if _exists(stray)):
            return True
        return any(_group_of(process.pid) == self.pid and _lives(process) for process in psutil.process_iter())

    # -- signals and the terminal
    def _pass_on(self, number: int, _frame: FrameType | None) -> None:
        self._signal(number)

    def _restore_handlers(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _stopped(self, number: int) -> None:
        """Ctrl-Z: stops with the command, and goes on with it. Without a terminal nobody could continue us."""
        if self._terminal is None or number == signal.SIGTTIN:
            return
        self._hand_over(os.getpgrp())
        os.kill(os.getpid(), signal.SIGSTOP)
        self._hand_over(self.pid)
        self._signal(signal.SIGCONT)

    def _hand_over(self, group: int) -> None:
        assert self._terminal is not None  # noqa: S101 (an assertion is for our own bugs)
        before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        try:
            with suppress(OSError):  # the group is gone already
                os.tcsetpgrp(self._terminal, group)
        finally:
            signal.signal(signal.SIGTTOU, before)


def _own_terminal() -> int | None:
    """The descriptor of the terminal on standard input, if this process is in its foreground."""
    with suppress(OSError):
        if os.isatty(0) and os.tcgetpgrp(0) == os.getpgrp():
            return 0
    return None


def _group_of(pid: int) -> int | None:
    with suppress(OSError):
        return os.getpgid(pid)
    return None


def _exists(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return bool(process.status())
    return False


def _lives(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False
