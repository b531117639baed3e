"""The drawing of a trace: idle gaps folded, honest ticks, and what belongs to a call beside it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from tenure.ui.runs.axis import FOLD_WIDTH, MOST_FOLDED, WIDTH, axis
from tenure.ui.runs.rows import LEAST, Row, Trace
from tenure.ui.runs.sides import sides
from tenure.ui.runs.talk import messages
from tenure.ui.runs.waterfall import draw, resets_of

NOW = datetime(2026, 11, 21, 14, 0, tzinfo=UTC)


def at(milliseconds: float) -> datetime:
    return NOW + timedelta(milliseconds=milliseconds)


def call(start: float, length: float, span: str, **more: Any) -> dict[str, Any]:
    """A tool call as the API gives it; ``start`` and ``length`` in milliseconds."""
    data = {"gen_ai.operation.name": "execute_tool", "tenure.decision": {"effect": "allow", "policies": ["granted"]}}
    raw: dict[str, Any] = {"span_id": span, "name": f"execute_tool {span}", "type": "call.completed", "agent": "clerk"}
    raw |= {"start": at(start).isoformat(), "duration_us": length * 1000, "status": "allowed"}
    return raw | more | {"attributes": data | more.get("attributes", {})}


def moment(kind: str, when: float, parent: str = "", **data: Any) -> dict[str, Any]:
    raw = {"span_id": f"{kind}-{when}", "parent_span_id": parent, "type": kind, "name": kind, "agent": "clerk"}
    return raw | {"start": at(when).isoformat(), "duration_us": 0, "status": "violation", "attributes": data}


def drawn(spans: list[dict[str, Any]], approvals: list[dict[str, Any]] | None = None) -> Trace:
    trace = draw("t", spans, approvals or [])
    assert trace
    return trace


def bar(row: Row) -> tuple[float, float]:
    piece = next(piece for piece in row.pieces if piece.kind == "call")
    return piece.x, piece.width


def test_an_idle_gap_is_folded_and_calls_get_the_width() -> None:
    trace = drawn([call(0, 3, "a"), call(4, 1, "b"), call(1204, 2, "c"), call(5206, 2, "d")])
    assert [row.name for row in trace.rows] == [
        "execute_tool a",
        "execute_tool b",
        "1.20 s idle",
        "execute_tool c",
        "4.00 s idle",
        "execute_tool d",
    ]
    assert [fold.width for fold in trace.folds] == [FOLD_WIDTH, FOLD_WIDTH]
    bars = [bar(row) for row in trace.rows if row.kind == "tool"]
    assert min(width for _, width in bars) > 80  # of 1000; to scale over the whole length it would be less than one
    assert bars[0][1] == pytest.approx(3 * bars[1][1], abs=0.1)  # to scale with each other
    assert (trace.duration, trace.active) == ("5.21 s", "8 ms")


def test_a_gap_that_is_short_for_the_work_stays_to_scale() -> None:
    trace = drawn([call(0, 1000, "a"), call(1040, 1000, "b")])
    assert trace.folds == ()
    assert trace.active == ""
    assert [bar(row)[0] for row in trace.rows] == [0, pytest.approx(1000 * 1040 / 2040, abs=0.01)]


def test_ticks_name_real_offsets_that_can_be_told_apart() -> None:
    drawing = axis([(at(0), at(8)), (at(3000), at(3010)), (at(9000), at(9002))], at(0), at(9002))
    ticks = drawing.ticks()
    assert ticks[0] == (0, "0")
    assert ticks[-1] == (WIDTH, "9.0020 s")
    assert len({word for _, word in ticks}) == len(ticks)
    for x, word in ticks[1:]:
        value, unit = word.split()
        milliseconds = float(value) * {"s": 1000, "ms": 1}[unit]
        assert drawing.at(at(milliseconds)) == pytest.approx(x, abs=6)  # what the label says is drawn where it stands
        assert not any(fold.x < x < fold.x + fold.width for fold in drawing.folds)


def test_time_never_runs_backwards_and_many_gaps_leave_room() -> None:
    active = [(at(5000 * n), at(5000 * n + 1)) for n in range(200)]
    drawing = axis(active, at(0), at(5000 * 199 + 1))
    assert len(drawing.folds) == 199
    assert sum(fold.width for fold in drawing.folds) <= WIDTH * MOST_FOLDED + 2
    places = [drawing.at(moment) for interval in active for moment in interval]
    assert places == sorted(places)
    assert (places[0], places[-1]) == (0, WIDTH)
    assert all(after.x >= before.x + before.width for before, after in pairwise(drawing.folds))


def test_moments_alone_and_one_moment_can_be_drawn() -> None:
    assert axis([(at(0), at(0)), (at(60_000), at(60_000))], at(0), at(60_000)).folds == ()
    assert axis([(at(0), at(0))], at(0), at(0)).at(at(0)) == 0
    assert drawn([call(0, 0, "a")]).rows[0].pieces[0].width >= LEAST


def test_every_bar_can_be_seen_and_stays_inside() -> None:
    trace = drawn([call(0, 60_000, "long"), call(59_999.99, 0.01, "short")])
    pieces = [piece for row in trace.rows for piece in row.pieces]
    assert all(piece.x + piece.width <= WIDTH for piece in pieces)
    assert all(piece.width >= LEAST for piece in pieces if piece.kind != "mark")


def test_between_the_calls_of_a_call_is_no_idle_time() -> None:
    root = call(0, 5000, "root", attributes={"gen_ai.operation.name": "invoke_agent"})
    trace = drawn([root, call(10, 5, "a", parent_span_id="root"), call(4000, 5, "b", parent_span_id="root")])
    assert "3.98 s between calls" in [row.name for row in trace.rows]
    assert bar(trace.rows[0]) == (0, WIDTH)  # the call around them reaches over the fold


APPROVAL = {
    "id": "p1",
    "agent": "clerk",
    "resource": "payments/refund",
    "why": "over 100",
    "requested_at": at(1).isoformat(),
    "decided_at": at(90_000).isoformat(),
    "decided_by": "person:ada@example.com",
    "reason": "agreed with the vendor",
    "state": "claimed",
}


@pytest.mark.req("R060")
def test_an_approval_is_told_step_by_step_beside_its_call() -> None:
    held = call(0, 90_010, "held", attributes={"tenure.approval.id": "p1"})
    claimed = moment("approval.claimed", 90_002, "held", approval_id="p1")
    trace = drawn([held, claimed, call(5, 2, "other")], [APPROVAL])
    told = [(row.depth, row.name, row.note) for row in trace.rows]
    assert told == [
        (0, "execute_tool held", ""),
        (1, "approval of payments/refund requested", "over 100"),
        (1, "approved by ada@example.com", "agreed with the vendor"),
        (1, "approval used, once, by this call", ""),
        (0, "execute_tool other", ""),
    ]
    assert [fold.length for fold in trace.folds] == ["1 min 29 s"]  # the wait is folded, and its own row says how long
    assert trace.rows[1].duration == "1 min 29 s"


def test_an_approval_that_waits_or_was_rejected_stands_for_its_call() -> None:
    waiting = {**APPROVAL, "state": "pending", "decided_at": None}
    assert [row.name for row in drawn([call(0, 1, "a")], [waiting]).rows][-1] == "approval of payments/refund requested"
    rejected = {**APPROVAL, "state": "rejected", "reason": "paid already"}
    last = drawn([call(0, 1, "a")], [rejected]).rows[-1]
    assert (last.name, last.note, last.status) == ("rejected by ada@example.com", "paid already", "violation")


@pytest.mark.req("R060")
def test_a_trip_stands_with_the_call_that_caused_it_and_its_reset_after() -> None:
    denied = call(0, 1, "denied", status="violation", type="call.refused")
    tripped = moment("breaker.tripped", 0.9, "denied", epoch=4, reason="3 violations within 60 s")
    concurrent = call(0.5, 1, "concurrent")
    event = {
        "type": "breaker.reset",
        "agent": "clerk",
        "actor": "person:ada@example.com",
        "time": at(30_000).isoformat(),
    }
    resets = [{**event, "data": {"epoch": epoch, "reason": "the task was wrong"}} for epoch in (4, 5, 6)]
    spans = [denied, tripped, concurrent]
    found = [dict(reset) for reset in resets_of(spans, resets)]
    assert [reset["data"]["epoch"] for reset in found] == [5]
    rows = drawn([*spans, *found]).rows
    assert [(row.depth, row.name, row.note) for row in rows if row.kind != "idle"] == [
        (0, "execute_tool denied", ""),
        (1, "breaker tripped", "3 violations within 60 s"),
        (0, "execute_tool concurrent", ""),
        (0, "breaker reset by ada@example.com", "the task was wrong"),
    ]


@pytest.mark.req("R110", "R083")
def test_a_trace_tells_its_tokens_its_cost_and_which_models_were_tried() -> None:
    attempts = [{"model": "big", "outcome": "529"}, {"model": "small", "outcome": "answered"}]
    usage = {"gen_ai.usage.input_tokens": 9, "gen_ai.usage.cache_read.input_tokens": 4}
    usage |= {"gen_ai.usage.output_tokens": 7, "gen_ai.usage.reasoning.output_tokens": 2}
    model = {"gen_ai.operation.name": "chat", **usage, "tenure.cost_usd": "0.0041", "tenure.attempts": attempts}
    trace = drawn([call(0, 3, "a", attributes=model), call(4, 1, "b", attributes=model), call(6, 1, "c")])
    assert (trace.input_tokens, trace.output_tokens, trace.cached_tokens, trace.reasoning_tokens) == (18, 14, 8, 4)
    assert trace.cost == "$0.0082"
    assert ("Attempts", "big: 529, small: answered") in trace.rows[0].facts
    assert drawn([call(0, 3, "a")]).cost == ""


@pytest.mark.req("R092")
def test_a_call_shows_what_was_found_in_it() -> None:
    rows = [
        {"rule": "secret/jwt", "place": "prompt", "count": 2},
        {"rule": "contact/email", "place": "answer", "count": 1},
        {"rule": "contact/phone", "place": "answer", "count": 1},
    ]
    plain, found = drawn([call(0, 3, "a"), call(4, 1, "b", attributes={"tenure.findings": rows})]).rows
    assert (plain.found, plain.findings) == ([], ())
    assert found.found == ["contact", "secret"]
    assert found.findings[0] == ("secret/jwt", "prompt", 2)


def used(tokens: tuple[int, int], cost: str = "") -> dict[str, Any]:
    told = {"gen_ai.usage.input_tokens": tokens[0], "gen_ai.usage.output_tokens": tokens[1]}
    return {"gen_ai.operation.name": "chat"} | told | ({"tenure.cost_usd": cost} if cost else {})


def test_what_is_inside_a_span_is_summed_and_nothing_is_counted_twice() -> None:
    run = call(0, 100, "run", type="otlp.span", attributes={"otlp.step": "agent", **used((999, 9))})
    step = call(1, 50, "step", type="otlp.span", parent_span_id="run", attributes={"otlp.step": "chain"})
    asked = call(2, 5, "m1", type="otlp.span", parent_span_id="step", attributes={"otlp.step": "llm", **used((10, 1))})
    again = call(9, 5, "m2", type="otlp.span", parent_span_id="run", attributes={"otlp.step": "llm", **used((20, 2))})
    trace = drawn([run, step, asked, again])
    assert (trace.input_tokens, trace.output_tokens) == (30, 3), "an agent's span repeats what its model calls used"
    told = {row.span_id: (row.used, row.inside) for row in trace.rows}
    assert told["run"][1] == "30 → 3 tokens"
    assert told["step"] == ("", "10 → 1 tokens")
    assert told["m1"] == ("10 → 1 tokens", "")
    seen = call(2, 4, "g1", parent_span_id="m1", attributes=used((10, 1), "0.002"))
    trace = drawn([run, step, asked, again, seen])
    assert (trace.input_tokens, trace.cost) == (10, "$0.0020"), "a gateway saw it: agents tell of the same call"
    assert next(row.inside for row in trace.rows if row.span_id == "run") == "10 → 1 tokens, $0.0020"


def test_a_circle_of_parents_is_summed_and_ends() -> None:
    spans = [call(0, 1, "a", parent_span_id="b", attributes=used((1, 1))), call(1, 1, "b", parent_span_id="a")]
    assert drawn(spans).input_tokens == 1


def _told(arguments: dict[str, Any]) -> dict[str, Any]:
    return {"tenure.resource": "files/read", "gen_ai.tool.call.arguments": arguments}


def test_rows_are_made_when_they_are_looked_at() -> None:
    spans = [call(number, 1, f"s{number}", attributes=_told({"n": number})) for number in range(9)]
    trace = drawn([*spans, moment("breaker.tripped", 9, "s8")])
    assert len(trace.rows) == 10
    assert [row.kind for row in trace.rows.made] == ["breaker"], "what nobody looks at was made"
    assert [row.span_id for row in trace.rows[2:4]] == ["s2", "s3"]
    assert trace.rows[2] is trace.rows[2]
    assert (trace.worst, trace.agents) == ("violation", ("clerk",))


def test_two_values_stand_side_by_side_and_what_is_the_same_is_folded() -> None:
    before = {f"k{number}": number for number in range(20)}
    lines = sides(before, {**before, "k9": "nine", "new": True})
    assert [line.left_out for line in lines if line.left_out] == [7, 3]
    differing = [line for line in lines if line.differs]
    assert [text for text, differs in differing[0].right or () if differs] == ['"nine"']
    assert differing[-1].left is None or differing[-1].right is not None
    assert sides(before, dict(before)) == ()
    assert sides(list(range(1000)), []) == (), "too long to be read as a picture"


@pytest.mark.req("R085")
def test_a_memory_operation_is_told_as_one() -> None:
    told = {"did": "read", "store": "likes", "keys": ["m1"], "query": "tea", "count": 1, "size": 12, "whose": "ann"}
    told |= {"told_by": "name", "words": "reads 1 record (m1) from likes"}
    [row] = drawn([call(0, 1, "a", memory=told)]).rows
    assert (row.kind, row.note) == ("memory", "reads 1 record (m1) from likes")
    assert row.memory[:2] == (("Read", "1 record, 12 bytes"), ("Store", "likes"))
    assert row.memory[-1] == ("Known by", "the tool's name: that it keeps a memory is a guess")


@pytest.mark.req("R085")
def test_a_conversation_tells_what_is_read_of_a_memory_and_written() -> None:
    asked = {"type": "tool_call", "id": "c1", "name": "search_nodes", "arguments": {"query": "tea"}}
    answer = {"type": "tool_call_response", "id": "c1", "response": [{"name": "Ann"}, {"name": "Ben"}]}
    other = {"type": "tool_call", "id": "c2", "name": "refund", "arguments": {"cents": 1}}
    found = messages([{"role": "assistant", "parts": [asked, other]}, {"role": "tool", "parts": [answer]}])
    parts = [part for message in found for part in message.parts]
    assert [(part.name, part.memory) for part in parts] == [
        ("search_nodes", "reads memory, searching “tea”"),
        ("refund", ""),
        ("search_nodes", "reads 2 records, searching “tea”"),
    ]
