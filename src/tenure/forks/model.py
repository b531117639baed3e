"""A recorded run that is played again: what was asked for, how far it is, and what it came to. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

MOST_TURNS = 30
"""So many times a fork calls its model at most."""
MOST_RUNNING = 5
"""So many forks of a workspace run at once."""
MOST_TEXT = 256 << 10
"""Bytes of a prompt, or of what stands in for a tool's answer."""
LOST = timedelta(minutes=7)
"""A call of a model that was not told for so long will not be: the process that made it was ended."""
CHANGES = ("model", "system", "prompt", "policy", "agent")
"""What may be otherwise than in the record."""


class State(StrEnum):
    """``finished``: the model came to its end, or no decision of the record came out otherwise. ``diverged``: something
    was asked for that the record has no answer to. ``refused``: policy says no. ``stopped``: at its most turns."""

    RUNNING = "running"
    FINISHED = "finished"
    DIVERGED = "diverged"
    REFUSED = "refused"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Fork:
    """A run that is played again from ``step`` (the first is 1) of ``of``, as ``trace_id``. ``agent`` is whose model is
    called, under its release, its credential and its limits; ``model`` what it is asked for by, empty where policy
    alone is otherwise. ``changed``: what is otherwise than in the record. ``policy``: the files to decide by, empty for
    those that run. ``go_on``: what people said later is taken from the record whatever the model answers. ``turns``:
    how many times the model was called, the last time at ``at``."""

    id: str
    workspace: str
    trace_id: str
    of: str
    step: int
    agent: str
    model: str
    changed: tuple[str, ...]
    policy: tuple[tuple[str, str], ...]
    go_on: bool
    state: State
    detail: str
    turns: int
    by: str
    asked_at: datetime
    at: datetime
    ended_at: datetime | None = None

    @property
    def session(self) -> str:
        """The session that its calls are told under."""
        return f"fork-{self.id}"

    @property
    def person(self) -> str | None:
        """The person whose fork it is: the address that its cost is counted under."""
        kind, _, name = self.by.partition(":")
        return name if kind == "person" else None


@dataclass(frozen=True, slots=True)
class Texts:
    """What of a fork is content: instructions and the person's words in the place of the recorded ones, and what is
    answered where the record has no answer. None for what stays as it was."""

    system: str | None = None
    prompt: str | None = None
    stand_in: str | None = None
