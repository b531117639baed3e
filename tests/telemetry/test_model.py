"""Events as spans, waterfalls and lines of the feed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tenure.kernel.ids import new_id
from tenure.kernel.values import Event, Status
from tenure.telemetry.model import outcome_data, outcome_of, span_of, trace_of
from tenure.telemetry.words import feed_item
from tests.sim.telemetry import chat, refused, tool_call

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def _moment(kind: str, call: Event, after_ms: int, **data: object) -> Event:
    time = call.time + timedelta(milliseconds=after_ms)
    return replace(call, id=new_id(), type=kind, time=time, duration_us=None, status=Status.ALLOWED, data=data)


@pytest.mark.req("R080", "R086")
def test_a_call_is_a_span_of_the_genai_conventions() -> None:
    span = span_of(chat(NOW))
    assert (span.name, span.kind, span.status) == ("chat gpt-4o", "client", "ok")
    assert span.attributes["gen_ai.usage.input_tokens"] == 100
    correlation = (span.session, span.release, span.policy_version, span.memory_snapshot)
    assert correlation == ("s1", "sha256:r1", "v1", "m1")
    assert span_of(tool_call(NOW)).name == "execute_tool files/read"
    denied = span_of(refused(NOW))
    assert (denied.status, denied.status_message) == ("error", "over the limit")


@pytest.mark.req("R081")
def test_a_waterfall_shows_decision_approval_and_breaker_in_causal_order() -> None:
    held = tool_call(NOW, "payments/refund", duration_us=60_000_000)
    asked = _moment("approval.requested", held, 2, resource="payments/refund", reason="over 100")
    granted = replace(_moment("approval.granted", held, 30_000), actor="person:ada@example.com")
    claimed = _moment("approval.claimed", held, 30_010)
    denied = refused(NOW + timedelta(seconds=90))
    tripped = _moment("breaker.tripped", denied, 1, reason="1 violation in 300 s")
    spans = [span_of(event) for event in (tripped, denied, claimed, held, granted, asked)]
    placed = trace_of("t", spans).spans
    assert [(item.depth, item.span.name) for item in placed] == [
        (0, "execute_tool payments/refund"),
        (1, "decide allow"),
        (1, "approval.requested"),
        (1, "approval.granted"),
        (1, "approval.claimed"),
        (0, "execute_tool payments/refund"),
        (1, "decide deny"),
        (1, "breaker.tripped"),
    ]
    assert placed[3].offset_us == 30_000_000


def test_a_circle_of_parents_is_cut() -> None:
    first = tool_call(NOW, span_id="a" * 16, parent_span_id="b" * 16, data={"tenure.decision": None})
    second = replace(first, id=new_id(), span_id="b" * 16, parent_span_id="a" * 16)
    placed = trace_of("t", [span_of(first), span_of(second)]).spans
    assert sorted(item.depth for item in placed) == [0, 1]


@pytest.mark.parametrize(
    ("event", "title"),
    [
        (refused(NOW), "refund denied: over the limit"),
        (tool_call(NOW), "used read"),
        (chat(NOW, "meta/llama"), "asked meta/llama"),
        (tool_call(NOW, data={"tenure.first_use": True}), "first use of read"),
        (tool_call(NOW, data={"error.type": "timeout"}), "read failed: timeout"),
        (tool_call(NOW, data={"tenure.approval.id": "a1"}), "read done, as approved"),
        (
            Event("1", "agent.transitioned", NOW, "default", "person:a", data={"from": "staging", "to": "production"}),
            "staging → production",
        ),
        (
            Event("1", "gateway.dropped", NOW, "default", "gateway:local", data={"count": 3}),
            "3 records were lost at the gateway; the calls were still decided",
        ),
        (Event("1", "policy.loaded", NOW, "default", "system:policy"), "new policies are in force"),
        (Event("1", "token.issued", NOW, "default", "person:a", agent="clerk"), "was given a credential"),
        (
            Event(
                "1", "breaker.tripped", NOW, "default", "system:breaker", data={"reason": "3 violations within 60 s"}
            ),
            "breaker tripped, every call is refused: 3 violations within 60 s",
        ),
        (
            Event(
                "1", "approval.granted", NOW, "default", "person:a@b.c", data={"resource": "p/refund", "reason": "ok"}
            ),
            "refund approved by a@b.c: ok",
        ),
        (
            Event("1", "person.created", NOW, "default", "person:a", data={"email": "b@c.d", "roles": ["owner"]}),
            "b@c.d may log in, roles: owner",
        ),
    ],
)
def test_the_feed_speaks_to_people(event: Event, title: str) -> None:
    assert feed_item(1, event).title == title


def test_an_outcome_is_read_back_as_it_was_told() -> None:
    data = outcome_data("tau-bench", "7", 2, reward=1.0, success=True, detail={"user": "u1"})
    found = outcome_of(Event("1", "import.outcome", NOW, "default", "system:import", session="s", data=data))
    assert found is not None
    assert (found.source, found.task, found.trial, found.reward, found.success) == ("tau-bench", "7", 2, 1.0, True)
    assert found.detail == {"user": "u1"}
