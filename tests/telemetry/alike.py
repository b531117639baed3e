"""Some of every Event, and all that can be asked of a trace store that has them: what two stores must answer alike."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from tenure.base.events import Logged
from tenure.kernel.ids import new_id
from tenure.kernel.values import Event, Status
from tenure.telemetry.model import outcome_data
from tenure.telemetry.shapes import shaped
from tenure.telemetry.traces.interface import TraceStore, Which
from tests.sim.clock import FakeClock
from tests.sim.telemetry import chat, refused, tool_call

HOUR = timedelta(hours=1)


def history_of(clock: FakeClock) -> list[Logged]:
    """Some of everything that is asked for."""
    at = clock.now
    stranger = {"count": 3, "user_agent.original": "curl/8", "client.address": "10.0.0.1", "tenure.client.key": "m"}
    told = outcome_data("tau-bench", "3", 1, reward=1.0, success=True)
    span = {"otlp.name": "x", "otlp.resource": {"service.name": "shop"}, "gen_ai.agent.name": "seller"}
    used = {"gen_ai.usage.cache_read.input_tokens": 4, "tenure.cost_usd": "0.012345678901"}
    asked = {"gen_ai.tool.call.arguments": '{"a": "ü"}', "gen_ai.tool.call.result": {"x": [1]}}
    facts: dict[str, Any] = {"workspace": "default", "actor": "gateway:local", "time": at}
    events = [
        chat(at, data={"nested": {"a": [1, None, "ü\x00'\"\\?%s{p0:Int64}"]}} | used),
        tool_call(at, session="s2", trace_id="a" * 32, data={"enduser.id": "ann"}),
        tool_call(at + HOUR, "files/write", session="s2", trace_id="a" * 32, data={"error.type": "timeout"}),
        refused(
            at, session="s3", trace_id="b" * 32, data={"tenure.kind": "agent", "tenure.approval.id": "a1", "said": "x"}
        ),
        tool_call(at, type="otlp.span", data=span, session="s2"),
        *[chat(at, duration_us=micros, agent="b", session=None) for micros in (5, 7, 9, 11)],
        Event(id=new_id(), type="request.refused", status=Status.VIOLATION, data=stranger, **facts),
        Event(id=new_id(), type="client.seen", agent="b", data={"mcp.client.name": "ide"}, **facts),
        Event(id=new_id(), type="import.outcome", session="s2", data=told, **facts),
        *(shaped(tool_call(at, "desk/transfer-to-human", session="s4", data=asked)) for _ in range(2)),
        shaped(tool_call(at, session="s4", data={**asked, "error.type": "timeout"}, memory_snapshot="m2")),
        refused(at, session="s5", data={"tenure.kind": "tool", "tenure.mode": "draft"}),
        Event(id=new_id(), type="agent.transitioned", agent="b", data={"to": "active"}, **facts),
    ]
    return [Logged(seq, event) for seq, event in enumerate(events, 1)]


def asked(store: TraceStore, clock: FakeClock, ids: list[str]) -> dict[str, Any]:
    """All that can be asked of a store, with what it answered."""
    every, numbers = Which(), list(range(1, 10))
    return {
        "cursor": store.cursor,
        "known": store.known([*ids, "nobody'\\"]),
        "nobody": store.known(["nobody"]),
        "events": store.events(every, 100),
        "after": store.events(Which(after=3, workspace="default"), 4),
        "of": store.events(Which(agent="b", type="call.completed", since=clock.now), 100),
        "newest": store.newest(Which(status=Status.VIOLATION), 100),
        "calls": store.calls(every, 100),
        "one": store.calls(Which(id=ids[2]), 1),
        "outcomes": store.outcomes(Which(workspace="default")),
        "traces": store.traces("default", every, None, 10),
        "older traces": store.traces("default", Which(agent="clerk"), 4, 10),
        "sessions": store.sessions("default", every, None, 10),
        "older sessions": store.sessions("default", Which(agent="clerk"), 3, 1),
        "stats": store.stats("default"),
        "no stats": store.stats("other"),
        "tools": sorted(store.tool_uses("default", clock.now + HOUR), key=repr),
        "agents": store.tool_uses("default", clock.now, "invoke_agent"),
        "under": store.content_under(numbers),
        "under none": store.content_under([]),
        "approvals": [one for number in numbers for one in store.approvals_under(number)],
        "told": sorted(one for number in numbers for one in store.told_under(number, ids)),
        "strangers": store.strangers(0, 99, clock.now),
        "old strangers": store.strangers(10, 99, clock.now),
        "introduced": store.introduced(0, 99),
        "spoken": store.spoken(0, 99),
        "peers": store.refused_peers(0, 99),
        "walked": store.walked("default", clock.now, None, None, 10),
        "walked of one": store.walked("default", clock.now, "clerk", None, 1),
        "used": sorted(store.used(0, 99), key=repr),
        **_done(store, clock.now, clock.now + 2 * HOUR),
    }


def _done(store: TraceStore, since: datetime, until: datetime) -> dict[str, Any]:
    """All that can be asked of it, with what it answered, of the agent ``clerk`` and of all."""
    return {
        "measured": store.measured("default", since, until),
        "acts": store.acts("default", "clerk", since, until, 10, None),
        "newest act": store.acts("default", "clerk", since, until, 1, "sha256:r1"),
        "toolbox": store.toolbox("default", since, until),
        "reasoned": store.reasoned("default", since, until),
        "signals": store.signals("default", "clerk", since, ["files/read"]),
    }
