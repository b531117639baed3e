"""How a process that could not start says why. It imports nothing heavy, since the supervisor says so too."""

from __future__ import annotations

import sys
import traceback

from tenure.kernel.errors import Failed, Refused


def told(error: Exception) -> int:
    """The exit status for an error, after it was told: our own families in words, a defect with its traceback."""
    if not isinstance(error, (Refused, Failed)):
        traceback.print_exception(error)
        return 1
    sys.stderr.write(f"error: {error.message}\n")
    if fix := getattr(error, "fix", ""):
        sys.stderr.write(f"fix: {fix}\n")
    return 2 if isinstance(error, Refused) else 3
