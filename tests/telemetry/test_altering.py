"""What became of a call's arguments on their way, told beside the call."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tenure.base import events as log
from tenure.base.room import World
from tenure.kernel.values import Actor, Event, Role
from tenure.telemetry import service
from tenure.telemetry.altered import Altered
from tenure.telemetry.altering import altered, retried
from tenure.telemetry.cli import waterfall
from tenure.telemetry.model import Span, span_of
from tests.sim.clock import FakeClock
from tests.sim.telemetry import GATEWAY, chat, opened, tool_call
from tests.telemetry.test_beside import at

ASKED, CHANGED = {"cents": 120000, "to": "zoe"}, {"cents": 60000, "to": "zoe"}
_GIVEN = "gen_ai.tool.call.arguments"


def paid(second: float, given: dict[str, Any], resource: str = "shop/pay", **more: Any) -> Event:
    data = {_GIVEN: given, **more.pop("data", {})}
    return tool_call(at(second), resource, data=data, **more)


def edited() -> tuple[Event, Event]:
    """A person's change of a held call, and the call as it was then made."""
    facts = {"approval_id": "ap1", "arguments": ASKED, "edited": CHANGED, "reason": "half will do"}
    change = replace(tool_call(at(1)), type="approval.edited", actor="person:ann@example.com", data=facts)
    record = {"approval": "ap1", "by": "person:ann@example.com", "arguments": ASKED}
    return change, paid(2, CHANGED, data={"tenure.approval.edited": record, "tenure.approval.id": "ap1"})


def of(*events: Event, played: tuple[Event, ...] = ()) -> dict[str, tuple[Altered, ...]]:
    return dict(altered([span_of(one) for one in events], [span_of(one) for one in played]))


def places(one: Altered) -> list[tuple[Any, ...]]:
    return [(place.path, place.before, place.after) for place in one.places]


@pytest.mark.req("R072", "R081")
def test_a_call_that_was_approved_otherwise_tells_both_sides_who_and_why() -> None:
    change, call = edited()
    found = of(change, call)
    for event in (change, call):
        [told] = found[event.id]
        assert (told.kind, places(told)) == ("edited", [("cents", 120000, 60000)])
        assert (told.by, told.reason, told.approval) == ("person:ann@example.com", "half will do", "ap1")
    [alone] = of(call)[call.id]
    assert (alone.by, alone.reason) == ("person:ann@example.com", ""), "its moment is not kept, the call says who"


def test_what_policy_takes_out_is_told_apart_from_what_only_the_record_lacks() -> None:
    noted = [{"rule": "personal/iban", "place": "arguments", "count": 1}]
    told = {"tenure.findings": noted, "tenure.decision": {"effect": "allow", "obligations": ["redact:personal"]}}
    whole = paid(0, {"to": "DE89370400440532013000"}, data={**told, "tenure.findings": []})
    [sent] = of(whole)[whole.id]
    assert (sent.kind, places(sent)) == ("redacted", [("to", "DE89370400440532013000", "[redacted:personal/iban]")])
    marked = {"to": ["[redacted:personal/iban]"], "key": "[redacted:secret/aws]", "cents": 1}
    call = paid(1, marked, data=told)
    out, kept = of(call)[call.id]
    assert (out.kind, out.places[0].path, out.places[0].kept) == ("redacted", "to[0]", False)
    assert (kept.kind, [one.path for one in kept.places]) == ("unrecorded", ["key"])
    refused = replace(call, type="call.refused")
    assert [one.kind for one in of(refused)[refused.id]] == ["unrecorded"], "nothing was sent"
    assert of(paid(2, {"text": "[redacted:secret/aws]"})) == {}, "the agent wrote it itself"


def test_what_a_retry_changed_is_told_with_it() -> None:
    calls = [
        paid(0, {"cents": 9, "to": 1}, type="call.refused"),
        chat(at(1)),
        paid(2, {"cents": 5, "to": 1}),
        chat(at(3)),
        paid(4, {"cents": 7, "to": 1}),  # the one before went well and the model spoke in between: another call
    ]
    spans = [span_of(one) for one in calls]
    assert {ident: span.event for ident, span in retried(spans).items()} == {calls[2].id: calls[0].id}
    [told] = of(*calls)[calls[2].id]
    assert (told.kind, places(told), told.span_id) == ("retried", [("cents", 9, 5)], calls[0].span_id)
    [short] = altered(spans, retries=False)[calls[2].id]
    assert (short.kind, short.places, short.span_id) == ("retried", (), calls[0].span_id), "whoever has both calls"
    assert of(calls[0], replace(calls[0], id="again", time=at(1))) == {}, "nothing differs"


def test_a_fork_tells_what_it_asked_for_otherwise_than_the_record() -> None:
    recorded = (paid(0, {"cents": 1}), paid(1, {"cents": 2}), paid(2, {"cents": 3}))

    def answer(number: int, cents: int, how: str) -> Event:
        event = paid(10 + number, {"cents": cents}, "pay", type="fork.answered", trace_id="f")
        return replace(event, data={**event.data, "tenure.fork.answered": how})

    first, second = answer(0, 1, "record"), answer(1, 9, "none")
    found = of(first, second, played=recorded)
    assert set(found) == {second.id}
    [told] = found[second.id]
    assert (told.kind, places(told), told.span_id) == ("forked", [("cents", 2, 9)], recorded[1].span_id)
    assert told.trace_id == recorded[1].trace_id


@pytest.mark.req("R081")
def test_who_may_not_see_what_was_said_sees_neither_side(world: World, clock: FakeClock, operator: Actor) -> None:
    change, call = (replace(one, time=clock.now + timedelta(seconds=n)) for n, one in enumerate(edited()))
    viewer = Actor("default", "person:vera@example.com", frozenset({Role.VIEWER}))
    with opened(world):
        with world.begin() as tx:
            log.append(tx, [change])
        service.ingest(world, GATEWAY, [call])
        assert call.trace_id
        trace = service.trace(world, viewer, call.trace_id)
        for event in (change, call):
            [told] = trace.altered[event.id]
            assert (told.kind, told.by, told.places, told.reason) == ("edited", "person:ann@example.com", (), "")
        assert trace.withheld
        assert service.trace(world, operator, call.trace_id).altered[call.id][0].places


def test_the_command_line_tells_it_below_the_call() -> None:
    change, call = edited()
    span: Span = span_of(call)
    told = of(change, call)[call.id][0]
    shown: dict[str, Any] = {"name": span.name, "type": span.type, "offset_us": 0, "duration_us": 10, "depth": 0}
    shown |= {"status": "allowed", "status_code": "ok", "status_message": "", "attributes": {}}
    as_json = {"kind": told.kind, "by": told.by, "reason": told.reason, "more": False}
    sides = [{"path": "cents", "before": 1, "after": None, "before_there": True, "after_there": False, "kept": True}]
    lines = waterfall({"duration_us": 10, "spans": [shown | {"altered": [as_json | {"places": sides}]}]})
    assert [line.plain.strip() for line in lines[1:]] == [
        "asked for, and approved otherwise by ann@example.com: half will do",
        "cents  1 → nothing",
    ]
