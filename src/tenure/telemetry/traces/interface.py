"""What a trace store does, whichever engine holds it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from tenure.base.events import Logged
from tenure.kernel.values import Status
from tenure.telemetry.measured import Act, Cause, Changed, Measured, Reasoned, Signal, ToolShare, Walked
from tenure.telemetry.model import AgentStats, Outcome, RecordedCall, Session, ToolUse, TraceSummary
from tenure.telemetry.seen import Introduced, Spoken, Stranger, UnknownPeer, Used
from tenure.telemetry.traces.renewing import Renewal
from tenure.telemetry.traces.terms import Found, Query


@dataclass(frozen=True, slots=True, kw_only=True)
class Which:
    """Which Events are meant: those that meet everything that is given. ``after``: their number is greater; ``since``:
    they began then or later, ``until``: then or before. ``types``, ``instances``: one of these; ``about``: of one of
    these agents, or of none. ``untraced``: they name no trace."""

    workspace: str | None = None
    agent: str | None = None
    session: str | None = None
    source: str | None = None
    trace_id: str | None = None
    type: str | None = None
    status: Status | None = None
    id: str | None = None
    after: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    types: Sequence[str] = ()
    instances: Sequence[str] = ()
    about: Sequence[str] = ()
    actor: str | None = None
    untraced: bool = False


class TraceStore(Protocol):
    """Every Event as a row, once, with the place in the event log up to which the store has read.

    Content lies under the key of its subject; what is read back has it as far as that key is there. Every verb raises
    Failed (to be tried again) while the engine does not answer. Times are UTC, durations microseconds; ``limit`` is the
    most that is answered.
    """

    @property
    def place(self) -> str:
        """Where the store is, for people; no secret is in it."""

    @property
    def problem(self) -> str:
        """Why the newest batch could not be added; empty when it was."""

    @property
    def cursor(self) -> int:
        """The number of the newest Event that is in the store; 0 for none. Costs nothing to ask."""

    def close(self) -> None:
        """Writes what is in memory, waits for those who read, and lets the engine go."""

    # -- from an older version

    @property
    def renewal(self) -> Renewal | None:
        """How far a store that an older Tenure wrote is on its way to this version; None when it is there. Until then
        ``known`` answers, and all other verbs say how far it is (Failed, to be tried again)."""

    def renew(self) -> bool:
        """Brings the next piece of it to this version; False when there is none. Killed anywhere it goes on."""

    # -- writing

    def add(self, batch: Sequence[Logged]) -> None:
        """Adds Events, by ascending number, and moves the cursor to the last of them: all of it or nothing. Those that
        the cursor has passed are not added again."""

    def expire(self, before: datetime, agents: Collection[str]) -> int:
        """Forgets the content, and nothing else, of these agents (``<workspace>/<name>``) from before a time, a piece
        of it; of how many Events. 0 when there is none left, as for all that let go."""

    def expire_others(self, before: datetime, but: Collection[str]) -> int:
        """As ``expire``, of everything but these agents."""

    def thin(self, since: datetime, until: datetime, share: int) -> int:
        """Forgets the content of all but ``share`` percent of those traces that began at ``since`` or later, were over
        before ``until``, and in which nothing failed, was refused, flagged, held or judged; a piece of it; of how many
        Events. Which ones is said by the trace's id (its right half is random by W3C Trace Context level 2, section
        3.2.2.3), so that all of a trace is kept or none."""

    def drop(self, before: datetime) -> int:
        """Forgets Events from before a time whole, a piece of them; how many. The cursor stays where it is."""

    # -- Events as they came

    def known(self, ids: Sequence[str]) -> set[str]:
        """Those of ``ids`` that are in the store."""

    def events(self, which: Which, limit: int) -> list[Logged]:
        """Events by number."""

    def newest(self, which: Which, limit: int) -> list[Logged]:
        """The newest Events, newest first."""

    def calls(self, which: Which, limit: int) -> list[RecordedCall]:
        """Decided calls by number; their attributes as the text they are."""

    def outcomes(self, which: Which) -> list[Outcome]:
        """Every outcome, in the order they were told. One session told twice keeps the later."""

    def find(self, workspace: str, which: Which, query: Query, before: int | None, limit: int) -> Found:
        """The newest Events of a workspace in whose content there is what was asked, with numbers below ``before``. It
        looks at so much content and no more: there may be fewer than ``limit`` and a place to go on from. Content whose
        key was destroyed is not found, nor any that was let go."""

    # -- Events summed

    def traces(self, workspace: str, which: Which, before: int | None, limit: int) -> list[TraceSummary]:
        """Traces that have an Event which is meant, the one with the newest Event first; ``before`` goes on after a
        trace whose newest Event has that number."""

    def sessions(self, workspace: str, which: Which, before: int | None, limit: int) -> list[Session]:
        """Sessions that have an Event which is meant, the one with the newest Event first, with their outcome;
        ``before`` as in ``traces``. A live session belongs to one agent: another that names it has one of its own. In
        imported ones several may speak."""

    # -- Events counted: of whole days from the sums that were made of them (``sums.py``). Counts and sums are exact, of
    # quantiles of durations they are within 4.5%. An Event older than what was dropped last is not counted.

    def sum_up(self) -> bool:
        """Makes sums of the next Events that have none, when there are enough of them; False when there are not. All of
        it or nothing, each Event once; whoever asks meanwhile gets the same answers."""

    def stats(self, workspace: str, since: datetime | None = None) -> list[AgentStats]:
        """Each agent's calls since a time, in figures."""

    def tool_uses(self, workspace: str, since: datetime, operation: str = "execute_tool") -> list[ToolUse]:
        """Every tool that every agent of a workspace has called, with how often since a time; or, by another
        ``operation``, whatever else they have."""

    def measured(self, workspace: str, since: datetime, until: datetime) -> list[Measured]:
        """Each agent's figures from one time up to another, by name. A run that was judged twice counts once, as solved
        if either said so."""

    def causes(self, workspace: str, since: datetime, until: datetime, agent: str | None) -> list[Cause]:
        """What calls (of one agent, or of all) were made to and how they ended, the most frequent first."""

    def changes(self, workspace: str, since: datetime, until: datetime, agent: str | None) -> list[Changed]:
        """What was changed (of one agent and of what is no agent's, or all), the newest first."""

    def walked(self, workspace: str, since: datetime, agent: str | None, source: str | None, runs: int) -> list[Walked]:
        """Every step, as facts and by time, of the newest ``runs`` traces that have one since a time: of an agent, or
        imported from a source, or any. The outcomes of the runs are among them; what a fork did is not. At most 50,000
        steps."""

    def acts(  # noqa: PLR0917 (whose, when, how many)
        self, workspace: str, agent: str, since: datetime, until: datetime, most: int, release: str | None
    ) -> list[Act]:
        """The newest ``most`` calls that an agent made (under one release, or any), oldest first; and what spans of its
        own tell of calls, also of those that a gateway saw."""

    def actors(self, workspace: str, trace_id: str) -> list[tuple[str, datetime, datetime]]:
        """The agents whose calls are in a trace, with the times of the first and the last; the busiest first."""

    def toolbox(self, workspace: str, since: datetime, until: datetime) -> list[ToolShare]:
        """How often every agent called each tool, and in how many runs."""

    def reasoned(self, workspace: str, since: datetime, until: datetime) -> list[Reasoned]:
        """How every agent that called tools went on, by name."""

    def signals(self, workspace: str, agent: str, since: datetime, grave: Sequence[str]) -> list[Signal]:
        """Which of ``SIGNALS`` are there of an agent, in their order. ``grave``: the tools whose effects matter."""

    def content_under(self, numbers: Sequence[int]) -> dict[int, tuple[int, datetime]]:
        """How many Events have content under each of these keys, and the time of the oldest."""

    def approvals_under(self, number: int) -> list[str]:
        """The ids of the approvals of calls that have content under this key."""

    def told_under(self, number: int, among: Sequence[str]) -> list[str]:
        """Those Events of ``among``, by id, that have content under this key."""

    # -- looks: what is new in the Events with numbers above ``after`` up to ``upto``, the most frequent first

    def strangers(self, after: int, upto: int, since: datetime) -> list[Stranger]:
        """Callers without a credential that counts, who were turned away; ``lately`` is how often since a time."""

    def introduced(self, after: int, upto: int) -> list[Introduced]:
        """MCP clients that introduced themselves with agents' credentials."""

    def spoken(self, after: int, upto: int) -> list[Spoken]:
        """Services and agents that spans with models or agents in them name."""

    def refused_peers(self, after: int, upto: int) -> list[UnknownPeer]:
        """Agents that agents tried to call in vain."""

    def used(self, after: int, upto: int) -> list[tuple[int | None, Used]]:
        """Which agent used what and how often, by day, each with the number of the key of whom it was for; ``person``
        is empty."""
