"""The clock. Time-based rules ask it and nothing else, so that a test can make a year pass."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Returns the present, in UTC."""


def system_clock() -> datetime:
    """The machine's own clock, in UTC."""
    return datetime.now(UTC)
