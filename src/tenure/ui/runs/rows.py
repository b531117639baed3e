"""What a trace is drawn as: its rows, the pieces of their bars, and what a row is made of. Values."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from tenure.base.scan.rules import kinds_of
from tenure.kernel.json import Json, JsonObject
from tenure.ui.runs.altered import CHIPS, Altered
from tenure.ui.runs.axis import WIDTH, Axis, Fold
from tenure.ui.runs.lazily import Lazily
from tenure.ui.runs.talk import Message

LEAST = 8.0  # the width of the shortest call: with its outline at least 3 pixels on any screen
MARK = 3.0
MOST_MARKED = 60  # folded gaps that are marked in every row; more of them are only told by their own rows


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a row's bar: ``kind`` is call, wait or mark; ``x`` and ``width`` in the view box."""

    kind: str
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the waterfall. ``kind`` is llm, tool, span, approval, breaker, agent or idle (a gap that the axis
    folds, with its length as ``name``); ``depth`` its indent."""

    kind: str
    name: str
    status: str
    time: str
    duration: str
    depth: int
    agent: str
    pieces: tuple[Piece, ...]
    note: str = ""
    decision: JsonObject = field(default_factory=dict)
    decide: str = ""
    arguments: Json = None
    result: Json = None
    messages: tuple[Message, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    span_id: str = ""
    call: str = ""
    """The id of the call, where one was decided on."""
    approval_id: str = ""
    findings: tuple[tuple[str, str, int], ...] = ()
    """What was found in it: rule, place and how often."""
    used: str = ""
    inside: str = ""
    """What it and the calls inside it used, where there are any."""
    altered: tuple[Altered, ...] = ()
    """What became of its arguments, and against which other call they differ."""
    memory: tuple[tuple[str, str], ...] = ()
    """What it did with a memory."""
    records: Json = None
    """What was read of it or written, where the conventions say it."""
    joined: bool = False
    """It is of no trace, and has its place in this one."""
    gone: str = ""
    """Why what was said is not in it."""

    @property
    def chips(self) -> list[str]:
        """What is to be seen of that before the row is opened."""
        return [CHIPS[one.kind] for one in self.altered if one.kind in CHIPS and self.kind != "approval"]

    @property
    def found(self) -> list[str]:
        """The classes of what was found."""
        return kinds_of(rule for rule, _, _ in self.findings)


@dataclass(frozen=True, slots=True)
class Trace:
    """A whole trace, ready to draw."""

    trace_id: str
    agents: tuple[str, ...]
    session: str
    start: str
    duration: str
    active: str
    rows: Lazily[Row]
    folds: tuple[Fold, ...]
    ticks: tuple[tuple[float, str], ...]
    conversation: tuple[Message, ...]
    calls: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    cost: str
    worst: str
    withheld: str = ""  # why something that was said is not shown, and whom to ask

    @property
    def marked(self) -> tuple[Fold, ...]:
        """The folded gaps to mark in each row."""
        return self.folds if len(self.folds) <= MOST_MARKED else ()


@dataclass(frozen=True, slots=True)
class Item:
    """What a row is made of: a span, a moment or an approval, as the API gives it."""

    start: datetime
    end: datetime
    raw: JsonObject
    kind: str
    data: JsonObject = field(default_factory=dict)


def piece(drawn: Axis, kind: str, start: datetime, end: datetime) -> Piece:
    """A piece of a bar, as wide as it took and never too small to be seen."""
    x = min(drawn.at(start), WIDTH - LEAST)
    return Piece(kind, x, round(max(drawn.at(end) - x, LEAST), 2))


def mark(drawn: Axis, time: datetime) -> Piece:
    """The mark of a moment."""
    return Piece("mark", min(drawn.at(time), WIDTH - MARK), MARK)
