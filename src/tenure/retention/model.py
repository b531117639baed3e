"""How long content is kept, and what was erased. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

MAX_REASON = 500
MAX_SUBJECT = 500


@dataclass(frozen=True, slots=True)
class Periods:
    """``usual`` days content is kept, and ``by_class`` instead where an agent may meet that class of data; the shortest
    holds. ``records``: days that Events are kept at all. ``share``: percent of uneventful traces whose content is kept
    beyond the first hour."""

    usual: int
    by_class: Mapping[str, int]
    records: int
    share: int

    def of(self, classes: Collection[str]) -> int:
        """How many days the content of an agent is kept that may meet ``classes``."""
        return min((self.by_class[name] for name in classes if name in self.by_class), default=self.usual)


def periods_of(content: str, records: int, share: int) -> Periods:
    """The periods of the settings: ``90, health=7`` for the content."""
    usual, by_class = 0, {}
    for part in (part.strip() for part in content.split(",")):
        name, is_class, days = part.rpartition("=")
        if is_class:
            by_class[name.strip()] = int(days)
        else:
            usual = int(days)
    return Periods(usual, by_class, records, share)


@dataclass(frozen=True, slots=True)
class Erasure:
    """That somebody asked for the content about a subject to be erased. ``subject`` is empty once it is done: only that
    it happened is kept. ``events`` were still in the row buffer, ``approvals`` held what was said."""

    id: str
    workspace: str
    subject: str
    asked_by: str
    asked_at: datetime
    reason: str
    done_at: datetime | None = None
    events: int = 0
    approvals: int = 0
