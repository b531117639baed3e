"""The processes of the demonstration: started in their own groups, listened to, ended for certain."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence


class Process:
    """A child in its own group whose lines are kept and, if asked for, shown."""

    def __init__(
        self, command: Sequence[str], env: Mapping[str, str], show: Callable[[str], None] | None = None
    ) -> None:
        self.lines: list[str] = []
        self._show = show
        self._popen = subprocess.Popen(
            command, env=dict(env), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._popen.pid

    def _read(self) -> None:
        stdout = self._popen.stdout
        if stdout is None:
            return
        with stdout:
            for line in stdout:
                self.lines.append(line.rstrip())
                if self._show:
                    self._show(line.rstrip())

    def status(self) -> int | None:
        """The exit status, None while it runs."""
        return self._popen.poll()

    def wait(self, within: float) -> int:
        """The exit status; raises TimeoutError when it does not end in time."""
        try:
            status = self._popen.wait(within)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(f"process {self.pid} still runs after {within:.0f} s") from error
        self._reader.join(5)
        return status

    def stop(self, within: float = 15.0) -> None:
        """SIGTERM for the child, then SIGKILL for its whole group."""
        if self._popen.poll() is None:
            self._popen.terminate()
            try:
                self._popen.wait(within)
            except subprocess.TimeoutExpired:
                os.killpg(self._popen.pid, signal.SIGKILL)
                self._popen.wait()
        self._reader.join(5)


def until(true: Callable[[], bool], what: str, within: float = 60.0) -> None:
    """Waits until ``true()`` holds. Raises TimeoutError naming ``what`` otherwise."""
    deadline = time.monotonic() + within
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {within:.0f} s for {what}")
        time.sleep(0.05)


def listening(port: int) -> bool:
    """Whether something accepts connections on a port of this machine."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port(preferred: int) -> int:
    """``preferred`` if nobody listens there, else one that the system chooses."""
    for port in (preferred, 0):
        try:
            with socket.create_server(("127.0.0.1", port)) as listener:
                return int(listener.getsockname()[1])
        except OSError:
            continue
    raise AssertionError("the system always has a free port")
