"""One history that this gateway keeps, and a call under way in it."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from tenure.kernel.histories import HistoryFact
from tenure.kernel.ids import new_id
from tenure.kernel.snapshot import Snapshot
from tenure.sequences.model import History, Mark, Watched, read_step, take, unpacked


class Keeping:
    """One history, and this gateway's lease of it. ``state`` is None until it was heard; ``deadline`` is when the lease
    is over; ``waiting`` calls are about to use it."""

    __slots__ = (
        *("asked_at", "deadline", "fact", "history", "late", "lease", "sent", "serial", "state", "touched"),
        *("waiting", "workspace"),
    )

    def __init__(self, workspace: str, history: str, now: float) -> None:
        self.workspace, self.history = workspace, history
        self.lease = new_id()
        self.serial = self.waiting = 0
        self.asked_at, self.deadline, self.touched = float("-inf"), float("-inf"), now
        self.sent: dict[int, float] = {}
        self.late: set[str] = set()
        self.state: History | None = None
        self.fact: HistoryFact | None = None

    def hear(self, snapshot: Snapshot | None) -> None:
        """Takes over what the control plane says of it."""
        fact = snapshot.histories.get(self.lease) if snapshot is not None else None
        if fact is None or fact is self.fact:
            return
        self.fact = fact
        if self.state is None:
            self.state = unpacked(fact.state)
        for text in fact.late:
            step = read_step(msgspec.json.decode(text)) if text not in self.late else None
            self.late.add(text)
            if step is not None:
                take(self.state, step)
        if fact.serial in self.sent:
            self.deadline = max(self.deadline, self.sent[fact.serial] + fact.ttl_s)
            self.sent = {serial: at for serial, at in self.sent.items() if serial > fact.serial}

    @property
    def wanted(self) -> bool:
        """Whether another gateway waits for it."""
        return self.fact is not None and self.fact.wanted


@dataclass(frozen=True, slots=True)
class Part:
    """What a call under way is in one history."""

    keeping: Keeping
    watched: Watched
    marks: tuple[Mark, ...]


@dataclass(slots=True)
class Entered:
    """A call under way, in the histories that it is in; ``parts`` is empty once it has ended."""

    call: str
    workspace: str
    parts: list[Part]
