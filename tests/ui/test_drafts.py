"""Prepared calls in the console: those of a task together, changed and made, or thrown away."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import httpx2
import pytest

from tenure.base.clock import system_clock
from tenure.kernel.json import digest
from tenure.kernel.values import Event
from tests.sim.console import Console, refused
from tests.ui.conftest import until
from tests.ui.test_pages import text


def drafted(at: datetime, arguments: dict[str, Any], task: str) -> Event:
    """A call that was drafted."""
    event = refused(at, "payments/refund", agent="clerk")
    named = {"workspace": "default", "agent": "clerk", "release": "r", "instance": "i", "session": "s", "task": task}
    told = {"digest": digest(arguments), "arguments": arguments, "principal": {**named, "credential_epoch": 0}}
    data = {**event.data, "tenure.mode": "draft", "tenure.draft": told, "tenure.kind": "tool"}
    return replace(event, data=data | {"tenure.violation": False})


@pytest.mark.req("R062", "R072")
def test_drafts_are_seen_by_task_changed_made_and_discarded(console: Console, person: httpx2.Client) -> None:
    assert "Nothing waits" in text(person.get("/drafts"))
    one = drafted(system_clock(), {"invoice": "D-1", "amount": 40}, "T-7")
    other = drafted(system_clock(), {"invoice": "D-2"}, "T-7")
    console.send(one, other)
    until(lambda: len(console.client.get("/v1/drafts", list[Any])) >= 2)
    page = text(person.get("/drafts"))
    assert "T-7 , 2 calls" in page
    assert "D-1" in page
    form = {"digest": digest({"invoice": "D-1", "amount": 40}), "shown": '{"invoice": "D-1", "amount": 40}'}
    broken = person.post(f"/drafts/{one.id}", data={**form, "decision": "execute", "arguments": "{"})
    assert (broken.status_code, "are no JSON" in broken.text) == (422, True)
    changed = {**form, "decision": "execute", "arguments": '{"invoice": "D-1", "amount": 4}', "reason": "a typo"}
    assert person.post(f"/drafts/{one.id}", data=changed).headers["location"] == "/drafts?done=execute"
    kept = console.client.get(f"/v1/drafts/{one.id}", dict)
    assert (kept["state"], kept["edited"]["amount"], kept["reason"]) == ("released", 4, "a typo")
    gone = {"digest": digest({"invoice": "D-2"}), "decision": "discard", "reason": "not ours"}
    assert person.post(f"/drafts/{other.id}", data=gone).headers["location"] == "/drafts?done=discard"
    page = text(person.get("/drafts?done=discard"))
    assert "Thrown away" in page
    assert "waits for a gateway" in page
    assert person.post(f"/drafts/{other.id}", data={"decision": "maybe"}).status_code == 422
