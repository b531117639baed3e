"""The verbs of tools: list, switch off, switch on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy.engine import Connection

from tenure.base import events
from tenure.base.access import permit
from tenure.base.room import World
from tenure.kernel.errors import Failed, Refused
from tenure.kernel.fingerprint import Fingerprint
from tenure.kernel.ids import new_id
from tenure.kernel.json import JsonObject
from tenure.kernel.snapshot import AgentFact, ToolFact
from tenure.kernel.values import Actor, Event, LifecycleState, Status
from tenure.registry import service as registry
from tenure.telemetry import service as telemetry
from tenure.tools import store
from tenure.tools.definitions import Pin
from tenure.tools.model import Standing, Switch, Switchboard, meant, parse, standings

RECENT = timedelta(hours=1)
_GONE = frozenset({LifecycleState.RETIRED, LifecycleState.REJECTED})
_MAX_REASON = 2000
WAITING = frozenset({"changed", "held"})
"""States of a grant in which a person is asked."""


@dataclass(frozen=True, slots=True)
class Granted:
    """A grant as it stands, what is known of its definition, and its use: ``recent`` calls in the last hour and the
    last one ever; None while the trace store does not answer."""

    standing: Standing
    pin: Pin
    recent: int | None = None
    last: datetime | None = None

    @property
    def state(self) -> str:
        """``disabled``, ``rejected``, ``changed`` (from what was accepted), ``held`` (never accepted), ``pinned``, or
        ``unseen``."""
        if self.standing.off:
            return "disabled"
        if self.pin.seen:
            return "rejected" if self.pin.rejected_by else "changed" if self.pin.pinned else "held"
        return "pinned" if self.pin.pinned else "unseen"


@dataclass(frozen=True, slots=True)
class Switched:
    """What switching came to. ``changed`` is False when it was so already; ``reached``: the grants under the switch."""

    switch: Switch
    changed: bool
    reached: tuple[Standing, ...]


def governed(connection: Connection, agents: Mapping[str, AgentFact]) -> dict[str, AgentFact]:
    """Agents' facts, by their keys, with what is switched off marked in them, and with the pins of their tools."""
    board = Switchboard(store.switches(connection), agents.values())
    parts = store.parts(connection)
    known = {(pin.workspace, pin.agent, pin.server, pin.tool): pin for pin in store.pins(connection)}

    def pinned(fact: AgentFact, tool: ToolFact) -> ToolFact:
        pin = known.get((fact.workspace, fact.name, tool.server, tool.name))
        mark = tool.pin.digest if tool.pin is not None else pin.pinned if pin is not None else None
        whole = parts.get((fact.workspace, mark), {}) if mark is not None else {}
        return replace(
            tool,
            pin=Fingerprint(mark, tuple(sorted(whole.items()))) if mark is not None else None,
            seen=(pin.seen or "") if pin is not None else "",
        )

    return {
        key: board.applied(replace(fact, tools=tuple(pinned(fact, tool) for tool in fact.tools)))
        for key, fact in agents.items()
    }


def accepted(connection: Connection, workspace: str, agent: str) -> dict[str, JsonObject]:
    """What an agent's tools are described as, by resource (``server/tool``), as far as a definition was accepted and is
    kept: ``description``, ``inputSchema`` and what else MCP has."""
    found: dict[str, JsonObject] = {}
    for pin in store.pins(connection, workspace, agent):
        known = store.definition(connection, workspace, pin.pinned)
        if known is not None and known.body is not None:
            found[pin.resource] = known.body
    return found


def find(world: World, actor: Actor) -> list[Granted]:
    """Every grant of every agent that is not gone, by agent in the manifest's order, with its use."""
    with world.read() as connection:
        agents = _agents(connection, actor.workspace)
        board = Switchboard(store.switches(connection, actor.workspace), agents.values())
        pins = {(pin.agent, pin.resource): pin for pin in store.pins(connection, actor.workspace)}
    return _with_use(world, actor, standings(agents.values(), board), pins)


def descriptions(connection: Connection, workspace: str) -> dict[str, str]:
    """What the tools of a workspace say that they do, by resource: title, description and arguments of the accepted
    definition, or of the one that waits."""
    known = store.definitions(connection, workspace)
    found: dict[str, str] = {}
    for pin in store.pins(connection, workspace):
        body = known.get(pin.pinned or "") or known.get(pin.seen or "") or {}
        arguments = (body.get("inputSchema") or {}).get("properties") or {}
        said = (body.get("title"), body.get("description"), " ".join(map(str, arguments)))
        found.setdefault(pin.resource, "\n".join(str(part) for part in said if part))
    return found


def waiting(world: World, actor: Actor) -> int:
    """How many grants have a definition that waits for a person."""
    with world.read() as connection:
        agents = _agents(connection, actor.workspace)
        board = Switchboard(store.switches(connection, actor.workspace), agents.values())
        pins = {(pin.agent, pin.resource): pin for pin in store.pins(connection, actor.workspace)}
    found = standings(agents.values(), board)
    granted = (Granted(one, _pin(actor.workspace, one, pins.get((one.agent, one.resource)))) for one in found)
    return sum(one.state in WAITING for one in granted)


def reach(world: World, actor: Actor, resource: str, agent: str = "") -> list[Granted]:
    """What switching ``resource`` off or on would reach. Raises Refused as ``switch_off``."""
    switch = Switch(actor.workspace, *parse(resource), agent, "", actor.name, world.clock())
    with world.read() as connection:
        found = meant(_agents(connection, actor.workspace), switch)
        pins = {(pin.agent, pin.resource): pin for pin in store.pins(connection, actor.workspace)}
    return _with_use(world, actor, found, pins)


def switches(world: World, actor: Actor) -> list[Switch]:
    """What is off, the newest first."""
    with world.read() as connection:
        return store.switches(connection, actor.workspace)


def switch_off(world: World, actor: Actor, resource: str, agent: str, reason: str) -> Switched:
    """Switches a tool (``server/tool``) or a server (``server/*``) off, for one agent or, with an empty name, for all:
    no gateway lets a call of it through from the next Snapshot on. Raises Refused: 403 for whoever may not, 404 for
    what nobody was granted, 422 for a name that is none, 400 without a reason."""
    return _switch(world, actor, resource, agent, reason, off=True)


def switch_on(world: World, actor: Actor, resource: str, agent: str, reason: str) -> Switched:
    """Takes back exactly that switch; others that cover the same tool stay. Raises Refused as ``switch_off``."""
    return _switch(world, actor, resource, agent, reason, off=False)


def _switch(world: World, actor: Actor, resource: str, agent: str, reason: str, *, off: bool) -> Switched:
    permit(actor, "tools:switch")
    server, tool = parse(resource)
    why = reason.strip()
    if not 0 < len(why) <= _MAX_REASON:
        raise Refused("reason_required", "This needs a reason; it is kept in the audit.", fix="Say why.")
    now = world.clock()
    with world.begin() as tx:
        agents = _agents(tx, actor.workspace)
        switch = Switch(actor.workspace, server, tool, agent, why, actor.name, now)
        known = next((one for one in store.switches(tx, actor.workspace) if _same(one, switch)), None)
        # What was granted when it was switched off may be granted no longer; it can be switched on all the same.
        reached = () if known is not None and not off else tuple(meant(agents, switch))
        changed = store.switch_off(tx, switch) if off else store.switch_on(tx, switch)
        if changed:
            events.append(tx, [_event(switch, "tool.disabled" if off else "tool.enabled", reached)])
    return Switched(known if off and known is not None else switch, changed, reached)


def _same(one: Switch, other: Switch) -> bool:
    return (one.server, one.tool, one.agent) == (other.server, other.tool, other.agent)


def _event(switch: Switch, kind: str, reached: tuple[Standing, ...]) -> Event:
    agents = sorted({standing.agent for standing in reached})
    return Event(
        id=new_id(),
        type=kind,
        time=switch.since,
        workspace=switch.workspace,
        actor=switch.by,
        agent=switch.agent or None,
        status=Status.FLAGGED,
        data={"resource": switch.resource, "reason": switch.reason, **({"agents": agents} if agents else {})},
    )


def _agents(connection: Connection, workspace: str) -> dict[str, AgentFact]:
    facts = registry.agent_facts(connection)
    return {key: fact for key, fact in facts.items() if fact.workspace == workspace and fact.state not in _GONE}


def _with_use(world: World, actor: Actor, found: list[Standing], pins: Mapping[tuple[str, str], Pin]) -> list[Granted]:
    granted = [Granted(one, _pin(actor.workspace, one, pins.get((one.agent, one.resource)))) for one in found]
    try:
        uses = {(use.agent, use.resource): use for use in telemetry.tool_uses(world, actor, RECENT)}
    except Failed:  # what is switched must not hang on what is only told
        return granted
    out = []
    for one in granted:
        use = uses.get((one.standing.agent, one.standing.resource))
        out.append(replace(one, recent=use.recent if use else 0, last=use.last if use else None))
    return out


def _pin(workspace: str, standing: Standing, known: Pin | None) -> Pin:
    """What is known of a grant's definition; a pin of the manifest goes before what was accepted otherwise."""
    pin = known or Pin(workspace, standing.agent, standing.server, standing.tool)
    return replace(pin, pinned=standing.pinned, pinned_by="manifest", pinned_at=None) if standing.pinned else pin
