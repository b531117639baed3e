"""What is usual of an agent, on its page, and what is unusual in a trace, beside it."""

from __future__ import annotations

import html
import re
from datetime import datetime, timedelta

import httpx2
import pytest

from tenure.base.clock import system_clock
from tenure.kernel.values import Event
from tests.sim.console import Console
from tests.sim.telemetry import tool_call


def _words(answer: httpx2.Response) -> str:
    assert answer.status_code == 200, answer.text
    return html.unescape(" ".join(re.sub(r"<[^>]+>", " ", answer.text).split()))


def _run(at: datetime, session: str, *tools: str) -> list[Event]:
    asked = {"gen_ai.tool.call.arguments": {"path": "a.txt"}}
    return [
        tool_call(at + timedelta(seconds=place), tool, agent="newcomer", session=session, data=asked)
        for place, tool in enumerate(tools)
    ]


@pytest.mark.req("R089", "R093", "R107")
def test_a_tool_that_an_agent_never_called_stands_out_on_its_page_and_in_the_trace(
    console: Console, person: httpx2.Client
) -> None:
    now = system_clock()
    console.send(*_run(now - timedelta(days=9), "first", *["files/read_file"] * 17))
    page = _words(person.get("/agents/newcomer/behaviour"))
    assert "Still learning: 17 of 30 tool calls" in page
    assert "1. Tool calls seen 17" in page
    runs = [_run(now - timedelta(days=8 - number / 50), f"r{number}", *["files/read_file"] * 6) for number in range(40)]
    console.send(*(event for run in runs for event in run))
    assert "It called no tool in that time" in _words(person.get("/agents/newcomer/behaviour"))
    assert "As usual" in _words(person.get("/agents/newcomer/behaviour?hours=183"))
    [odd, *_] = strange = _run(now - timedelta(minutes=1), "odd", "payments/refund")
    console.send(*strange)
    page = _words(person.get("/agents/newcomer/behaviour"))
    assert "1 deviation 1 tool call in 1 run, held against what it did under the same release: 257 tool calls" in page
    said = "payments/refund was never called in 257 calls before"
    assert f"unusual {said}" in page
    assert 'href="/agents/newcomer/behaviour"' in person.get("/agents/newcomer").text
    where = f"/traces/{odd.trace_id}/deviations"
    assert f'hx-get="{where}"' in person.get(f"/traces/{odd.trace_id}").text
    part = person.get(where, headers={"HX-Request": "true"})
    assert "<html" not in part.text
    assert f"Unlike what its agents usually do unusual {said}" in _words(part)
    assert "Nothing in it is unlike" in _words(person.get(f"/traces/{runs[0][0].trace_id}/deviations"))
    assert person.get(f"/traces/{'0' * 32}/deviations").status_code == 404
