"""The verbs of corrections: say that something was wrong, keep overrides, list, export."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy.engine import Connection

from tenure.base import events
from tenure.base.access import permit
from tenure.base.room import World
from tenure.base.sight import Sight, opened
from tenure.corrections import store
from tenure.corrections.model import MAX_REASON, MAX_RIGHT, Correction, Kind, case, override_of, said_of
from tenure.kernel.errors import Refused
from tenure.kernel.ids import new_id
from tenure.kernel.json import Json, JsonObject
from tenure.kernel.values import Actor, Event, Status
from tenure.telemetry import service as telemetry

MAX_EXPORTED = 10_000
_WITHHELD: JsonObject = {"tenure.content": "withheld"}


def take(connection: Connection, news: Sequence[Event]) -> None:
    """Keeps the overrides that Events tell of."""
    for event in news:
        found = override_of(event)
        if found is not None:
            store.insert(connection, found)


def correct(world: World, actor: Actor, call: str, reason: str, right: Json) -> Correction:
    """A person says that a call, or the answer of a model, was wrong, and what would have been right (None: nothing at
    all). Raises Refused: 403 for whoever may not, 404 for a call that is not kept, 422 without a reason."""
    if not actor.is_person:
        raise Refused("not_a_person", f"{actor.name} is not a person; people correct agents.", status=403)
    permit(actor, "corrections:make")
    said, now = reason.strip(), world.clock()
    if not said or len(said) > MAX_REASON:
        raise Refused("reason_required", "A correction needs a reason.", fix="Say what was wrong.", status=422)
    if len(msgspec.json.encode(right)) > MAX_RIGHT:
        raise Refused("too_long", f"What is right is at most {MAX_RIGHT >> 10} KiB.", status=422)
    found = telemetry.recorded_call(world, actor.workspace, call)
    if found is None:
        raise Refused("unknown_call", f"There is no call {call}.", fix="Traces show the ids of calls.", status=404)
    data = json.loads(found.data)
    given, before = said_of(data)
    item = Correction(
        id=new_id(),
        workspace=actor.workspace,
        at=now,
        kind=Kind.CORRECTED,
        by=actor.name,
        agent=found.agent,
        release=found.release,
        resource=str(data.get("tenure.resource") or ""),
        event=found.id,
        session=found.session or None,
        trace_id=None,
        reason=said,
        given=given,
        before=before,
        after=right,
    )
    told = {"call": found.id, "resource": item.resource, "reason": said, "right": right}
    if person := data.get("enduser.id") or data.get("tenure.on_behalf_of"):
        told["enduser.id"] = person  # whom what is said is about
    with world.begin() as tx:
        store.insert(tx, item)
        events.append(
            tx,
            [
                Event(
                    id=item.id,
                    type="call.corrected",
                    time=now,
                    workspace=item.workspace,
                    actor=actor.name,
                    agent=item.agent or None,
                    release=item.release or None,
                    session=item.session,
                    status=Status.FLAGGED,
                    data=told,
                )
            ],
        )
    return item


def find(
    world: World,
    actor: Actor,
    *,
    kind: Kind | None = None,
    agent: str | None = None,
    by: str | None = None,
    since: datetime | None = None,
    limit: int = 200,
) -> list[Correction]:
    """Overrides and corrections, newest first; what was said in them as far as the actor may see it."""
    permit(actor, "corrections:read")
    wanted = {"kind": kind.value if kind is not None else None, "agent": agent, "by": by}
    only = {name: value for name, value in wanted.items() if value is not None}
    with world.read() as connection:
        found = store.find(connection, actor.workspace, only, since, limit)
    sight, out, looked = Sight(world, actor), [], set[str]()
    for item in found:
        if not sight.of(item.agent):
            item = replace(item, given=_WITHHELD, before=_WITHHELD, after=_WITHHELD)  # noqa: PLW2901 (as it is shown)
        else:
            looked.add(item.agent)
        out.append(item)
    for name in sorted(looked):
        opened(world, actor, f"corrections of {name}", [name])
    return out


def export(world: World, actor: Actor, *, kind: Kind | None = None, agent: str | None = None) -> list[dict[str, Any]]:
    """The cases of an evaluation, the newest first and at most ``MAX_EXPORTED``; of agents only whose content the actor
    may see."""
    found = find(world, actor, kind=kind, agent=agent, limit=MAX_EXPORTED)
    return [case(item) for item in found if item.before is not _WITHHELD]


def about(connection: Connection, workspace: str) -> list[str]:
    """The Events that corrections are about which still tell what was said."""
    return store.about(connection, workspace)


def forget_content(connection: Connection, workspace: str, events: Sequence[str]) -> int:
    """Forgets what was said, and what would have been right, in corrections about these Events; how many there were."""
    return store.forget_content(connection, workspace, events)
