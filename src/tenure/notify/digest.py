"""Many messages of one kind at once become one: the first goes out at once, and what comes within the destination's
window after it is told together at the end of the window. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from tenure.kernel.json import JsonObject
from tenure.notify.model import Delivery, Message

BUNDLED = frozenset({"approval", "approval-escalated", "approval-expired"})
"""Topics of which many can come at once."""
MAX_ITEMS = 200
"""So many messages are told one by one in a digest; of those beyond it is said how many there are."""
MAX_LINKS = 20
_TITLES = {
    "approval": "calls wait for a person",
    "approval-escalated": "calls still wait for a person",
    "approval-expired": "calls got no answer in time",
}


def window_of(begins: datetime, bundle_s: int) -> datetime | None:
    """Until when further messages are bundled after one that goes out then; None where nothing is."""
    return begins + timedelta(seconds=bundle_s) if bundle_s else None


def with_one_more(body: JsonObject, message: Message, ident: str) -> JsonObject:
    """The body of a digest with a message more; the same when it is told there already."""
    items = list(body.get("items") or ())
    known = {str(one["id"]) for one in items if isinstance(one, dict)}
    if ident in known:
        return body
    if len(items) >= MAX_ITEMS:
        more = body.get("more")
        return {**body, "more": (more if isinstance(more, int) else 0) + 1}
    told: JsonObject = {
        "id": ident,
        "title": message.title,
        "lines": list(message.lines),
        "data": dict(message.facts),
        "approval": message.approval,
        "digest": message.digest,
    }
    return {**body, "items": [*items, told]}


def parts_of(item: Delivery) -> list[Delivery]:
    """Each message of a digest as if it were told alone."""
    items = item.body.get("items")
    return [
        replace(
            item,
            approval=str(one["approval"]),
            digest=str(one["digest"]),
            title=str(one["title"]),
            body={"lines": one["lines"], "path": item.body["path"], "data": one["data"]},
        )
        for one in (items if isinstance(items, list) else ())
        if isinstance(one, dict)
    ]


def whole(item: Delivery, parts: Sequence[Delivery], link_for: Callable[[Delivery], str]) -> Delivery:
    """The digest as it is sent now: of those ``parts`` that are still worth telling, each with its link if any."""
    more = item.body.get("more")
    count = len(parts) + (more if isinstance(more, int) else 0)
    lines: list[str] = []
    for number, part in enumerate(parts):
        link = link_for(part) if number < MAX_LINKS else ""
        told = part.body["lines"]
        lines += [part.title, *(f"  {one}" for one in (told if isinstance(told, list) else ()))]
        lines += [f"  Look at the call and answer as {item.address}: {link}", ""] if link else [""]
    if count > len(parts):
        lines.append(f"and {count - len(parts)} more")
    facts: JsonObject = {"workspace": item.workspace, "topic": item.topic, "count": count}
    told_all: JsonObject = {**facts, "items": [part.body["data"] for part in parts]}
    title = f"{count} {_TITLES.get(item.topic, 'messages')}"
    return replace(item, title=title, body={**item.body, "path": "/approvals", "lines": lines, "data": told_all})
