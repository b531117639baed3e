"""What processes take: CPU, memory by PSS, which counts what they share once."""

from __future__ import annotations

import re
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

GONE = (psutil.NoSuchProcess, psutil.ZombieProcess, FileNotFoundError, ProcessLookupError)


def tree(pid: int) -> list[psutil.Process]:
    """A process and all that came of it."""
    with suppress(psutil.NoSuchProcess):
        top = psutil.Process(pid)
        return [top, *top.children(recursive=True)]
    return []


def cpu_s(processes: list[psutil.Process]) -> float:
    """Seconds of CPU that they took so far."""
    return sum(times.user + times.system for times in (one.cpu_times() for one in processes))


def pss_mib(pid: int) -> float:
    """Proportional set size of one process."""
    found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


def all_mib(pid: int) -> float:
    """PSS of a process and all that came of it."""
    total = 0.0
    for one in tree(pid):
        with suppress(*GONE):
            total += pss_mib(one.pid)
    return total


class Watched:
    """``with Watched(pid) as seen:`` looks at memory twice a second; ``seen.most_mib`` is the most of all together."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.most_mib = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        while True:
            self.most_mib = max(self.most_mib, all_mib(self.pid))
            if self._done.wait(0.5):
                return

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: object, _trace: TracebackType | None) -> None:
        self._done.set()
        self._thread.join()
