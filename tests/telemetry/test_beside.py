"""What belongs to no trace and has its place in one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tenure.kernel.ids import moment_span, session_trace
from tenure.kernel.values import Event
from tenure.telemetry.beside import joined, run_of
from tenure.telemetry.model import JOINED, Span, span_of, trace_of

TRACE, ROOT = session_trace("default", "s1")
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def event(kind: str, seconds: float, **more: Any) -> Event:
    data = {key.replace("__", "."): value for key, value in more.pop("data", {}).items()}
    return Event(f"{kind}@{seconds}", kind, at(seconds), "default", more.pop("actor", "system:x"), data=data, **more)


def call(span: str, seconds: float, length: float, agent: str = "clerk", **more: Any) -> Span:
    """A tool call of an agent, in a trace of its session."""
    facts = {"trace_id": TRACE, "parent_span_id": ROOT, "session": "s1", "instance": f"i-{agent}", "release": "r1"}
    data = {"tenure__resource": "shop/pay"}
    length_us = int(length * 1e6)
    return span_of(event("call.completed", seconds, agent=agent, span_id=span, duration_us=length_us, data=data,
                         **(facts | more)))  # fmt: skip


FIRST, SECOND = call("a" * 16, 0, 10), call("b" * 16, 2, 4, "helper", parent_span_id="a" * 16)


def beside(*events: Event, spans: tuple[Span, ...] = (FIRST, SECOND)) -> dict[str, Span]:
    """The moments that join the trace, by type."""
    return {span.type: span for span in joined(spans, events)[1]}


@pytest.mark.req("R085")
def test_a_change_is_below_the_span_that_it_found_at_work() -> None:
    found = beside(
        event("agent.transitioned", 3, agent="helper"),
        event("release.approved", 8, agent="helper"),
        event("policy.loaded", 5),
        event("limits.set", 9),
    )
    assert {kind: span.parent_span_id for kind, span in found.items()} == {
        "agent.transitioned": "b" * 16,
        "release.approved": "b" * 16,  # its last work
        "policy.loaded": "b" * 16,  # the innermost of all that ran
        "limits.set": "a" * 16,
    }
    assert {span.attributes[JOINED] for span in found.values()} == {"agent", "workspace"}
    assert {span.trace_id for span in found.values()} == {TRACE}


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (event("agent.transitioned", 3, agent="other"), None),
        (event("agent.transitioned", -1, agent="clerk"), None),
        (event("agent.transitioned", 40, agent="clerk"), "agent"),
        (event("agent.transitioned", 75, agent="clerk"), None),
        (event("policy.loaded", 40), None),
        (event("instance.ended", 3, agent="clerk", instance="another"), None),
        (event("instance.ended", 3, agent="clerk", instance="i-clerk"), "agent"),
        (event("tool.disabled", 3, data={"resource": "shop"}), "tool"),
        (event("tool.disabled", 3, data={"resource": "shop/p"}), None),
        (event("breaker.tripped", 3, data={"scope": "workspace", "name": "default"}), "workspace"),
        (event("breaker.reset", 3, data={"scope": "tool", "name": "shop/pay"}), "tool"),
        (event("breaker.reset", 3, data={"scope": "tool", "name": "shop/wipe"}), None),
        (event("breaker.tripped", 3, data={"scope": "release", "name": "r1"}), "release"),
        (event("person.removed", 3, data={"email": "ann@example.com"}), None),
        (event("person.logged_in", 3), None),
        (event("token.issued", 3, agent="clerk", instance="i-clerk"), None),
    ],
)
def test_only_what_concerns_a_trace_while_it_runs_is_in_it(told: Event, why: str | None) -> None:
    assert [span.attributes[JOINED] for span in beside(told).values()] == ([] if why is None else [why])


@pytest.mark.req("R085")
def test_a_trace_begins_with_the_request_of_a_person() -> None:
    one = {"agent": "clerk", "instance": "i-clerk"}
    login = event("person.logged_in", -9, actor="person:ann@example.com")
    earlier = event("person.logged_in", -99, actor="person:ann@example.com")
    started = event("instance.started", -5, actor="person:ann@example.com", **one)
    old, token = event("token.issued", -4, **one), event("token.issued", -1, **one)
    helper = event(
        "token.issued", -3, agent="helper", instance="i-helper"
    )  # which was asked by the clerk, and by nobody
    others = event("person.logged_in", -8, actor="person:bob@example.com")
    spans, moments = joined([FIRST, SECOND], [token, others, started, login, earlier, old, helper])
    trace = trace_of(TRACE, spans, moments)
    assert [(placed.depth, placed.span.event) for placed in trace.spans] == [
        (0, login.id),
        (1, started.id),
        (2, token.id),
        (3, FIRST.event),
        (4, SECOND.event),
    ]
    assert trace.spans[3].span.parent_span_id == moment_span(token.id)
    assert trace.spans[3].span.links == ()
    assert trace.spans[0].offset_us == -9_000_000
    assert trace.duration_us == 10_000_000


def test_the_parent_that_a_client_told_and_never_sent_is_kept_as_a_link() -> None:
    mine = call("c" * 16, 0, 1, parent_span_id="d" * 16)
    token = event("token.issued", -1, agent="clerk", instance="i-clerk")
    [span], _ = joined([mine], [token])
    assert span.parent_span_id == moment_span(token.id)
    assert span.links == ({"trace_id": TRACE, "span_id": "d" * 16, "attributes": {"tenure.link": "parent_as_told"}},)


def test_what_was_imported_ran_elsewhere() -> None:
    brought = span_of(event("import.call", 0, agent="clerk", trace_id=TRACE, span_id="a" * 16))
    assert run_of([brought]) is None
    assert beside(event("policy.loaded", 0), spans=(brought,)) == {}
