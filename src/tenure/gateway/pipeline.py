"""codec -> identify -> decide -> act -> record: the way of every call, whatever its kind.

A handler (model API, MCP) reads its wire into a Call, asks ``identify`` who is calling and ``decide`` whether it may,
acts, and tells ``record`` what came of it. What waits for a person waits in ``approvals``.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from msgspec.structs import replace

from tenure.gateway import delegation
from tenure.gateway.approvals import Approvals, Invite
from tenure.gateway.breakers import Breakers, Standing, half_open_denial
from tenure.gateway.confidence import HEADER as CONFIDENCE
from tenure.gateway.confidence import percent, stated_of
from tenure.gateway.correlation import of_session, of_traceparent
from tenure.gateway.credentials import TOKENS_KEPT, Credentials
from tenure.gateway.firstuse import FirstUse
from tenure.gateway.histories import Histories
from tenure.gateway.http import Request
from tenure.gateway.justification import of_headers
from tenure.gateway.keyring import Keyring
from tenure.gateway.leases import Leases
from tenure.gateway.modes import mode_of, prepared
from tenure.gateway.provenance.watch import Provenance
from tenure.gateway.reach import Reach
from tenure.gateway.returned import Returned
from tenure.gateway.risk.judge import Judge as RiskJudge
from tenure.gateway.risk.risks import Risks
from tenure.gateway.snapshot import Facts
from tenure.gateway.spool import Spool
from tenure.gateway.tier import tier
from tenure.gateway.verdict import NoLongerAllowed, Verdict, event_of, status_of, told_as, told_of, whom
from tenure.gateway.within import charged, share, within
from tenure.kernel.errors import Refused
from tenure.kernel.ids import new_id
from tenure.kernel.json import Json, JsonObject
from tenure.kernel.snapshot import AgentFact, Snapshot
from tenure.kernel.values import Call, CallKind, Decision, Effect, Event, Principal
from tenure.policy.model import (
    CREDENTIAL,
    DELEGATION,
    DELEGATION_ENDED,
    DEPENDENCY,
    PERSON,
    changes_at,
    decide,
    in_force,
    is_violation,
)
from tenure.sequences.model import Watched

_DEAD_CREDENTIAL_EVERY_S = 1.0
_NOTHING_STOPPED = Standing()
_NO_END = float("inf")


class Pipeline:
    """One for the whole process. ``wall`` is the machine's clock in Unix seconds."""

    def __init__(
        self,
        facts: Facts,
        spool: Spool,
        first_use: FirstUse,
        wall: Callable[[], float] = time.time,
        *,
        depth: int = 5,
        name: str = "gateway",
        judge: RiskJudge | None = None,
    ) -> None:
        """``depth``: how many agents may hand work on, one to the next; ``name`` is this gateway's; ``judge`` a model
        that is asked how risky a call is."""
        self.facts = facts
        self._depth = depth
        self._keyring = Keyring({})
        self._handed: dict[str, delegation.Handed] = {}
        self.spool = spool
        self._first_use = first_use
        self._wall = wall
        self._credentials = Credentials(wall())
        self._dead_noted: dict[str, float] = {}
        self.reach = Reach(facts)
        self._breakers = Breakers(facts, spool, self.judge, self.reach, wall)
        self.histories = Histories(facts, spool, wall, name)
        self.approvals = Approvals(facts, spool, self._judge_held, self.reach, wall)
        self.leases = Leases(facts, spool)
        self.provenance = Provenance(facts)
        self.risks = Risks(first_use, self.provenance, judge)
        self.returned = Returned(facts, self.judge, self.approvals)

    # -- identify
    def identify(self, request: Request, surface: str, token: str | None = None) -> Principal:
        """Who calls, by ``token`` or else what the request shows; ``x-tenure-session`` names another session of the
        same instance. ``surface``: what is called (llm, mcp, a2a/<agent>), for which the token must have been made out.
        Raises Refused: 401 for a missing, bad, expired or revoked credential, 503 when no Snapshot has arrived yet."""
        snapshot, headers = self.facts.current, request.headers
        if snapshot is None or not self.facts.confirmed:
            raise Refused(
                "no_snapshot", "The gateway has not heard from the control plane yet.", fix="Try again.", status=503
            )
        now = self._wall()
        principal = self._credentials.believe(request, token, snapshot, surface, now)
        agent = snapshot.agents.get(f"{principal.workspace}/{principal.agent}")
        if agent is None or agent.credential_epoch != principal.credential_epoch:
            raise self._dead_credential(principal, agent, now)
        revoked = snapshot.revocations.get(principal.workspace)
        if revoked is not None and (why := revoked.refuses(principal)):
            raise self._refused(principal, agent, why, now)
        session = headers.get("x-tenure-session")
        if session:
            principal = dataclasses.replace(principal, session=session[:200])
        handed = headers.get(delegation.HEADER)
        return self._taken_up(handed, principal, agent, snapshot, now) if handed else principal

    @property
    def keyring(self) -> Keyring:
        """The keys that gateways share, as of the present facts."""
        snapshot = self.facts.current
        if snapshot is not None and snapshot.secrets is not self._keyring.secrets:
            self._keyring = Keyring(snapshot.secrets)
            self._handed.clear()
        return self._keyring

    def _taken_up(
        self, token: str, principal: Principal, agent: AgentFact, snapshot: Snapshot, now: float
    ) -> Principal:
        """The principal at work on what was handed to it. Raises Refused, which is recorded: what was handed to one
        agent and is shown by another was stolen, or got lost."""
        keyring = self.keyring
        try:
            handed = self._handed.get(token)
            if handed is None or handed.exp <= now:
                self._handed.pop(token, None)
                handed = delegation.read(keyring, token, now)
                if len(self._handed) >= TOKENS_KEPT:
                    del self._handed[next(iter(self._handed))]
                self._handed[token] = handed
            return delegation.taken_up(handed, principal, snapshot)
        except Refused as error:
            self._note(principal, agent, "delegation", error.message, DELEGATION_ENDED, now)
            raise

    def _dead_credential(self, principal: Principal, agent: AgentFact | None, now: float) -> Refused:
        """The refusal, told to the control plane as well: once a second for an instance, or a loop would flood it."""
        state = "unknown" if agent is None else agent.state.value
        message = f"This credential of agent {principal.agent} is dead: the agent is {state}."
        if agent is not None and agent.state.value in ("staging", "production", "draining"):
            message = f"This credential of agent {principal.agent} was revoked; a newer one exists."
        return self._refused(principal, agent, message, now)

    def _refused(self, principal: Principal, agent: AgentFact | None, why: str, now: float) -> Refused:
        self._note(principal, agent, "credential", why, CREDENTIAL, now)
        return Refused("credential_revoked", why, fix="Ask the agent's owner for its state.", status=401)

    def _note(  # noqa: PLR0917 (the facts of one refusal, in the order they come to be)
        self, principal: Principal, agent: AgentFact | None, what: str, message: str, rule: str, now: float
    ) -> None:
        """Records a refusal from before there was a call, once a second for an instance."""
        if now - self._dead_noted.get(principal.instance, 0.0) < _DEAD_CREDENTIAL_EVERY_S:
            return
        if len(self._dead_noted) > TOKENS_KEPT:
            self._dead_noted.clear()
        self._dead_noted[principal.instance] = now
        call = Call(new_id(), CallKind.LLM, what)
        decision = Decision(Effect.DENY, message, (rule,), (), "")
        verdict = Verdict(decision, agent, breaker_epoch=agent.breaker.epoch if agent else 0)
        self.record(call, principal, verdict, datetime.fromtimestamp(now, UTC), 0, {"error.type": what})

    # -- decide
    def call(  # noqa: PLR0917 (the facts of one call, in the order they come to be)
        self,
        kind: CallKind,
        resource: str,
        arguments: JsonObject,
        principal: Principal,
        headers: Mapping[str, str],
        end_user: str | None = None,
        content: Json = None,
    ) -> Call:
        """A Call with its correlation ids: from ``traceparent`` (W3C Trace Context) when it was sent, else those of
        the call by which the work was handed on, else those of the session, so that all its calls share one trace."""
        sent = headers.get("traceparent") or principal.handed_by
        ids = of_traceparent(sent) if sent else None
        trace_id, parent = ids or of_session(principal.workspace, principal.session)
        call_id = new_id()
        # The second half of a UUIDv7 is 62 random bits and never all zero: as good a span id as another draw.
        place = (trace_id, call_id[16:], parent, end_user, content)
        confidence = percent(headers[CONFIDENCE]) if CONFIDENCE in headers else None
        why, who = of_headers(headers), tier(principal, headers)
        return Call(call_id, kind, resource, arguments, *place, justification=why, confidence=confidence, tier=who)

    def judge(
        self,
        call: Call,
        principal: Principal,
        *,
        approved: bool = False,
        spent: tuple[int, int, int] | None = None,
        by: str = "",
    ) -> Verdict:
        """The decision from the facts of this moment; waits for nobody, counts nothing. ``spent``: of a call that is
        decided on again, how much of its limits was used when it was first. ``by``: the person who makes the call in
        the agent's place."""
        begun = time.perf_counter_ns()
        facts = self.facts
        snapshot = facts.current
        agent = workspace = bundle = revoked = None
        standing = _NOTHING_STOPPED
        if snapshot is not None:
            key = f"{principal.workspace}/{principal.agent}"
            agent = snapshot.agents.get(key)
            workspace = snapshot.workspaces.get(principal.workspace)
            bundle = facts.bundles.get(principal.workspace)
            revoked = snapshot.revocations.get(principal.workspace)
            if agent is not None:
                standing = self._breakers.standing(call, principal, agent, snapshot)
                if spent is None and (agent.limits or principal.chain):
                    spent = share(self.leases, call, principal, agent, bundle)
                if spent is not None:
                    call = dataclasses.replace(call, spent=spent)
                if bundle is not None and call.origin is None:
                    origin = self.provenance.origin(call, principal, agent, bundle)
                    call = call if origin is None else dataclasses.replace(call, origin=origin)
                if bundle is not None and call.risk is None:
                    risk = self.risks.of(call, principal, agent, bundle)
                    call = call if risk is None else dataclasses.replace(call, risk=risk)
        at, until = 0.0, _NO_END
        if bundle is not None and (bundle.ends or bundle.zone):
            at = self._wall()
            bundle = in_force(bundle, at)
            until = min(bundle.ends[0] if bundle.ends else _NO_END, changes_at(at) if bundle.zone else _NO_END)
        decision = decide(
            call,
            principal,
            agent,
            workspace,
            bundle,
            approved=approved,
            by_person=bool(by),
            breaker_tripped=standing.tripped,
            stopped=standing.stopped,
            stale=facts.stale,
            at=at,
        )
        if revoked is not None and decision.effect is not Effect.DENY and (why := revoked.covers(principal)):
            decision = Decision(Effect.DENY, why, (CREDENTIAL,), (), decision.policy_version)
        if decision.effect is not Effect.DENY and (
            principal.chain or principal.on_behalf_of is not None or call.kind is CallKind.AGENT
        ):
            decision = self._within_chain(call, principal, agent, snapshot, decision)
        took = (time.perf_counter_ns() - begun) // 1000
        basis = (snapshot, self._breakers.trips, until)
        verdict = Verdict(
            decision,
            agent,
            breaker_epoch=standing.epoch,
            decide_us=took,
            basis=basis,
            approved=approved,
            spent=spent,
            origin=call.origin,
            risk=call.risk,
            at=at,
            counts=principal.fork is None,
            mode="" if by else mode_of(decision, call),
            by=by,
        )
        if standing.half_open and decision.effect is Effect.ALLOW:
            return half_open_denial(verdict, standing.half_open)
        return verdict

    def _judge_held(self, call: Call, principal: Principal, *, approved: bool = False) -> Verdict:
        """As ``judge``, for a call that waits for a person: sequence rules are asked as well."""
        verdict = self.judge(call, principal, approved=approved)
        return self.histories.weigh(call, principal, verdict, approved=approved)

    def _within_chain(
        self, call: Call, principal: Principal, agent: AgentFact | None, snapshot: Snapshot | None, decision: Decision
    ) -> Decision:
        """The decision, unless the chain that the agent works for has ended or is too long to go on, the person at its
        root may not have this done, or the agent that is called is stopped (what it has begun may be called off)."""
        rule, reason = DELEGATION_ENDED, delegation.broken(principal, snapshot)
        person = delegation.limit_of(principal, snapshot)
        if person is not None and agent is not None and not reason:
            rule, reason = PERSON, delegation.forbidden(person, call, agent)
        if not reason and call.kind is CallKind.AGENT and len(principal.chain) >= self._depth:
            reason = f"The work was handed on {len(principal.chain)} times already, which is the most."
            rule = DELEGATION
        if not reason and call.kind is CallKind.AGENT and call.arguments.get("method") != "tasks/cancel":
            rule, reason = DEPENDENCY, self._breakers.held_by(call.resource, principal.workspace, snapshot)
        return Decision(Effect.DENY, reason, (rule,), (), decision.policy_version) if reason else decision

    async def decide(
        self,
        call: Call,
        principal: Principal,
        *,
        prefer_wait: float | None = None,
        max_wait: float = 600.0,
        content: bytes = b"",
        approved: bool = False,
        by: str = "",
        invite: Invite | None = None,
    ) -> Verdict:
        """The decision on one Call, with everything that belongs to it: a held call waits for its approval, and a
        violation counts toward the breaker, which trips here and at once.

        ``prefer_wait``: seconds the client is willing to wait for a person (None: the agent's ``hold_timeout_s``);
        ``max_wait`` bounds either. ``content`` is bound into the approval besides the arguments: the exact bytes, where
        the arguments are only facts about them. ``approved``: what would need a person's word has it already, by a
        call that this one follows. ``by``: as of ``judge``. ``invite`` is told of the approval that a held call waits
        for. When the Verdict is a hold, the approval is still pending.
        """
        verdict = self.judge(call, principal, approved=approved, by=by)
        if verdict.risk is not None:
            verdict = await self.risks.judged(self.judge, call, principal, verdict)
        call, agent = verdict.as_decided(call), verdict.agent
        limited = agent is not None and bool(agent.limits or principal.chain)
        watched = self.histories.watched(call, principal)
        if agent is not None and limited and verdict.spent is not None:
            learned = await self.leases.learn(call, principal, agent)
            verdict = self.judge(call, principal, approved=approved, by=by) if learned else verdict
        if watched is not None and verdict.pending:  # before a person is asked in vain
            verdict = await self.histories.enter(watched, call, principal, verdict, approved=approved)
        if limited:
            verdict = await within(self.leases, call, principal, verdict, len(content))
        if watched is not None and verdict.allowed:
            verdict = await self._enter(watched, call, principal, verdict, approved=approved)
        if verdict.pending:
            wait = prefer_wait if prefer_wait is not None else agent.hold_timeout_s if agent else 0.0
            verdict = await self._settle(call, principal, verdict, min(wait, max_wait), content, invite)
            if watched is not None and verdict.allowed:
                verdict = await self._enter(watched, call, principal, verdict, approved=True)
        if verdict.half_open:
            verdict = await self._breakers.on_trial(call, principal, verdict)
            if limited:
                verdict = await within(self.leases, call, principal, verdict, len(content))
            if watched is not None and verdict.allowed:
                verdict = await self._enter(watched, call, principal, verdict, approved=approved)
        if verdict.decision.effect is Effect.DENY and verdict.counts and is_violation(verdict.decision):
            verdict = replace(verdict, violation=True)
            self._breakers.count(call, principal, verdict)
        return verdict

    async def _settle(  # noqa: PLR0917 (as Approvals.settle)
        self, call: Call, principal: Principal, verdict: Verdict, wait: float, content: bytes, invite: Invite | None
    ) -> Verdict:
        """What becomes of a call that waits for a person; what it reserved is kept only when it goes on."""
        if verdict.spent is not None:
            call = dataclasses.replace(call, spent=verdict.spent)  # which does not count its own reservation
        try:
            with self.leases.kept(verdict.charge) as keep:
                if principal.fork is not None:
                    return verdict  # nobody is asked about what is only tried
                settled = await self.approvals.settle(call, principal, verdict, wait, content, invite)
                return replace(settled, charge=keep()) if settled.allowed else settled
        finally:
            self.histories.settled(call)

    async def _enter(
        self, watched: Watched, call: Call, principal: Principal, verdict: Verdict, *, approved: bool
    ) -> Verdict:
        """The Verdict after what sequence rules say; what the call reserved goes with it to its record."""
        with self.leases.kept(verdict.charge) as keep:
            entered = await self.histories.enter(watched, call, principal, verdict, approved=approved)
            return replace(entered, charge=keep())

    def admit(self, call: Call, principal: Principal, verdict: Verdict) -> None:
        """To be called immediately before an allowed call is acted on, if anything was awaited since ``decide``: raises
        ``NoLongerAllowed`` with the newer Verdict when a fact changed for the worse, for example a breaker tripped
        while a connection was being made."""
        self.standing(call, principal, verdict)

    def standing(self, call: Call, principal: Principal, verdict: Verdict) -> Verdict:
        """The Verdict under which an allowed call goes on now: the same one while no fact has changed. A call that is
        long on its way (a stream) asks before each piece. Raises ``NoLongerAllowed``."""
        facts = self.facts
        snapshot, trips, until = verdict.basis
        unchanged = snapshot is facts.current and trips == self._breakers.trips and not facts.stale
        if unchanged and (until == _NO_END or self._wall() < until):
            return verdict
        approved = verdict.approved or verdict.approval_id is not None
        newer = self.judge(verdict.as_decided(call), principal, approved=approved, spent=verdict.spent, by=verdict.by)
        newer = replace(newer, approval_id=verdict.approval_id, charge=verdict.charge, entered=verdict.entered)
        if not newer.allowed:
            raise NoLongerAllowed(newer)
        return newer

    # -- record
    def record(  # noqa: PLR0917 (the facts of one call, in the order they come to be)
        self,
        call: Call,
        principal: Principal,
        verdict: Verdict,
        started: datetime,
        duration_us: int,
        data: JsonObject,
    ) -> Event:
        """Spools what came of a call as ``call.completed`` (allowed) or ``call.refused`` (of a fork: ``fork.called``,
        ``fork.refused``), and returns the Event. Never raises and never waits. ``data`` holds the attributes of its
        kind, and ``error.type`` when acting on it failed.
        """
        allowed = verdict.allowed
        facts = told_of(call, verdict)
        facts |= stated_of(call)
        # What the decision was made from, so that it can be made again: the agent's facts by their digest, and what a
        # tool's own attribute does not hold.
        if verdict.agent is not None:
            facts["tenure.facts"] = self.facts.digest_of(verdict.agent)
        if call.kind is not CallKind.TOOL:
            facts["tenure.call.arguments"] = call.arguments
        facts |= whom(call, principal)
        facts |= self.reach.told(principal, verdict.agent)
        if principal.handed_by is not None:
            facts |= delegation.link(call, principal)
        facts.update(verdict.known)
        if call.justification:
            facts["tenure.justification"] = call.justification
        if verdict.mode:
            facts |= prepared(call, principal, verdict)
        if principal.fork is None:
            self.risks.note(call, principal, verdict)
        facts.update(data)
        self.histories.leave(verdict.entered, facts, made=allowed)
        if verdict.charge is not None or verdict.spent is not None:
            facts |= charged(self.leases, verdict, facts)
        first = allowed and call.kind is CallKind.TOOL and self._first_use.note(principal, call.resource)
        if first:
            facts["tenure.first_use"] = True
        event = event_of(
            call,
            principal,
            verdict,
            id=call.id,
            type=told_as(principal, allowed=allowed),
            time=started,
            status=status_of(verdict, data, first=first, tried=principal.fork is not None),
            data=facts,
            duration_us=duration_us,
        )
        self.spool.append(event)
        return event
