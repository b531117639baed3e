"""The sliding window. Pure, and the same for a gateway that counts its own refusals and for the control plane that
counts those of all gateways."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from datetime import datetime

from tenure.kernel.ids import stable_id


@dataclass(frozen=True, slots=True)
class Window:
    """The times (Unix seconds, ascending) of the violations of one agent in one epoch that can still matter."""

    times: tuple[float, ...] = ()


def observe(window: Window, at: float, threshold: int, window_s: float) -> tuple[Window, bool]:
    """Counts a violation at ``at``; says whether it makes ``threshold`` violations within ``window_s`` seconds (first
    to last, both included).

    Exact for times in any order as long as none comes more than ``window_s`` late: nothing younger than twice the
    window is forgotten. Raises ValueError for a threshold below 1 or a negative window.
    """
    if threshold < 1 or window_s < 0:
        raise ValueError(f"threshold {threshold} within {window_s} s is not a breaker")
    times = list(window.times)
    here = bisect_right(times, at)
    times.insert(here, at)
    # Only a group that holds ``at`` can be new.
    starts = range(max(0, here - threshold + 1), min(here, len(times) - threshold) + 1)
    tripped = any(times[start + threshold - 1] - times[start] <= window_s for start in starts)
    return Window(tuple(times[bisect_left(times, times[-1] - 2 * window_s) :])), tripped


def trip_id(workspace: str, agent: str, epoch: int) -> str:
    """The id of the one trip an agent can have in an epoch: whoever notices it, gateway or control plane, tells the
    same Event."""
    return stable_id("breaker", workspace, agent, str(epoch))


def trip_reason(threshold: int, window_s: float) -> str:
    """The words a person reads."""
    violations = "1 violation" if threshold == 1 else f"{threshold} violations"
    return f"{violations} within {window_s:g} s"


@dataclass(frozen=True, slots=True)
class Breaker:
    """The breaker of one agent. ``epoch`` counts resets; ``violations`` those counted in this epoch."""

    workspace: str
    agent: str
    epoch: int = 0
    tripped_at: datetime | None = None
    reason: str = ""
    violations: int = 0
    reset_by: str | None = None
    reset_reason: str = ""

    @property
    def tripped(self) -> bool:
        """Whether it blocks the agent's calls."""
        return self.tripped_at is not None
