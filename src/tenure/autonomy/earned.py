"""The verbs of earned autonomy: count what happened, ask a person, take the answer, fall back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from sqlalchemy.engine import Connection

from tenure.autonomy import earned_store as store
from tenure.autonomy.earning import NEXT, Outcome, Record, State, counted, fallen, relaxed
from tenure.base import events
from tenure.base.access import permit
from tenure.base.room import World
from tenure.kernel.errors import Refused
from tenure.kernel.ids import new_id, stable_id
from tenure.kernel.json import JsonObject
from tenure.kernel.snapshot import AgentFact
from tenure.kernel.values import Actor, Autonomy, Event, Status
from tenure.registry import service as registry
from tenure.registry.model import AgentRecord, agent_fact

TYPES = frozenset(
    {"call.completed", "call.refused", "approval.rejected", "breaker.tripped", "tool.changed", "tool.held"}
    | {"agent.applied", "release.approved"}
)
"""The Events that evidence is made of, and those that end what was earned."""
_MAX_REASON = 2000


def governed(connection: Connection, agents: Mapping[str, AgentFact]) -> dict[str, AgentFact]:
    """Agents' facts, by their keys, with the levels that people relaxed on evidence."""
    accepted: dict[tuple[str, str, str], Record] = {}
    for one in store.find(connection, state=State.ACCEPTED):
        accepted[f"{one.workspace}/{one.agent}", one.resource, one.release] = one
    if not accepted:
        return dict(agents)
    out = {}
    for key, fact in agents.items():
        tools = tuple(
            replace(tool, autonomy=relaxed(found, tool.autonomy, fact.release))
            if (found := accepted.get((key, f"{tool.server}/{tool.name}", fact.release))) is not None
            else tool
            for tool in fact.tools
        )
        out[key] = replace(fact, tools=tools) if tools != fact.tools else fact
    return out


def won(connection: Connection, agent: AgentRecord) -> dict[str, Autonomy]:
    """The relaxed levels of an agent's tools under its present release, by their names."""
    found = store.find(connection, agent.workspace, agent.name, state=State.ACCEPTED)
    return {one.resource: one.level for one in found if one.release == agent.release}


# --- what happened ----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Batch:
    """What a batch of Events looks at more than once: of agents the release, the risk tier and the declared levels."""

    connection: Connection
    agents: dict[tuple[str, str], tuple[str, int, dict[str, Autonomy]]] = field(default_factory=dict)
    records: dict[tuple[str, str, str, str], Record] = field(default_factory=dict)

    def agent(self, workspace: str, name: str) -> tuple[str, int, dict[str, Autonomy]]:
        """Of an agent that is not known: no release."""
        found = self.agents.get((workspace, name))
        if found is None:
            known = registry.get_agent(self.connection, workspace, name)
            tools = agent_fact(known).tools if known is not None else ()
            levels = {f"{tool.server}/{tool.name}": tool.autonomy for tool in tools}
            found = (known.release, known.risk_tier, levels) if known is not None else ("", 0, {})
            self.agents[workspace, name] = found
        return found

    def record(self, empty: Record) -> Record:
        """What is known of the same agent, tool and release as ``empty``."""
        key = (empty.workspace, empty.agent, empty.resource, empty.release)
        if key not in self.records:
            known = store.find(self.connection, empty.workspace, empty.agent, empty.resource)
            self.records[key] = next((one for one in known if one.release == empty.release), empty)
        return self.records[key]

    def keep(self, record: Record) -> None:
        """Notes it; it is written when the batch is."""
        self.records[record.workspace, record.agent, record.resource, record.release] = record

    def write(self) -> None:
        """Writes what was noted, and forgets all that was looked at."""
        for record in self.records.values():
            store.save(self.connection, record)
        self.records.clear()
        self.agents.clear()


def take(connection: Connection, news: Sequence[Event]) -> None:
    """Counts what gateways and people tell, and ends what was earned when something speaks against it."""
    batch = _Batch(connection)
    for event in news:
        why = _against(event)
        if why:
            batch.write()
            _fall(connection, event, why)
        elif event.agent and event.release and (outcome := _outcome(event)) is not None:
            _count(batch, event, outcome)
    batch.write()


def _against(event: Event) -> str:
    """Why an Event ends what was earned under it, whatever the evidence; empty for one that does not."""
    if event.type == "breaker.tripped":
        return "a breaker tripped"
    if event.type in ("tool.changed", "tool.held"):
        return "its definition changed"
    return "a new release starts at its declared level" if event.type in ("agent.applied", "release.approved") else ""


def _outcome(event: Event) -> Outcome | None:
    data = event.data
    if event.type == "approval.rejected":
        return Outcome.OVERRIDDEN
    if data.get("tenure.kind") != "tool":
        return None
    if event.type == "call.refused":
        return Outcome.FAILED if data.get("tenure.violation") is True else None
    return Outcome.FAILED if data.get("error.type") else Outcome.GOOD


def _count(batch: _Batch, event: Event, outcome: Outcome) -> None:
    agent, release = event.agent or "", event.release or ""
    resource = str(event.data.get("tenure.resource") or event.data.get("resource") or "")
    current, tier, levels = batch.agent(event.workspace, agent)
    declared = levels.get(resource, Autonomy.AUTONOMOUS)
    if current != release or declared not in NEXT:
        return  # what another release did proves nothing of this one
    before = batch.record(Record(event.workspace, agent, resource, release, declared))
    after, came = counted(before, outcome, event.time, tier)
    batch.keep(after)
    if came:
        events.append(batch.connection, [_told(f"autonomy.{came}", after, event)])


def _fall(connection: Connection, event: Event, why: str) -> None:
    """Ends every relaxed level that an Event speaks against."""
    data = event.data
    for one in store.find(connection, event.workspace, state=State.ACCEPTED):
        if event.type == "breaker.tripped":
            scope, name = data.get("scope"), str(data.get("name") or "")
            mine = {"agent": one.agent, "tool": one.resource, "release": one.release}
            chain = scope == "chain" and one.agent == event.agent
            hit = scope == "workspace" or chain or mine.get(str(scope)) == name
        elif event.type.startswith("tool."):
            hit = (event.agent, str(data.get("resource") or "")) == (one.agent, one.resource)
        else:
            agent = registry.get_agent(connection, event.workspace, one.agent) if event.agent == one.agent else None
            hit = agent is not None and agent.release != one.release
        if hit:
            after = fallen(one, why, event.time)
            store.save(connection, after)
            events.append(connection, [_told("autonomy.fell_back", after, event)])


def _told(kind: str, item: Record, event: Event) -> Event:
    data = {**_facts(item), "because_of": event.id}
    return Event(
        id=stable_id(kind, event.id, item.agent, item.resource),
        type=kind,
        time=event.time,
        workspace=item.workspace,
        actor="system:autonomy",
        agent=item.agent,
        release=item.release,
        trace_id=event.trace_id,
        status=Status.FLAGGED,
        data=data,
    )


def _facts(item: Record) -> JsonObject:
    counts = {"good": item.good, "failed": item.failed, "overridden": item.overridden, "bound": round(item.bound, 4)}
    levels = {"declared": item.declared.value, "level": item.level.value}
    return {"resource": item.resource, **levels, **counts, "reason": item.reason}


# --- what people ask and say ------------------------------------------------------------------------------------------


def find(world: World, actor: Actor) -> list[Record]:
    """What is on record of the present releases of the workspace's agents; what a person is asked about first."""
    permit(actor, "autonomy:read")
    order = list(State)
    with world.read() as connection:
        now = {agent.name: agent.release for agent in registry.list_agents(connection, actor.workspace)}
        found = [one for one in store.find(connection, actor.workspace) if now.get(one.agent) == one.release]
    first = {State.PROPOSED: -1}
    return sorted(found, key=lambda one: (first.get(one.state, order.index(one.state)), one.agent, one.resource))


def decide(  # noqa: PLR0917 (what was shown, and the answer to it)
    world: World, actor: Actor, agent: str, resource: str, release: str, answer: str, reason: str
) -> Record:
    """A person's answer: ``accept`` or ``decline`` a proposal, or ``end`` what was accepted. Raises Refused: 403 for
    whoever may not, 404, 409 when it is not proposed (or accepted) any more or the release is another one, 422 without
    a reason."""
    permit(actor, "autonomy:relax")
    text = reason.strip()
    if not text or len(text) > _MAX_REASON:
        raise Refused("reason_required", "This needs a reason; it is kept in the audit.", fix="Say why.", status=422)
    now = world.clock()
    with world.begin() as tx:
        known = registry.get_agent(tx, actor.workspace, agent)
        found = [one for one in store.find(tx, actor.workspace, agent, resource) if one.release == release]
        if known is None or not found:
            raise Refused("nothing_earned", f"Nothing is on record of {agent} and {resource}.", status=404)
        before = found[0]
        wanted = State.ACCEPTED if answer == "end" else State.PROPOSED
        if before.state is not wanted or known.release != release:
            other = ", and the release is another one" if known.release != release else ""
            raise Refused(
                "evidence_turned",
                f"This is {before.state} now{other}.",
                fix="Look again: `tenure autonomy earned`.",
                status=409,
            )
        after = _answered(before, actor, answer, text, now)
        store.save(tx, after)
        kind = {"accept": "accepted", "decline": "declined", "end": "fell_back"}[answer]
        events.append(tx, [replace(_by(actor, after, now), type=f"autonomy.{kind}")])
    return after


def _answered(before: Record, actor: Actor, answer: str, reason: str, now: datetime) -> Record:
    if answer == "end":
        return replace(fallen(before, reason, now), by=actor.name)
    state = State.ACCEPTED if answer == "accept" else State.DECLINED
    return replace(before, state=state, bad_since=0, since=now, by=actor.name, reason=reason)


def _by(actor: Actor, item: Record, now: datetime) -> Event:
    return Event(
        id=new_id(),
        type="autonomy.accepted",
        time=now,
        workspace=item.workspace,
        actor=actor.name,
        agent=item.agent,
        release=item.release,
        status=Status.FLAGGED,
        data=_facts(item),
    )
