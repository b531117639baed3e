"""What is kept of the calls of one session, or of one agent: bounded, and in a form that can be handed on. Pure.

A call lasts from when it was admitted (``begin``) to when it was told how it came out (``end``). For a raising pattern
it has happened from the first moment on, and is as recent as its end; for a lowering one it has happened only when it
has succeeded, and is as old as its beginning. So whatever overlaps counts toward the refusal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

MAX_OPEN = 64
"""Calls under way that one history tells apart; a further one is refused."""
MAX_CONDITIONS = 500
MAX_LOST = 20

PATTERN, SINCE = "pattern", "since"


class Mark(NamedTuple):
    """What a call is to one condition: a match of its ``pattern`` or its ``since``. ``key`` is None for a call that
    does not say it: one that is any of them."""

    condition: str
    role: str
    raising: bool
    key: str | None


class Kept(NamedTuple):
    """A mark of a call that has ended, and how much the condition keeps: ``reached`` marks of each of ``keys`` keys."""

    condition: str
    role: str
    reached: int
    keys: int


class Witness(NamedTuple):
    """A call that has been: its place among all beginnings and ends, its time (Unix seconds) and its id."""

    place: int
    at: float
    call: str


class Open(msgspec.Struct):
    """A call under way. ``marks`` that do not count any more were taken out."""

    place: int
    at: float
    marks: list[Mark]


class Tally(msgspec.Struct):
    """What is kept of one condition: by key, the newest calls that count, the oldest first. ``any``: of calls that did
    not say their key, and of keys that there was no place for; they count for every key."""

    keys: dict[str, list[Witness]] = {}
    any: list[Witness] = []


class History(msgspec.Struct):
    """All that is kept. ``place`` counts beginnings and ends, ``at`` is the newest time of one: clocks that were set
    back, or differ, never make time go back. ``calls`` are under way."""

    place: int = 0
    at: float = 0.0
    conditions: dict[str, Tally] = {}
    calls: dict[str, Open] = {}

    # -- what happens
    def begin(self, call: str, at: float, marks: Sequence[Mark]) -> bool:
        """A call was admitted. False, and nothing is changed, when there are too many under way."""
        if call in self.calls:
            return True
        if len(self.calls) >= MAX_OPEN:
            return False
        self._next(at)
        self.calls[call] = Open(self.place, self.at, list(marks))
        return True

    def end(self, call: str, at: float, kept: Sequence[Kept]) -> None:
        """It has come to its end. ``kept`` are those of its marks that count: none of a call that was never made."""
        opened = self.calls.pop(call, None)
        if opened is None:
            return
        self._next(at)
        limits = {(one.condition, one.role): one for one in kept}
        for mark in opened.marks:
            limit = limits.get((mark.condition, mark.role))
            if limit is None:
                continue
            known = self.conditions.setdefault(mark.condition, Tally())
            if mark.role == SINCE:
                self._reset(mark, known, opened)
            elif mark.raising:
                self._add(known, mark.key, Witness(self.place, self.at, call), limit)
            elif mark.key is not None:
                _lift(known, mark.key, Witness(opened.place, opened.at, call), limit)
        while len(self.conditions) > MAX_CONDITIONS:
            del self.conditions[next(iter(self.conditions))]

    def _next(self, at: float) -> None:
        self.place += 1
        self.at = max(self.at, at)

    @staticmethod
    def _add(known: Tally, key: str | None, witness: Witness, limit: Kept) -> None:
        if key is None:
            known.any = [*known.any, witness][-limit.reached :]
            return
        marks = known.keys.pop(key, [])
        known.keys[key] = [*marks, witness][-limit.reached :]  # the newest key comes last
        while len(known.keys) > limit.keys:
            oldest = next(iter(known.keys))
            known.any = sorted([*known.any, *known.keys.pop(oldest)])[-limit.reached :]

    def _reset(self, mark: Mark, known: Tally, opened: Open) -> None:
        """A call that ``since`` matches has ended. One that takes back what others did takes back what was over when it
        began; one that asks for others anew voids whatever began before it ended."""
        if not mark.raising:
            if mark.key is None:
                return
            left = [one for one in known.keys.get(mark.key, ()) if one.place > opened.place]
            if left:
                known.keys[mark.key] = left
            else:
                known.keys.pop(mark.key, None)
            return
        if mark.key is None:
            known.keys.clear()
        else:
            known.keys.pop(mark.key, None)
        for other in self.calls.values():
            other.marks = [
                one
                for one in other.marks
                if (one.condition, one.role) != (mark.condition, PATTERN) or not _meet(one.key, mark.key)
            ]

    # -- what is asked
    def under_way(self, condition: str, role: str, key: str, but: str) -> Iterator[Witness]:
        """The calls under way that are marked so, for that key or for any."""
        for call, opened in self.calls.items():
            if call != but and any(
                one.condition == condition and one.role == role and _meet(one.key, key) for one in opened.marks
            ):
                yield Witness(opened.place, opened.at, call)

    def happened(self, condition: str, key: str, since_at: float, reached: int, but: str) -> tuple[Witness, ...] | None:
        """The newest ``reached`` calls that match the pattern of a raising condition, the oldest first, if there are so
        many that were not over before ``since_at``. None else. ``but`` is the id of the call that asks."""
        known = self.conditions.get(condition)
        over = [*known.keys.get(key, ()), *known.any] if known is not None else []
        found = [one for one in over if one.at >= since_at]
        if len(found) < reached:
            found += self.under_way(condition, PATTERN, key, but)
        else:
            found = sorted(found)
        return tuple(found[-reached:]) if len(found) >= reached else None

    def lifted(self, condition: str, key: str, since_at: float, but: str) -> bool:
        """Whether a call that matches the pattern of a lowering condition has been since ``since_at``, and none that
        asks for it anew."""
        known = self.conditions.get(condition)
        marks = known.keys.get(key) if known is not None else None
        if not marks or marks[-1].at < since_at:
            return False
        return next(self.under_way(condition, SINCE, key, but), None) is None


def _lift(known: Tally, key: str, witness: Witness, limit: Kept) -> None:
    """A lowering condition needs the one call that began last."""
    before = known.keys.pop(key, [])
    known.keys[key] = [max([*before, witness])]
    while len(known.keys) > limit.keys:  # the key is forgotten: what it lifted holds again
        del known.keys[next(iter(known.keys))]


def _meet(one: str | None, other: str | None) -> bool:
    return one is None or other is None or one == other


_decoder = msgspec.json.Decoder(History)


def packed(history: History) -> str:
    """A history as text."""
    return msgspec.json.encode(history).decode()


def unpacked(text: str) -> History:
    """A history from what ``packed`` gave, "" for one in which nothing happened."""
    return _decoder.decode(text) if text else History()


# -- what gateways tell of one
@dataclass(frozen=True, slots=True)
class Step:
    """A beginning or an end, as it is told and kept: ``marks`` of one that begins, ``kept`` of one that ends."""

    call: str
    at: float
    begun: bool
    marks: tuple[Mark, ...] = ()
    kept: tuple[Kept, ...] = field(default=())


def take(history: History, step: Step) -> bool:
    """Lets a step happen; False for a call too many."""
    if step.begun:
        return history.begin(step.call, step.at, step.marks)
    history.end(step.call, step.at, step.kept)
    return True


_steps = msgspec.json.Decoder(Step)


def read_step(value: Mapping[str, object]) -> Step | None:
    """A step out of an Event; None for what is none."""
    try:
        return msgspec.convert(value, Step)
    except msgspec.ValidationError:
        return None
