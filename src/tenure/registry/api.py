"""The registry over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from tenure.base.access import Thing, allowed, holders, may, permit
from tenure.base.faults import Fault
from tenure.base.http import TheActor, TheWorld
from tenure.kernel.errors import Refused
from tenure.kernel.values import LifecycleState
from tenure.registry import externals, service
from tenure.registry.cards import ExternalAgent
from tenure.registry.faults import refuse
from tenure.registry.fields import VARIABLE
from tenure.registry.model import DRAIN_S, TRANSITIONS, AgentRecord, Applied, Change, Release, manifest_schema, thing

router = APIRouter(tags=["registry"])


class AgentOut(BaseModel):
    """A registered agent. ``release`` is current, ``pending_release`` waits for an approver; ``dependants`` are the
    agents that say they rely on it; ``drain_until`` is when a draining agent is retired even if it is busy;
    ``pending_owner`` and ``pending_sponsor`` are declared and have not accepted;
    ``actions`` is what the asker may do with it (docs/roles.md). Lists leave ``dependants`` and ``actions`` out."""

    workspace: str
    name: str
    id: str
    state: LifecycleState
    release: str
    pending_release: str | None
    credential_epoch: int
    owner: str
    sponsor: str
    framework: str
    risk_tier: int
    purpose: str
    manifest: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    state_since: datetime
    state_reason: str
    requested_by: str
    drain_until: datetime | None
    pending_owner: str | None
    pending_sponsor: str | None
    dependants: list[str] = Field(default_factory=list)
    actions: list[str] = Field(default_factory=list)


class AppliedOut(BaseModel):
    """What applying did."""

    agent: AgentOut
    changed: bool
    created: bool


class ApplyIn(BaseModel):
    """Several manifests: all are applied, or none."""

    manifests: list[Any] = Field(max_length=500)
    dry_run: bool = False


class TransitionIn(BaseModel):
    """A step of the lifecycle. ``force`` ends an agent that others depend on; ``drain_s``: seconds it may finish."""

    to: LifecycleState
    reason: str
    force: bool = False
    drain_s: int = DRAIN_S


class ReasonIn(BaseModel):
    """Why."""

    reason: str


class ChangeOut(BaseModel):
    """One line of an agent's history. ``from`` is null for its registration."""

    seq: int
    frm: LifecycleState | None = Field(serialization_alias="from")
    to: LifecycleState
    actor: str
    reason: str
    time: datetime
    forced: bool


class TransitionOut(BaseModel):
    """One row of the lifecycle table: the action that must be permitted, who has it (``roles`` for every agent,
    ``own_roles`` for those they answer for), and what must hold."""

    frm: LifecycleState = Field(serialization_alias="from")
    to: LifecycleState
    action: str
    roles: list[str]
    own_roles: list[str]
    needs: list[str]
    description: str


class ReleaseOut(BaseModel):
    """An immutable release and all that it decides."""

    workspace: str
    agent: str
    digest: str
    content: dict[str, Any]
    created_at: datetime
    created_by: str


class CardIn(BaseModel):
    """The card of an agent elsewhere: where it is served, or itself. ``name``: what it is called here, made of the
    card's own name when left out; ``credential_env``: the variable of the gateway's environment that holds the bearer
    token it asks for."""

    url: str | None = Field(None, max_length=2_000)
    card: dict[str, Any] | None = None
    name: str | None = Field(None, max_length=63)
    credential_env: str | None = Field(None, pattern=VARIABLE)


class ExternalOut(BaseModel):
    """An agent elsewhere. ``signature`` is ``verified`` (by the key ``kid``, found at ``jku``) or ``unsigned``."""

    name: str
    description: str
    url: str | None
    rest_url: str | None
    protocol: str
    credential_env: str | None
    source: str
    signature: str
    kid: str
    jku: str
    card: dict[str, Any]
    imported_at: datetime
    imported_by: str


class RemovedOut(BaseModel):
    """It is done."""

    removed: str


def _external(agent: ExternalAgent) -> ExternalOut:
    return ExternalOut(
        name=agent.name,
        description=agent.card["description"],
        url=agent.url,
        rest_url=agent.rest_url,
        protocol=agent.protocol,
        credential_env=agent.credential_env,
        source=agent.source,
        signature=agent.signature.state,
        kid=agent.signature.kid,
        jku=agent.signature.jku,
        card=dict(agent.card),
        imported_at=agent.imported_at,
        imported_by=agent.imported_by,
    )


def _agent(agent: AgentRecord, dependants: Sequence[str] = (), actions: Sequence[str] = ()) -> AgentOut:
    fields = {name: getattr(agent, name) for name in AgentRecord.__slots__ if name in AgentOut.model_fields}
    purpose = agent.manifest["spec"]["purpose"]
    return AgentOut(**fields, purpose=purpose, dependants=list(dependants), actions=list(actions))


def _applied(applied: Applied) -> AppliedOut:
    return AppliedOut(agent=_agent(applied.agent), changed=applied.changed, created=applied.created)


def _change(change: Change) -> ChangeOut:
    return ChangeOut.model_validate(change, from_attributes=True)


def _release(release: Release) -> ReleaseOut:
    return ReleaseOut.model_validate(release, from_attributes=True)


@router.put("/v1/agents/{name}")
def put_agent(world: TheWorld, actor: TheActor, name: str, manifest: dict[str, Any]) -> AppliedOut:
    """Registers an agent or changes its declaration. Twice the same changes nothing."""
    metadata = manifest.get("metadata")
    declared = metadata.get("name") if isinstance(metadata, dict) else None
    if isinstance(declared, str) and declared != name:
        raise refuse([Fault("metadata.name", f"is {declared}, and the address says {name}", "make them the same")])
    return _applied(service.apply(world, actor, manifest))


@router.post("/v1/apply")
def post_apply(world: TheWorld, actor: TheActor, body: ApplyIn) -> list[AppliedOut]:
    """Applies several manifests in one transaction, or with ``dry_run`` says what that would do."""
    return [_applied(item) for item in service.apply_all(world, actor, body.manifests, dry_run=body.dry_run)]


@router.get("/v1/agents")
def get_agents(world: TheWorld, actor: TheActor, state: LifecycleState | None = None) -> list[AgentOut]:
    """Every agent of the workspace, by name."""
    permit(actor, "agents:read")
    with world.read() as conn:
        return [_agent(agent) for agent in service.list_agents(conn, actor.workspace, (state,) if state else ())]


@router.get("/v1/agents/{name}")
def get_agent(world: TheWorld, actor: TheActor, name: str) -> AgentOut:
    """One agent."""
    if not may(actor, "agent:read", Thing(agent=name)):
        permit(actor, "agents:read")
    with world.read() as conn:
        agent = service.the_agent(conn, actor.workspace, name)
        return _agent(agent, service.dependants(conn, actor.workspace, name), allowed(actor, thing(agent)))


@router.get("/v1/agents/{name}/transitions")
def get_transitions(world: TheWorld, actor: TheActor, name: str) -> list[ChangeOut]:
    """An agent's history, oldest first."""
    permit(actor, "agents:read")
    with world.read() as conn:
        return [_change(change) for change in service.history(conn, actor.workspace, name)]


@router.post("/v1/agents/{name}/transitions")
def post_transition(world: TheWorld, actor: TheActor, name: str, body: TransitionIn) -> AgentOut:
    """Moves an agent one step along its life."""
    moved = service.transition(world, actor, name, body.to, body.reason, force=body.force, drain_s=body.drain_s)
    return _agent(moved)


@router.get("/v1/agents/{name}/releases")
def get_releases(world: TheWorld, actor: TheActor, name: str) -> list[ReleaseOut]:
    """An agent's releases, oldest first."""
    permit(actor, "agents:read")
    with world.read() as conn:
        return [_release(release) for release in service.releases(conn, actor.workspace, name)]


@router.post("/v1/agents/{name}/releases/{digest}/approve")
def approve_release(world: TheWorld, actor: TheActor, name: str, digest: str, body: ReasonIn) -> AgentOut:
    """Makes the candidate release current. What runs under the old one is ended."""
    return _agent(service.decide_release(world, actor, name, digest, grant=True, reason=body.reason))


@router.post("/v1/agents/{name}/releases/{digest}/reject")
def reject_release(world: TheWorld, actor: TheActor, name: str, digest: str, body: ReasonIn) -> AgentOut:
    """Drops the candidate release."""
    return _agent(service.decide_release(world, actor, name, digest, grant=False, reason=body.reason))


@router.get("/v1/releases/{digest}")
def get_release(world: TheWorld, actor: TheActor, digest: str) -> ReleaseOut:
    """One release."""
    permit(actor, "agents:read")
    with world.read() as conn:
        return _release(service.get_release(conn, actor.workspace, digest))


@router.get("/v1/external-agents")
def get_externals(world: TheWorld, actor: TheActor) -> list[ExternalOut]:
    """Every agent elsewhere that can be granted, by name."""
    permit(actor, "agents:read")
    with world.read() as conn:
        return [_external(agent) for agent in externals.list_externals(conn, actor.workspace)]


@router.post("/v1/external-agents")
def post_external(world: TheWorld, actor: TheActor, body: CardIn) -> ExternalOut:
    """Imports an agent card. Its signature is verified when it has one, and the answer says whether it had."""
    if (body.url is None) == (body.card is None):
        raise Refused("bad_request", "Give either a url or a card.", fix="Exactly one of the two.", status=422)
    found = externals.import_card(
        world, actor, url=body.url, card=body.card, name=body.name, credential_env=body.credential_env
    )
    return _external(found)


@router.delete("/v1/external-agents/{name}")
def delete_external(world: TheWorld, actor: TheActor, name: str) -> RemovedOut:
    """Forgets an agent elsewhere: no further call of it passes."""
    externals.remove(world, actor, name)
    return RemovedOut(removed=name)


@router.get("/v1/lifecycle")
def get_lifecycle() -> list[TransitionOut]:
    """The lifecycle table: every step there is."""
    return [
        TransitionOut(
            frm=t.frm,
            to=t.to,
            action=t.action,
            roles=list(holders(t.action)[0]),
            own_roles=list(holders(t.action)[1]),
            needs=[str(need) for need in t.needs],
            description=t.description,
        )
        for t in TRANSITIONS
    ]


@router.get("/v1/schemas/agent.json")
def get_schema() -> dict[str, Any]:
    """The JSON Schema of a manifest."""
    return dict(manifest_schema())
