"""Tools over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from tenure.base.access import permit
from tenure.base.http import TheActor, TheWorld
from tenure.kernel.values import Autonomy
from tenure.tools import service
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
    """A tool that an agent was granted. ``recent``: its calls in the last hour and ``last_used``: null while the trace
    store does not answer; ``off``: the switches that it is under."""

    agent: str
    agent_state: str
    resource: str
    server: str
    tool: str
    autonomy: Autonomy
    state: str
    recent: int | None
    last_used: datetime | None
    off: list[SwitchOut]


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
        state=standing.state,
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
