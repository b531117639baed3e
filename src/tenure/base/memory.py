"""What a process that holds secrets does about its memory: no core file, and no other process of its user reads it."""

from __future__ import annotations

import ctypes
import resource
import sys
from contextlib import suppress

_PR_SET_DUMPABLE = 4


def keep_private() -> None:
    """Call once at the start. On Linux, what others of the same user could read in ``/proc`` (the environment, the
    memory) is closed to them as well; a program that this one starts is as open as ever."""
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
