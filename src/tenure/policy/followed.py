"""Sequence rules over calls whose beginning and end are known: those of tests, and those of the record. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Callable

from tenure.kernel.values import Call, Decision, Effect, Principal
from tenure.policy.model import Bundle, after
from tenure.sequences.model import History, Look, Mark, Outcome, Watched, history_of, judge, kept_of, marks_of


class Followed:
    """The histories of all sessions that take part, in memory. Calls are told in the order in which they begin."""

    def __init__(self, bundle: Bundle) -> None:
        self._sequences = bundle.sequences
        self._histories: dict[str, History] = {}
        self._ends: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def decide(
        self,
        call: Call,
        principal: Principal,
        decision: Decision,
        at: float,
        *,
        approved: bool,
        look: Look | None = None,
    ) -> Decision:
        """The decision on a call that begins at ``at`` (Unix seconds), after all that was told before."""
        watched = self._watched(call, principal)
        if watched is None or decision.effect is Effect.DENY:
            return decision
        self._until(at)
        histories = {over: self._history(over, principal) for over in watched.overs}
        finding = judge(watched, call, histories, at, look or Look(call), {}, approved=approved)
        return after(decision, finding)

    def tell(  # noqa: PLR0917 (the facts of one call)
        self,
        call: Call,
        principal: Principal,
        at: float,
        until: float | None,
        outcome: Outcome,
        look: Look | None = None,
    ) -> None:
        """A call was made. ``until``: when it ended, None for one that is still under way."""
        watched = self._watched(call, principal)
        if watched is None:
            return
        self._until(at)
        for over, marks in marks_of(watched, call, look or Look(call)).items():
            history = self._history(over, principal)
            history.begin(call.id, at, marks)
            if until is not None:
                self._count += 1
                end = _ending(history, watched, call.id, until, marks, outcome)
                heapq.heappush(self._ends, (until, self._count, end))

    def _until(self, at: float) -> None:
        while self._ends and self._ends[0][0] <= at:
            heapq.heappop(self._ends)[2]()

    def _watched(self, call: Call, principal: Principal) -> Watched | None:
        if self._sequences is None:
            return None
        return self._sequences.watched(principal.agent, call.kind, call.resource)

    def _history(self, over: str, principal: Principal) -> History:
        return self._histories.setdefault(history_of(over, principal.agent, principal.session), History())


def _ending(  # noqa: PLR0917 (all that an end is made of)
    history: History, watched: Watched, call: str, until: float, marks: tuple[Mark, ...], outcome: Outcome
) -> Callable[[], None]:
    return lambda: history.end(call, until, kept_of(watched, marks, outcome))
