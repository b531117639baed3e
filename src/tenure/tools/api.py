"""Tools over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from tenure.base.access import permit
from tenure.base.http import TheActor, TheWorld
from tenure.kernel.values import Autonomy
from tenure.tools import pinning, service
from tenure.tools.model import Switch

router = APIRouter(tags=["tools"])


class SwitchOut(BaseModel):
    """What is switched off. ``tool`` is ``*`` for all of the server, ``agent`` empty for every agent."""

    server: str
    tool: str
    agent: str
    reason: str
    by: str
    since: datetime


class ToolOut(BaseModel):
    """A tool that an agent was granted.

    ``state``: ``pinned``; ``unseen`` (its server has not been asked yet); suspended as ``changed`` from what was
    accepted, ``held`` (never accepted) or ``rejected``; ``disabled``. ``fingerprint`` is that of the accepted
    definition, ``pinned_by`` who accepted it (``manifest``, ``system:tools`` for first sight in staging, or a person);
    ``seen`` is that of another one which its server gives, ``like`` a tool that has or had it. ``recent``: calls in the
    last hour, null like ``last_used`` while the trace store does not answer; ``off``: the switches that it is under."""

    agent: str
    agent_state: str
    resource: str
    server: str
    tool: str
    autonomy: Autonomy
    state: str
    fingerprint: str | None
    pinned_by: str
    pinned_at: datetime | None
    seen: str | None
    seen_at: datetime | None
    like: str
    rejected_by: str
    recent: int | None
    last_used: datetime | None
    off: list[SwitchOut]


class WaitingOut(BaseModel):
    """``waiting``: grants with a definition that a person has not accepted or rejected yet."""

    waiting: int


class SwitchIn(BaseModel):
    """``resource``: ``server/tool``, or ``server/*`` for all of a server. ``agent``: whose; everybody's when empty."""

    resource: str = Field(max_length=200)
    agent: str = Field("", max_length=63)
    reason: str = Field(min_length=1, max_length=2000)


class SwitchedOut(BaseModel):
    """``changed`` is false when it was so already; ``agents``: those whose grants are under the switch."""

    switch: SwitchOut
    changed: bool
    agents: list[str]


class DifferenceOut(BaseModel):
    """One place where the definitions differ. ``characters``: those of the new text beyond ASCII that the old one
    lacks, by their names."""

    path: str
    before: str | None
    after: str | None
    characters: list[str]


class DefinitionOut(BaseModel):
    """An agent's tool with its definitions: ``pinned`` is the accepted one, ``seen`` the one that waits; null where
    there is none, or it was too large to be kept. Without an accepted one all of ``seen`` is a difference."""

    agent: str
    resource: str
    fingerprint: str | None
    pinned_by: str
    pinned_at: datetime | None
    pinned: dict[str, Any] | None
    seen_fingerprint: str | None
    seen_at: datetime | None
    seen: dict[str, Any] | None
    like: str
    rejected_by: str
    reason: str
    by_manifest: bool
    differences: list[DifferenceOut]


class DecisionIn(BaseModel):
    """A person's answer to exactly the definition with this fingerprint. ``agent``: for whom; empty: for all for whom
    it waits."""

    resource: str = Field(max_length=200)
    fingerprint: str = Field(max_length=71)
    agent: str = Field("", max_length=63)
    decision: Literal["accept", "reject"]
    reason: str = Field(min_length=1, max_length=2000)


class DecidedOut(BaseModel):
    """For which agents it was decided."""

    resource: str
    fingerprint: str
    agents: list[str]


def _definition(item: pinning.Shown) -> DefinitionOut:
    pin = item.pin
    return DefinitionOut(
        agent=pin.agent,
        resource=pin.resource,
        fingerprint=pin.pinned,
        pinned_by=pin.pinned_by,
        pinned_at=pin.pinned_at,
        pinned=dict(item.pinned.body) if item.pinned is not None and item.pinned.body is not None else None,
        seen_fingerprint=pin.seen,
        seen_at=pin.seen_at,
        seen=dict(item.seen.body) if item.seen is not None and item.seen.body is not None else None,
        like=pin.like,
        rejected_by=pin.rejected_by,
        reason=pin.reason,
        by_manifest=item.by_manifest,
        differences=[DifferenceOut.model_validate(one, from_attributes=True) for one in item.differences],
    )


def _switch(item: Switch) -> SwitchOut:
    return SwitchOut.model_validate(item, from_attributes=True)


def _tool(item: service.Granted) -> ToolOut:
    standing = item.standing
    return ToolOut(
        agent=standing.agent,
        agent_state=standing.agent_state,
        resource=standing.resource,
        server=standing.server,
        tool=standing.tool,
        autonomy=standing.autonomy,
        state=item.state,
        fingerprint=item.pin.pinned,
        pinned_by=item.pin.pinned_by,
        pinned_at=item.pin.pinned_at,
        seen=item.pin.seen,
        seen_at=item.pin.seen_at,
        like=item.pin.like,
        rejected_by=item.pin.rejected_by,
        recent=item.recent,
        last_used=item.last,
        off=[_switch(switch) for switch in standing.off],
    )


def _switched(item: service.Switched) -> SwitchedOut:
    agents = sorted({standing.agent for standing in item.reached})
    return SwitchedOut(switch=_switch(item.switch), changed=item.changed, agents=agents)


@router.get("/v1/tools")
def find(world: TheWorld, actor: TheActor) -> list[ToolOut]:
    """Every tool that an agent was granted, how it stands, and when it was last used."""
    permit(actor, "tools:read")
    return [_tool(item) for item in service.find(world, actor)]


@router.get("/v1/tools/waiting")
def waiting(world: TheWorld, actor: TheActor) -> WaitingOut:
    """How many tools wait for a person. Cheap: their use is not looked up."""
    permit(actor, "tools:read")
    return WaitingOut(waiting=service.waiting(world, actor))


@router.get("/v1/tools/reach")
def reach(
    world: TheWorld,
    actor: TheActor,
    resource: Annotated[str, Query(description="server/tool, or server/*")],
    agent: Annotated[str, Query(description="One agent; all when empty")] = "",
) -> list[ToolOut]:
    """What switching a tool off or on would reach: which agents, under which names, and how much they used it."""
    permit(actor, "tools:read")
    return [_tool(item) for item in service.reach(world, actor, resource, agent)]


@router.get("/v1/tools/definition")
def definition(
    world: TheWorld,
    actor: TheActor,
    agent: Annotated[str, Query(description="Whose tool")],
    resource: Annotated[str, Query(description="server/tool")],
) -> DefinitionOut:
    """The definitions of an agent's tool: the accepted one, the one that waits, and where they differ."""
    permit(actor, "tools:read")
    return _definition(pinning.show(world, actor, agent, resource))


@router.post("/v1/tools/decision")
def decide(world: TheWorld, actor: TheActor, body: DecisionIn) -> DecidedOut:
    """Accepts or rejects the definition that waits. 409 when exactly that one does not wait any more."""
    accept = body.decision == "accept"
    done = pinning.decide(world, actor, body.resource, body.fingerprint, body.agent, accept, body.reason)
    return DecidedOut(resource=body.resource, fingerprint=body.fingerprint, agents=[pin.agent for pin in done])


@router.get("/v1/tools/switches")
def switches(world: TheWorld, actor: TheActor) -> list[SwitchOut]:
    """What is switched off, the newest first."""
    permit(actor, "tools:read")
    return [_switch(item) for item in service.switches(world, actor)]


@router.post("/v1/tools/disable")
def disable(world: TheWorld, actor: TheActor, body: SwitchIn) -> SwitchedOut:
    """Switches a tool or a server off. Within a second no gateway lets another call of it through."""
    return _switched(service.switch_off(world, actor, body.resource, body.agent, body.reason))


@router.post("/v1/tools/enable")
def enable(world: TheWorld, actor: TheActor, body: SwitchIn) -> SwitchedOut:
    """Takes a switch back, exactly as it was set: for the same tool or server, for the same agent or for all."""
    return _switched(service.switch_on(world, actor, body.resource, body.agent, body.reason))
