"""The verbs of definitions: seen, pinned at first sight or on the way to production, accepted, rejected."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy.engine import Connection

from tenure.base import events, log
from tenure.base.access import permit
from tenure.base.room import World
from tenure.kernel.errors import Refused
from tenure.kernel.fingerprint import fingerprint
from tenure.kernel.ids import new_id
from tenure.kernel.json import JsonObject
from tenure.kernel.snapshot import AgentFact, ToolFact
from tenure.kernel.values import Actor, Event, LifecycleState, Status
from tenure.registry import service as registry
from tenure.registry.model import agent_fact
from tenure.tools import store
from tenure.tools.definitions import FIRST_SIGHT, Definition, Difference, Pin, content_of, differences
from tenure.tools.model import parse

logger = log.get("tools")

_TOLD = 20  # differences in an Event; all of them are shown on request
_CUT = 500  # characters of each


@dataclass(frozen=True, slots=True)
class Shown:
    """One agent's tool with both definitions, as far as they are known, and where they differ. ``by_manifest``: the pin
    is the manifest's."""

    pin: Pin
    by_manifest: bool
    pinned: Definition | None
    seen: Definition | None
    differences: Sequence[Difference]


def seen(connection: Connection, event: Event) -> None:
    """Takes over what a gateway has seen. In staging the first definition of a tool is pinned, unless it is that of a
    tool that is suspended under another name; everything else that is not pinned waits for a person."""
    found = _told(connection, event)
    if found is None:
        return
    fact, tool, mark = found
    known = _pin(connection, fact, tool)
    pinned = tool.pin.digest if tool.pin is not None else known.pinned
    if mark in (pinned, known.seen):
        if mark == pinned and known.seen is not None:
            store.save_pin(connection, _without_seen(known))
            _tell(connection, event.time, known, "tool.restored", FIRST_SIGHT, {"fingerprint": mark})
        return
    body = store.definition(connection, fact.workspace, mark)
    twins = store.named_like(connection, fact.workspace, body.content) if body is not None else []
    others = [(pin, waits) for pin, waits in twins if (pin.agent, pin.resource) != (fact.name, known.resource)]
    suspended = any(waits and pin.server == known.server for pin, waits in others)
    if pinned is None and fact.state is LifecycleState.STAGING and not suspended:
        _set(connection, known, mark, FIRST_SIGHT, event.time, "first seen in staging")
        return
    like = next((pin.resource for pin, _ in others if pin.resource != known.resource), "")
    waits = replace(known, seen=mark, seen_at=event.time, like=like, rejected_by="", reason="")
    store.save_pin(connection, waits)
    data: dict[str, Any] = {"fingerprint": mark, **({"like": like} if like else {})}
    if pinned is None:
        _tell(connection, event.time, waits, "tool.held", FIRST_SIGHT, data)
        return
    before = store.definition(connection, fact.workspace, pinned)
    found_differences = _differences(before, body)
    data |= {"before": pinned, "changed": sorted({one.path.split(".")[0] for one in found_differences})}
    data["differences"] = [_cut(one) for one in found_differences[:_TOLD]]
    _tell(connection, event.time, waits, "tool.changed", FIRST_SIGHT, data)


def _told(connection: Connection, event: Event) -> tuple[AgentFact, ToolFact, str] | None:
    """The agent, its grant and the fingerprint that an Event speaks of; keeps the definition in it. None, and logged,
    for one that speaks of nothing that was granted, or whose definition is not what its fingerprint says."""
    data, record = event.data, registry.get_agent(connection, event.workspace, event.agent or "")
    fact = agent_fact(record) if record is not None else None
    tool = (
        next((one for one in fact.tools if (one.server, one.name) == (data.get("server"), data.get("tool"))), None)
        if fact
        else None
    )
    mark, text = data.get("fingerprint"), data.get("definition")
    if fact is None or tool is None or not isinstance(mark, str) or len(mark) != 71:
        logger.warning("a definition was seen of a tool that the agent does not have", event_id=event.id)
        return None
    if isinstance(text, str):
        body: JsonObject = json.loads(text)
        found = fingerprint(body)
        if found.digest != mark:
            logger.warning("a definition was seen that is not what its fingerprint says", event_id=event.id)
            return None
        whole = Definition(fact.workspace, mark, content_of(body), dict(found.parts), body)
    else:
        whole = Definition(fact.workspace, mark, mark, {}, None)
    store.add_definition(connection, whole)
    return fact, tool, mark


def _pin(connection: Connection, fact: AgentFact, tool: ToolFact) -> Pin:
    known = store.pins(connection, fact.workspace, fact.name)
    here = (tool.server, tool.name)
    return next((pin for pin in known if (pin.server, pin.tool) == here), Pin(fact.workspace, fact.name, *here))


def _without_seen(pin: Pin) -> Pin:
    return replace(pin, seen=None, seen_at=None, like="", rejected_by="", reason="")


def _set(connection: Connection, pin: Pin, mark: str, by: str, at: datetime, reason: str) -> Pin:  # noqa: PLR0917 (the pin, by whom, when, why)
    after = replace(_without_seen(pin), pinned=mark, pinned_by=by, pinned_at=at)
    store.save_pin(connection, after)
    data = {"fingerprint": mark, "before": pin.pinned, "reason": reason}
    _tell(connection, at, pin, "tool.pinned", by, data)
    return after


def promoted(connection: Connection, event: Event) -> None:
    """Whoever takes an agent to production accepts the definitions that were pinned in staging. What was not seen by
    then, or waits, is not among them."""
    if event.data.get("to") != LifecycleState.PRODUCTION or event.agent is None:
        return
    for pin in store.pins(connection, event.workspace, event.agent):
        if pin.pinned is not None and pin.pinned_by == FIRST_SIGHT:
            store.save_pin(connection, replace(pin, pinned_by=event.actor, pinned_at=event.time))
            data = {
                "fingerprint": pin.pinned,
                "reason": f"accepted with the step to production: {event.data.get('reason')}",
            }
            _tell(connection, event.time, pin, "tool.pinned", event.actor, data)


def show(world: World, actor: Actor, agent: str, resource: str) -> Shown:
    """One agent's tool with its definitions. Raises Refused (404)."""
    with world.read() as connection:
        fact, tool = _granted(connection, actor.workspace, agent, resource)
        pin = _pin(connection, fact, tool)
        if tool.pin is not None:
            pin = replace(pin, pinned=tool.pin.digest, pinned_by="manifest", pinned_at=None)
        before = store.definition(connection, actor.workspace, pin.pinned)
        after = store.definition(connection, actor.workspace, pin.seen)
    return Shown(pin, tool.pin is not None, before, after, _differences(before, after))


def decide(  # noqa: PLR0917 (what is decided on, for whom, how and why)
    world: World, actor: Actor, resource: str, mark: str, agent: str, accept: bool, reason: str
) -> list[Pin]:
    """A person's answer to the definition ``mark`` of a tool, for one agent or, with an empty name, for all for whom
    exactly it waits. Accepting pins it; rejecting leaves the tool suspended. Raises Refused: 403 for whoever may not,
    404, 409 when that definition does not wait, or the manifest pins another, 400 without a reason."""
    if not actor.is_person:
        raise Refused(
            "not_a_person", "A definition is accepted by a person.", fix="Use a person's credential.", status=403
        )
    permit(actor, "tools:decide")
    why, (server, name), now = reason.strip(), parse(resource), world.clock()
    if not why:
        raise Refused("reason_required", "This needs a reason; it is kept in the audit.", fix="Say why.")
    done = []
    with world.begin() as tx:
        if agent:
            _granted(tx, actor.workspace, agent, resource)
        for pin in store.pins(tx, actor.workspace, agent or None):
            if (pin.server, pin.tool, pin.seen) != (server, name, mark):
                continue
            if accept:
                _refuse_by_manifest(tx, pin)
                done.append(_set(tx, pin, mark, actor.name, now, why))
            else:
                after = replace(pin, rejected_by=actor.name, reason=why)
                store.save_pin(tx, after)
                _tell(tx, now, pin, "tool.rejected", actor.name, {"fingerprint": mark, "reason": why})
                done.append(after)
        if not done:
            raise Refused(
                "not_waiting",
                f"No definition {mark[:19]} of {resource} waits for a decision.",
                fix=f"Look again: `tenure tools show {resource}`.",
                status=409,
            )
    return done


def _refuse_by_manifest(connection: Connection, pin: Pin) -> None:
    _, tool = _granted(connection, pin.workspace, pin.agent, pin.resource)
    if tool.pin is not None:
        raise Refused(
            "pinned_by_manifest",
            f"The manifest of {pin.agent} pins the definition of {pin.resource}.",
            fix="Apply a manifest with the new fingerprint, or with none.",
            status=409,
        )


def _granted(connection: Connection, workspace: str, agent: str, resource: str) -> tuple[AgentFact, ToolFact]:
    fact = agent_fact(registry.the_agent(connection, workspace, agent))
    tool = next((tool for tool in fact.tools if f"{tool.server}/{tool.name}" == resource), None)
    if tool is None:
        text = f"Agent {agent} was not granted {resource}."
        raise Refused("unknown_tool", text, fix=f"`tenure tools list --agent {agent}` lists its tools.", status=404)
    return fact, tool


def _differences(before: Definition | None, after: Definition | None) -> list[Difference]:
    old = before.body if before is not None else None
    new = after.body if after is not None else None
    return differences(old or {}, new) if new is not None else []


def _cut(one: Difference) -> JsonObject:
    return {name: value[:_CUT] if isinstance(value, str) else value for name, value in asdict(one).items() if value}


def _tell(connection: Connection, at: datetime, pin: Pin, kind: str, by: str, data: JsonObject) -> None:  # noqa: PLR0917 (the facts of an Event)
    event = Event(
        id=new_id(),
        type=kind,
        time=at,
        workspace=pin.workspace,
        actor=by,
        agent=pin.agent,
        status=Status.ALLOWED if kind == "tool.pinned" else Status.FLAGGED,
        data={"resource": pin.resource, **data},
    )
    events.append(connection, [event])
