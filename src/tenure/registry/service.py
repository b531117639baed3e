"""The registry's verbs: apply a manifest, decide about a release, move an agent along its life."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy.engine import Connection

from tenure.base import events
from tenure.base.access import permit
from tenure.base.faults import Fault, nearest
from tenure.base.room import World
from tenure.kernel.errors import Refused
from tenure.kernel.ids import new_id
from tenure.kernel.json import Json, JsonObject
from tenure.kernel.snapshot import AgentFact, PeerFact
from tenure.kernel.values import Actor, LifecycleState
from tenure.registry import epochs, externals, owning, store
from tenure.registry.faults import refuse
from tenure.registry.manifest import Manifest
from tenure.registry.model import (
    ACTING,
    DRAIN_S,
    PLAIN_FIELDS,
    AgentRecord,
    Applied,
    Change,
    Facts,
    Release,
    agent_fact,
    behaviour,
    bumps_epoch,
    check,
    decided_by_another,
    release_digest,
    thing,
    with_behaviour,
)
from tenure.registry.reading import read_manifest
from tenure.registry.told import event_of

S = LifecycleState

revoke_credentials = epochs.revoke
change_owner = owning.change
waiting_for_owners = store.waiting_for_owners
owners = store.owners

_HEARD_S = 5.0
_MAX_REASON = 2_000


# -- reading --------------------------------------------------------------------------------------------------------


def get_agent(conn: Connection, workspace: str, name: str) -> AgentRecord | None:
    """One agent, or None."""
    return store.get(conn, workspace, name)


def the_agent(conn: Connection, workspace: str, name: str) -> AgentRecord:
    """One agent. Raises Refused (404) with the nearest name there is."""
    found = store.get(conn, workspace, name)
    if found is None:
        hint = nearest(name, [agent.name for agent in store.agents(conn, workspace)][:200])
        raise Refused(
            "unknown_agent",
            f"There is no agent {name!r} in workspace {workspace}.",
            fix=hint[:1].upper() + hint[1:] if hint else "Register one: `tenure apply -f agent.yaml`.",
            status=404,
        )
    return found


def list_agents(
    conn: Connection, workspace: str | None = None, states: Sequence[LifecycleState] = ()
) -> list[AgentRecord]:
    """Agents by name; of all workspaces and in all states unless told otherwise."""
    return store.agents(conn, workspace, states)


def answering(conn: Connection, workspace: str) -> dict[str, tuple[str, ...]]:
    """Who answers for each agent of a workspace, by name."""
    return {agent.name: (agent.owner, agent.sponsor) for agent in store.agents(conn, workspace)}


def agent_facts(conn: Connection) -> dict[str, AgentFact]:
    """What the gateways must know, by ``<workspace>/<name>``."""
    return {f"{agent.workspace}/{agent.name}": agent_fact(agent) for agent in store.agents(conn)}


def peer_facts(conn: Connection, gateway_url: str, sign: externals.Sign) -> dict[str, PeerFact]:
    """Every agent that may be called over A2A now, here or elsewhere, by ``<workspace>/<name>``. ``sign`` makes the
    signature of what its card says."""
    return externals.peer_facts(conn, gateway_url, sign)


def external_names(conn: Connection, workspace: str) -> list[str]:
    """Agents elsewhere whose cards were imported."""
    return [one.name for one in store.externals(conn, workspace)]


def history(conn: Connection, workspace: str, name: str) -> list[Change]:
    """An agent's transitions, oldest first. Raises Refused (404) when there is no such agent."""
    the_agent(conn, workspace, name)
    return store.history(conn, workspace, name)


def releases(conn: Connection, workspace: str, name: str) -> list[Release]:
    """An agent's releases, oldest first. Raises Refused (404) when there is no such agent."""
    the_agent(conn, workspace, name)
    return store.releases(conn, workspace, name)


def get_release(conn: Connection, workspace: str, digest: str) -> Release:
    """One release. Raises Refused (404)."""
    found = store.get_release(conn, workspace, digest)
    if found is None:
        raise Refused("unknown_release", f"There is no release {digest}.", fix="See the agent's page.", status=404)
    return found


# -- applying -------------------------------------------------------------------------------------------------------


def apply(world: World, actor: Actor, manifest: JsonObject) -> Applied:
    """Registers an agent or changes its declaration. Raises Refused ``invalid_manifest`` with every fault."""
    return apply_all(world, actor, [manifest])[0]


def apply_all(world: World, actor: Actor, manifests: Sequence[Json], *, dry_run: bool = False) -> list[Applied]:
    """All of the manifests or none of them. ``dry_run`` says what would happen and changes nothing.

    What decides behaviour becomes a release: current at once while nobody has approved the agent yet, otherwise a
    candidate that waits for an approver. Who answers for an agent changes when they have accepted (``owning``).
    """
    read = _read_all(actor, manifests)
    if dry_run:
        with world.read() as tx:
            steps = _plan(world, tx, actor, read)
    else:
        with world.begin() as tx:
            store.alone(tx)
            steps = _plan(world, tx, actor, read)
            for step in steps:
                _write(tx, actor, step)
    return [Applied(step.new, step.new != step.old, step.old is None) for step in steps]


@dataclass(frozen=True, slots=True)
class _Step:
    """What one manifest comes to. ``content`` is the behaviour it declares."""

    old: AgentRecord | None
    new: AgentRecord
    content: JsonObject


def _read_all(actor: Actor, manifests: Sequence[Json]) -> list[Manifest]:
    faults: list[Fault] = []
    read: list[Manifest] = []
    seen: dict[str, int] = {}
    for number, value in enumerate(manifests):
        try:
            manifest = read_manifest(value, document=number)
        except Refused as error:
            faults += [Fault(**fault) for fault in error.details["faults"]]
            continue
        name, workspace = manifest.metadata.name, manifest.metadata.workspace
        if workspace not in (None, actor.workspace):
            problem = f"is {workspace}, and you work in {actor.workspace}"
            faults.append(Fault("metadata.workspace", problem, "leave it out or log in there", number))
        if name in seen:
            problem = f"is {name}, as in document {seen[name] + 1} of the same request"
            faults.append(Fault("metadata.name", problem, "keep one of the two", number))
        seen[name] = number
        read.append(manifest)
    if not manifests:
        faults.append(Fault("", "holds no manifest"))
    if faults:
        raise refuse(faults)
    return read


def _plan(world: World, conn: Connection, actor: Actor, read: Sequence[Manifest]) -> list[_Step]:
    now = world.clock()
    known = {agent.name: agent for agent in store.agents(conn, actor.workspace)}
    elsewhere = [agent.name for agent in store.externals(conn, actor.workspace)]
    faults = _unknown_agents(read, known, elsewhere)
    declared = [manifest.as_json() for manifest in read] if world.vets else []
    faults += [fault for vet in world.vets for fault in vet(world, conn, actor.workspace, declared)]
    if faults:
        raise refuse(faults)
    return [_step(actor, manifest, known.get(manifest.metadata.name), now) for manifest in read]


def _unknown_agents(
    read: Sequence[Manifest], known: Mapping[str, AgentRecord], elsewhere: Sequence[str]
) -> list[Fault]:
    """Dependencies on agents that are not there, and grants to call such; names that agents elsewhere have."""
    alive = {name for name, agent in known.items() if agent.state not in (S.DRAINING, S.RETIRED)}
    alive |= {manifest.metadata.name for manifest in read}
    faults = []
    for number, manifest in enumerate(read):
        own = manifest.metadata.name
        if own in elsewhere:
            problem = f"{own} is the name of an external agent"
            faults.append(Fault("metadata.name", problem, "choose another, or remove that one", number))
        named = [
            (f"spec.dependencies[{index}].agent", item.agent, alive)
            for index, item in enumerate(manifest.spec.dependencies)
        ]
        named += [
            (f"spec.agents[{index}].name", item.name, alive | set(elsewhere))
            for index, item in enumerate(manifest.spec.agents)
        ]
        for path, name, possible in named:
            if name is not None and name not in possible:
                what = f"is {known[name].state}" if name in known else "is not an agent here"
                hint = nearest(name, sorted(possible - {own})) or "apply it together with this"
                faults.append(Fault(path, f"{name} {what}", hint, number))
    return faults


def _step(actor: Actor, manifest: Manifest, old: AgentRecord | None, now: datetime) -> _Step:
    declared = manifest.as_json()
    declared = {**declared, "metadata": {"name": manifest.metadata.name, "workspace": actor.workspace}}
    content = behaviour(actor.workspace, declared)
    digest = release_digest(content)
    if old is None:
        permit(actor, "agents:apply")
        return _Step(None, _described(_newcomer(actor, manifest, digest, now), declared), content)
    if old.state is S.RETIRED:
        raise Refused(
            "agent_retired",
            f"{old.name} is retired; it stays as it was.",
            fix="Register the successor under another name.",
            status=409,
        )
    permit(actor, "agents:change", thing(old))
    if digest == old.release or old.state in (S.REQUESTED, S.REJECTED):
        new = replace(old, release=digest, pending_release=None)
        shown: JsonObject = declared
    else:
        new = replace(old, pending_release=digest)
        shown = with_behaviour(declared, {"spec": behaviour(old.workspace, old.manifest)["spec"]})
    new = _described(*owning.held_back(old, new, shown, actor, now))
    return _Step(old, new if new == old else replace(new, updated_at=now), content)


def _newcomer(actor: Actor, manifest: Manifest, digest: str, now: datetime) -> AgentRecord:
    return AgentRecord(
        workspace=actor.workspace,
        name=manifest.metadata.name,
        id=new_id(),
        state=S.REQUESTED,
        release=digest,
        credential_epoch=1,
        owner="",
        sponsor="",
        framework="",
        risk_tier=1,
        manifest={},
        created_at=now,
        updated_at=now,
        state_since=now,
        state_reason="registered",
        requested_by=actor.name,
    )


def _described(agent: AgentRecord, manifest: JsonObject) -> AgentRecord:
    """The agent with its manifest, and the columns that are read off it."""
    spec = manifest["spec"]
    return replace(
        agent,
        manifest=manifest,
        owner=spec["owner"],
        sponsor=spec["sponsor"],
        framework=spec["framework"],
        risk_tier=max(spec["risk"].values()),
    )


def _write(conn: Connection, actor: Actor, step: _Step) -> None:
    old, new = step.old, step.new
    if new == old:
        return
    digest = release_digest(step.content)
    now = new.updated_at
    release = Release(new.workspace, new.name, digest, step.content, now, actor.name)
    told = []
    if store.add_release(conn, release):
        told.append(event_of("release.created", actor, new, now, {"digest": digest}))
    if old is None:
        store.add(conn, new)
        first = Change(1, None, S.REQUESTED, actor.name, new.state_reason, now, forced=False)
        store.add_change(conn, new.workspace, new.name, first)
        changed = ["registered"]
    else:
        store.update(conn, old, new)
        changed = _differences(old, new)
    told.append(
        event_of(
            "agent.applied",
            actor,
            new,
            now,
            {"changed": changed, "release": new.release, "pending_release": new.pending_release},
        )
    )
    events.append(conn, told)


def _differences(old: AgentRecord, new: AgentRecord) -> list[str]:
    before, after = old.manifest["spec"], new.manifest["spec"]
    changed = [name for name in PLAIN_FIELDS if before.get(name) != after.get(name)]
    if new.release != old.release:
        changed.append("release")
    waiting = ("pending_release", "pending_owner", "pending_sponsor")
    return changed + [name for name in waiting if getattr(new, name) != getattr(old, name)]


def decide_release(world: World, actor: Actor, name: str, digest: str, *, grant: bool, reason: str) -> AgentRecord:
    """Makes the candidate release current, or drops it. Credentials of the release that ran until now die: what runs
    under the new one must say so. Raises Refused when ``digest`` is not the candidate any more."""
    why = _reason(reason)
    with world.begin() as tx:
        store.alone(tx)
        old, now = the_agent(tx, actor.workspace, name), world.clock()
        permit(actor, "agents:decide", thing(old))
        if old.pending_release != digest:
            waiting = f"{old.pending_release} waits" if old.pending_release else "none waits"
            raise Refused(
                "not_pending", f"{digest} does not wait for a decision; {waiting}.", fix="Look again.", status=409
            )
        new = replace(old, pending_release=None, updated_at=now)
        if grant:
            release = get_release(tx, old.workspace, digest)
            if world.config.takes_two(old.workspace):
                decided_by_another(actor, release.created_by)
            content = release.content
            epoch = old.credential_epoch + (old.state in ACTING)
            new = _described(
                replace(new, release=digest, credential_epoch=epoch), with_behaviour(old.manifest, content)
            )
        store.update(tx, old, new)
        kind = "release.approved" if grant else "release.rejected"
        data = {"digest": digest, "before": old.release, "reason": why}
        events.append(tx, [event_of(kind, actor, new, now, data)])
    return new


# -- living ---------------------------------------------------------------------------------------------------------


def transition(
    world: World,
    actor: Actor,
    name: str,
    to: LifecycleState,
    reason: str,
    *,
    force: bool = False,
    drain_s: int = DRAIN_S,
) -> AgentRecord:
    """One step of the lifecycle table. ``force`` retires an agent that others depend on; ``drain_s`` is how long, in
    seconds, a draining agent may finish. Returns when the gateways decide by it, so that who has seen the answer is
    never met by the state before: a suspension or retirement is in force everywhere then, any other step is waited
    for ``_HEARD_S`` seconds at most. Raises Refused as ``model.check``, and when no reason is given."""
    with world.begin() as tx:
        moved = transition_in(world, tx, actor, name, to=to, reason=reason, force=force, drain_s=drain_s)
    world.replicas.settle(None if to in (S.SUSPENDED, S.RETIRED) else _HEARD_S)
    return moved


def transition_in(
    world: World,
    tx: Connection,
    actor: Actor,
    name: str,
    *,
    to: LifecycleState,
    reason: str,
    force: bool = False,
    drain_s: int = DRAIN_S,
) -> AgentRecord:
    """As ``transition``, in the caller's transaction: for a step that must stand or fall with something else."""
    why = _reason(reason)
    if not 0 <= drain_s <= 7 * 86_400:
        raise Refused("bad_drain", f"{drain_s} seconds is no time to drain.", fix="Give 0 to 604800.", status=422)
    store.alone(tx)
    old, now = the_agent(tx, actor.workspace, name), world.clock()
    past = store.history(tx, old.workspace, name)
    check(old, to, actor, _facts(tx, old, past), force=force)
    if (old.state, to) == (S.REQUESTED, S.APPROVED) and world.config.takes_two(old.workspace):
        decided_by_another(actor, old.requested_by, get_release(tx, old.workspace, old.release).created_by)
    new = replace(
        old,
        state=to,
        state_since=now,
        state_reason=why,
        updated_at=now,
        credential_epoch=old.credential_epoch + bumps_epoch(old.state, to),
        drain_until=now + timedelta(seconds=drain_s) if to is S.DRAINING else None,
    )
    store.update(tx, old, new)
    change = Change(past[-1].seq + 1, old.state, to, actor.name, why, now, forced=force)
    store.add_change(tx, old.workspace, name, change)
    data = {"from": str(old.state), "to": str(to), "reason": why, "credential_epoch": new.credential_epoch}
    events.append(tx, [event_of("agent.transitioned", actor, new, now, data | ({"forced": True} if force else {}))])
    return new


def _facts(conn: Connection, agent: AgentRecord, past: Sequence[Change]) -> Facts:
    return Facts(
        has_release=store.get_release(conn, agent.workspace, agent.release) is not None,
        before=past[-1].frm,
        dependants=dependants(conn, agent.workspace, agent.name),
    )


def dependants(conn: Connection, workspace: str, name: str) -> tuple[str, ...]:
    """The agents that say they depend on this one and may still need it."""
    return tuple(
        agent.name
        for agent in store.agents(conn, workspace)
        if agent.state not in (S.RETIRED, S.REJECTED)
        and any(item.get("agent") == name for item in agent.manifest["spec"].get("dependencies", ()))
    )


def _reason(reason: str) -> str:
    text = reason.strip()
    if not text or len(text) > _MAX_REASON or "\x00" in text:
        raise Refused(
            "reason_needed",
            f"This needs a reason, of at most {_MAX_REASON} characters.",
            fix="Say in a sentence why; it is kept in the history and the audit.",
            status=422,
        )
    return text
