"""What a process does about its memory: one that holds secrets leaves no core file and lets no other process of its
user read it; one that has started gives back what only starting took."""

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


def give_back() -> None:
    """Call once all is loaded and compiled. With glibc, what was freed meanwhile goes back to the system, which it else
    keeps for ever: to compile the rules of scanning takes six megabytes for a second. Elsewhere this does nothing."""
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
