"""What sessions did before, where a sequence rule asks: kept by one gateway at a time, and told before it is acted on.

The first such call of a session at a gateway asks the control plane for the session's history and waits for it; the
others find it here. A call that a rule is about is told on disk before it is made, so that a gateway that is killed has
forgotten nothing that it let happen. When another gateway wants the history, it is given back at once. All times of
leases are of this machine's monotonic clock; those of calls are of its wall clock.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec.structs import replace

from tenure.base.scan.texts import look, words
from tenure.gateway.keeping import Entered, Keeping, Part
from tenure.gateway.snapshot import Facts
from tenure.gateway.spool import Spool
from tenure.gateway.verdict import Verdict
from tenure.kernel.ids import new_id
from tenure.kernel.json import JsonObject
from tenure.kernel.values import Call, Decision, Effect, Event, Principal
from tenure.policy.model import HISTORY, Bundle, after
from tenure.sequences.model import (
    TTL_S,
    Finding,
    Look,
    Outcome,
    Step,
    Watched,
    history_of,
    judge,
    kept_of,
    marks_of,
    take,
)

WAIT_S = 2.0
"""The longest that a call waits for a history."""
_AGAIN_S = 1.0  # a request that was not answered is made again
_RENEW_S = TTL_S / 3
_IDLE_S = 60.0
_TEND_S = 1.0
_HELD = 10_000
_SHOWN = ("gen_ai.tool.call.result", "gen_ai.output.messages")


class Histories:
    """All histories that one gateway keeps."""

    def __init__(
        self,
        facts: Facts,
        spool: Spool,
        wall: Callable[[], float],
        name: str = "gateway",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``name`` is this gateway's, the same after a restart."""
        self._facts = facts
        self._spool = spool
        self._wall = wall
        self._name, self._run = name, new_id()
        self._clock = clock
        self._kept: dict[tuple[str, str], Keeping] = {}
        self._held: dict[str, Decision] = {}

    def watched(self, call: Call, principal: Principal) -> Watched | None:
        """The sequence rules that a call may be about: a look or two into a table, and None where there are none."""
        bundle: Bundle | None = self._facts.bundles.get(principal.workspace)
        if bundle is None or bundle.sequences is None:
            return None
        return bundle.sequences.watched(principal.agent, call.kind, call.resource)

    # -- before a call
    async def enter(
        self, watched: Watched, call: Call, principal: Principal, verdict: Verdict, *, approved: bool
    ) -> Verdict:
        """The Verdict after what the rules say of the call. One that goes on is under way from then on, and that is on
        disk: two calls at once each count for the other. ``approved``: a person said yes to what they hold."""
        go_on = "fail_open" in verdict.decision.obligations
        overs = sorted(watched.overs)  # in one order everywhere, so that no two wait for each other
        used: list[Keeping] = []
        try:
            end = self._clock() + (0.0 if go_on else WAIT_S)
            for over in overs:
                keeping = await self._ready(principal, over, end)
                if keeping is None:
                    return (
                        verdict if go_on else _refused(verdict, "What its session did before could not be had in time")
                    )
                used.append(keeping)
            by_over = dict(zip(overs, used, strict=True))
            verdict, entered, event = self._enter(watched, call, by_over, verdict, approved=approved)
        finally:
            for keeping in used:
                keeping.waiting -= 1
                self._let_go(keeping)
        if event is None:
            return verdict
        durable = False
        try:
            durable = await self._spool.durable(event)
        finally:
            if not durable:  # the client may be gone as well
                self.leave(entered, {}, made=False)
        if durable:
            return replace(verdict, entered=entered)
        return _refused(verdict, "What it does could not be written down before it is done")

    def _enter(
        self, watched: Watched, call: Call, by_over: Mapping[str, Keeping], verdict: Verdict, *, approved: bool
    ) -> tuple[Verdict, Entered | None, Event | None]:
        """Asks the rules and takes note of the call; between the two nothing else happens."""
        look_at = Look(call)
        now = self._wall()
        finding = self._ask(watched, call, by_over, look_at, now, approved=approved)
        verdict = replace(verdict, decision=after(verdict.decision, finding))
        if verdict.decision.effect is Effect.HOLD and finding is not None:
            while len(self._held) >= _HELD:
                del self._held[next(iter(self._held))]
            self._held[call.id] = verdict.decision
        if verdict.decision.effect is not Effect.ALLOW:
            return verdict, None, None
        marks = marks_of(watched, call, look_at)
        parts = [Part(by_over[over], watched, found) for over, found in marks.items()]
        told: list[tuple[Keeping, Step]] = []
        for part in parts:
            assert part.keeping.state is not None  # noqa: S101 (it is ready)
            if not part.keeping.state.begin(call.id, now, part.marks):
                for before, _ in told:
                    assert before.state is not None  # noqa: S101 (it was)
                    before.state.end(call.id, now, ())
                return _refused(verdict, "Too many calls of its session are under way"), None, None
            told.append((part.keeping, Step(call.id, now, True, part.marks)))
        if not parts:
            return verdict, None, None
        workspace = parts[0].keeping.workspace
        return verdict, Entered(call.id, workspace, parts), self._event("sequence.step", workspace, told)

    def _ask(
        self,
        watched: Watched,
        call: Call,
        by_over: Mapping[str, Keeping],
        look_at: Look,
        now: float,
        *,
        approved: bool,
    ) -> Finding | None:
        histories, lost = {}, {}
        for over, keeping in by_over.items():
            assert keeping.state is not None  # noqa: S101 (it is ready)
            histories[over] = keeping.state
            if keeping.fact is not None and keeping.fact.lost:
                lost[over] = keeping.fact.lost
        return judge(watched, call, histories, now, look_at, lost, approved=approved)

    def weigh(self, call: Call, principal: Principal, verdict: Verdict, *, approved: bool) -> Verdict:
        """The Verdict on a call that waits for a person, as far as it can be told now, for nothing is waited for: what
        a rule held stays held until a person has said yes, whoever keeps the history meanwhile."""
        if verdict.decision.effect is Effect.DENY or call.returned is not None:
            return verdict
        watched = self.watched(call, principal)
        held = self._held.get(call.id)
        if watched is None:
            return verdict
        by_over = {over: self._of(principal, over) for over in watched.overs}
        if all(self._is_here(one) for one in by_over.values()):
            finding = self._ask(watched, call, by_over, Look(call), self._wall(), approved=approved)
            return replace(verdict, decision=after(verdict.decision, finding))
        return verdict if approved or held is None else replace(verdict, decision=held)

    def settled(self, call: Call) -> None:
        """A call waits for a person no more."""
        self._held.pop(call.id, None)

    async def _ready(self, principal: Principal, over: str, end: float) -> Keeping | None:
        """The history, which stays until ``waiting`` is taken back; None when it cannot be had in time."""
        keeping = self._of(principal, over)
        keeping.waiting += 1
        while not self._is_here(keeping):
            now = self._clock()
            if now >= end:
                keeping.waiting -= 1
                return None
            if now - keeping.asked_at >= _AGAIN_S:
                self._tell_of(keeping)
            with suppress(TimeoutError):  # nobody answered; it may be asked for again
                async with asyncio.timeout(min(end - now, _AGAIN_S)):
                    await self._facts.changed()
        keeping.touched = self._clock()
        return keeping

    def _of(self, principal: Principal, over: str) -> Keeping:
        key = (principal.workspace, history_of(over, principal.agent, principal.session))
        keeping, now = self._kept.get(key), self._clock()
        if keeping is not None:
            keeping.hear(self._facts.current)
            if keeping.state is not None and now >= keeping.deadline and not keeping.waiting:
                keeping = None  # others may have it by now
        if keeping is None:
            keeping = self._kept[key] = Keeping(*key, now)
        return keeping

    def _is_here(self, keeping: Keeping) -> bool:
        keeping.hear(self._facts.current)
        return keeping.state is not None and self._clock() < keeping.deadline

    # -- after a call
    def leave(self, entered: Entered | None, data: JsonObject, *, made: bool) -> None:
        """A call has come to its end. ``data`` are the attributes of its Event; ``made``: it was acted on."""
        if entered is None:
            return
        parts, entered.parts = entered.parts, []
        now = self._wall()
        outcome = Outcome(made, "error.type" in data, lambda: _came_back(data))
        for part in parts:
            step = Step(entered.call, now, False, kept=kept_of(part.watched, part.marks, outcome))
            keeping = part.keeping
            here = self._kept.get((keeping.workspace, keeping.history)) is keeping and self._is_here(keeping)
            if here and keeping.state is not None:
                take(keeping.state, step)
            kind = "sequence.step" if here else "sequence.late"
            self._spool.append(self._event(kind, entered.workspace, [(keeping, step)]))

    # -- between calls
    async def run(self) -> None:
        """Tends the leases until it is cancelled."""
        while True:
            with suppress(TimeoutError):  # leases are renewed and given back by the clock as well
                async with asyncio.timeout(_TEND_S):
                    await self._facts.changed()
            self.tend()

    def tend(self) -> None:
        """Gives back what others want, what is over and what nobody used for a minute; renews the rest."""
        now, snapshot = self._clock(), self._facts.current
        for keeping in list(self._kept.values()):
            keeping.hear(snapshot)
            if self._let_go(keeping) or keeping.waiting:
                continue
            over = now >= keeping.deadline and now - keeping.asked_at > TTL_S
            if over or now - keeping.touched > _IDLE_S:
                self._give_back(keeping)
            elif keeping.state is not None and now - keeping.asked_at >= _RENEW_S:
                self._tell_of(keeping)

    def _let_go(self, keeping: Keeping) -> bool:
        """Gives a history back when another gateway wants it and no call here is about to use it."""
        if keeping.waiting or not keeping.wanted:
            return False
        self._give_back(keeping)
        return True

    def give_all_back(self) -> None:
        """At the end of the process, after its last call."""
        for keeping in list(self._kept.values()):
            self._give_back(keeping)

    def _give_back(self, keeping: Keeping) -> None:
        key = (keeping.workspace, keeping.history)
        if self._kept.get(key) is keeping:
            del self._kept[key]
            if keeping.serial:
                self._tell_of(keeping, final=True)

    def _tell_of(self, keeping: Keeping, *, final: bool = False) -> None:
        now = self._clock()
        keeping.serial += 1
        keeping.asked_at = keeping.sent[keeping.serial] = now
        data: dict[str, Any] = {
            "history": keeping.history,
            "lease": keeping.lease,
            "serial": keeping.serial,
            "gateway": self._name,
            "run": self._run,
            "has": keeping.state is not None,
            "final": final,
        }
        self._spool.append(_told("sequence.asked", keeping.workspace, data), urgent=True)

    @staticmethod
    def _event(kind: str, workspace: str, told: Sequence[tuple[Keeping, Step]]) -> Event:
        steps = [
            {"history": keeping.history, "lease": keeping.lease, "step": msgspec.to_builtins(step)}
            for keeping, step in told
        ]
        return _told(kind, workspace, {"steps": steps})


def _told(kind: str, workspace: str, data: JsonObject) -> Event:
    now = datetime.now(UTC)
    return Event(id=new_id(), type=kind, time=now, workspace=workspace, actor="system:gateway", data=data)


def _refused(verdict: Verdict, why: str) -> Verdict:
    decision = verdict.decision
    reason = f"{why}, and a sequence rule is about this call."
    return replace(
        verdict, decision=Decision(Effect.DENY, reason, (HISTORY,), (), decision.policy_version), retry_s=0.0
    )


def _came_back(data: JsonObject) -> frozenset[str] | None:
    """What is found in what came back, None where that was not kept whole."""
    shown = [data[name] for name in _SHOWN if name in data]
    if not shown or any(isinstance(one, dict) and one.get("truncated") is True for one in shown):
        return None
    return words(look(shown))
