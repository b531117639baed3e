"""A long trace: a page of its rows without scripts, all of them when scrolled, search, and what a retry changed; a run
played again, and the ways that runs go."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Browser, Route, expect

from tenure.base.clock import system_clock
from tenure.kernel.ids import session_trace
from tenure.kernel.json import digest
from tenure.ui.runs.rows import Trace
from tenure.ui.runs.waterfall import draw
from tenure.ui.runs.window import KEPT, PIECE, ROWS, Drawn, Shelf
from tests.sim.browser import window
from tests.sim.console import Console, held, refused
from tests.sim.telemetry import chat, tool_call
from tests.ui.conftest import until
from tests.ui.test_browser import enter
from tests.ui.test_pages import text

COUNT = 2 * ROWS + 50
_TWO_FRAMES = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
PATIENCE_MS = 60_000  # a busy machine is not a fault


@pytest.fixture(scope="module")
def long_trace(console: Console) -> str:
    """More calls in one trace than one page shows."""
    began = system_clock() - timedelta(seconds=30)
    console.send(
        *(
            tool_call(
                began + timedelta(milliseconds=2 * number),
                "files/read_file",
                agent="walker",
                session="long",
                span_id=f"{number:016x}",
                data={"gen_ai.tool.call.arguments": {"path": f"number-{number}.txt"}},
            )
            for number in range(COUNT)
        )
    )
    return session_trace("default", "long")[0]


def _spans(page: str) -> list[int]:
    return [int(found, 16) for found in re.findall(r'id="s-(\w+)"', page)]


@pytest.mark.req("R081")
def test_without_scripts_a_long_trace_has_pages(person: httpx2.Client, long_trace: str) -> None:
    first = person.get(f"/traces/{long_trace}").text
    assert _spans(first) == list(range(ROWS))
    later = re.search(r'href="(\?start=\d+[^"]*)">Later', first)
    assert later
    second = person.get(f"/traces/{long_trace}{later[1]}".replace("&amp;", "&")).text
    assert _spans(second) == list(range(ROWS, 2 * ROWS))
    assert _spans(person.get(f"/traces/{long_trace}", params={"start": 10**9}).text)[-1] == COUNT - 1


def test_a_link_to_a_span_opens_the_page_that_holds_it(person: httpx2.Client, long_trace: str) -> None:
    wanted = f"{ROWS + 7:016x}"
    page = person.get(f"/traces/{long_trace}", params={"span": wanted}).text
    assert _spans(page)[0] == ROWS
    assert re.search(rf'id="s-{wanted}" open', page)


def test_search_finds_arguments_and_says_when_there_is_nothing(person: httpx2.Client, long_trace: str) -> None:
    assert _spans(person.get(f"/traces/{long_trace}", params={"q": "NUMBER-431.txt"}).text) == [431]
    assert "Nothing in this trace holds" in person.get(f"/traces/{long_trace}", params={"q": "nowhere"}).text


def test_a_piece_is_for_whoever_may_see_the_trace(console: Console, person: httpx2.Client, long_trace: str) -> None:
    address = f"{console.url}/traces/{long_trace}/rows"
    assert _spans(person.get(address, params={"start": PIECE}).text) == list(range(PIECE, 2 * PIECE))
    assert httpx2.get(address, trust_env=False).status_code == 401


@pytest.mark.browser
@pytest.mark.req("R081")
def test_scrolled_to_its_end_a_long_trace_shows_its_last_row_and_keeps_few(
    browser: Browser, console: Console, session: str, long_trace: str
) -> None:
    with window(browser, viewport={"width": 1360, "height": 800}) as opened:
        enter(opened, console, session)
        opened.page.goto(f"{console.url}/traces/{long_trace}")
        expect(opened.page.locator(".wf-piece")).to_have_count(-(-COUNT // PIECE), timeout=PATIENCE_MS)
        opened.page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
        expect(opened.page.locator(f"#s-{COUNT - 1:016x}")).to_be_visible(timeout=PATIENCE_MS)
        expect(opened.page.locator(f"#s-{0:016x}")).to_have_count(0, timeout=PATIENCE_MS)
        opened.page.evaluate("scrollTo(0, 0)")
        expect(opened.page.locator(f"#s-{0:016x}")).to_be_visible(timeout=PATIENCE_MS)


def test_rows_that_come_after_they_were_passed_are_not_put_into_the_page(
    browser: Browser, console: Console, session: str, long_trace: str
) -> None:
    held: list[Route] = []
    with window(browser, viewport={"width": 1360, "height": 800}) as opened:
        enter(opened, console, session)
        opened.page.route("**/rows?*", lambda route: held.append(route))  # noqa: PLW0108 (it marks what it is given)
        opened.page.goto(f"{console.url}/traces/{long_trace}")
        with opened.page.expect_request("**/rows?*"):
            opened.page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
        opened.page.evaluate("scrollTo(0, 0)")
        opened.page.evaluate(_TWO_FRAMES)
        passed = opened.page.locator(".wf-piece").last
        while held:
            with opened.page.expect_response("**/rows?*"):
                held.pop().continue_()
            opened.page.evaluate(_TWO_FRAMES)
        expect(passed.locator(".wf")).to_have_count(0)


@pytest.mark.req("R072", "R081")
def test_what_a_person_changed_stands_with_the_call_and_with_its_approval(
    console: Console, person: httpx2.Client
) -> None:
    now, asked, changed = system_clock(), {"invoice": "E-1", "cents": 900}, {"invoice": "E-1", "cents": 400}
    waits = held(now, asked, session="edit")
    waits = replace(waits, data={**waits.data, "editable": digest(asked)})
    console.send(waits)
    ident = waits.data["approval_id"]
    until(lambda: any(one["id"] == ident for one in console.client.get("/v1/approvals", list[Any])))
    form = {"decision": "edit", "digest": digest(asked), "shown": json.dumps(asked), "arguments": json.dumps(changed)}
    assert person.post(f"/approvals/{ident}", data={**form, "reason": "half will do"}).is_redirect
    record = {"approval": ident, "by": "person:operator@localhost", "arguments": asked}
    data = {"gen_ai.tool.call.arguments": changed, "tenure.approval.id": ident, "tenure.approval.edited": record}
    console.send(tool_call(now + timedelta(seconds=1), "payments/refund", session="edit", data=data))
    page = html.unescape(person.get(f"/traces/{session_trace('default', 'edit')[0]}").text)
    assert page.count("<del>900</del>") == page.count("<ins>400</ins>") == 2, "at the call, and at the approval"
    assert "arguments changed by operator@localhost" in page
    assert "approved as changed by operator@localhost" in page
    assert "“half will do”" in page
    assert f'href="/approvals/{ident}"' in page


def test_a_retry_and_the_words_of_a_model_stand_in_the_trace(console: Console, person: httpx2.Client) -> None:
    now = system_clock()
    said = [{"role": "assistant", "parts": [{"type": "text", "content": "I try a smaller file."}]}]
    model = {"gen_ai.output.messages": said, "tenure.cost_usd": "0.02"}
    tool = {"gen_ai.tool.call.arguments": {"path": "b.txt"}}
    console.send(
        refused(now, session="retry"),
        chat(now + timedelta(seconds=1), session="retry", data=model),
        tool_call(now + timedelta(seconds=2), "files/delete_file", session="retry", data=tool),
    )
    page = person.get(f"/traces/{session_trace('default', 'retry')[0]}").text
    assert "<del>a</del>.txt" in page
    assert "<ins>b</ins>.txt" in page
    assert ">I try a smaller file.</span>" in page
    assert "100 → 20 tokens, $0.02" in page


def test_the_shelf_forgets_the_oldest() -> None:
    shelf, trace = Shelf(), draw("t", [{"span_id": "a", "start": system_clock().isoformat(), "duration_us": 1}])
    assert isinstance(trace, Trace)
    for number in range(KEPT + 1):
        shelf.put(str(number), Drawn(trace, failed=False))
    assert [shelf.get(str(number)) is None for number in range(KEPT + 1)] == [True, *[False] * KEPT]


def test_what_was_said_is_searched_and_the_hit_leads_to_its_span(console: Console, person: httpx2.Client) -> None:
    said = [{"role": "assistant", "parts": [{"type": "text", "content": "The zebrafish <b>swam</b> away. " * 9}]}]
    sent = [
        chat(
            system_clock() - timedelta(minutes=number),
            session="search",
            span_id=f"{0xABC0 + number:016x}",
            data={"gen_ai.output.messages": said},
        )
        for number in range(60)
    ]
    console.send(*sent)
    assert "What are you looking for?" in person.get("/traces/search").text
    asked = {"q": '"zebrafish b swam"', "agent": "clerk", "days": "30"}
    page = person.get("/traces/search", params=asked).text
    assert "<mark>zebrafish &lt;b&gt;swam</mark>" in page
    assert 'value="&#34;zebrafish b swam&#34;"' in page
    assert "<option selected>clerk</option>" in page
    trace = session_trace("default", "search")[0]
    hits = re.findall(rf'href="/traces/{trace}\?span=(\w+)#s-\1"', page)
    assert len(hits) == 50
    assert f'id="s-{hits[0]}"' in person.get(f"/traces/{trace}", params={"span": hits[0]}).text
    older = re.search(r'href="([^"]*before=\d+)">Older', page)
    assert older
    rest = person.get(older[1].replace("&amp;", "&")).text
    assert set(hits) | set(re.findall(r"\?span=(\w+)#", rest)) == {event.span_id for event in sent}
    assert "Nothing with these words" in person.get("/traces/search", params={"q": "quagga"}).text
    assert "There is no word to look for" in person.get("/traces/search", params={"q": "--"}).text


def test_the_pages_of_the_record_lead_to_each_other_and_keep_their_filter(person: httpx2.Client) -> None:
    places = ["/traces", "/traces/search", "/sessions", "/paths", "/exports"]
    for place in places:
        page = person.get(place).text
        assert f'href="{place}" aria-current="page"' in page
        assert all(f'<a href="{other}"' in page for other in places)
    for place in [*places[:-1], "/live"]:
        page = person.get(place, params={"agent": "never-registered"}).text
        assert re.search(r"<option[^>]* selected[^>]*>never-registered</option>", page), place


@pytest.mark.req("R086")
def test_the_ways_that_runs_go_are_drawn_and_lead_to_the_runs(person: httpx2.Client) -> None:
    page = person.get("/paths", params={"agent": "clerk"})
    assert 'class="graph trail"' in page.text
    assert "traces are read at most" in text(page)
    edge = html.unescape(re.findall(r'href="(/paths\?[^"]*edge_from=[^"]*)"', page.text)[0])
    assert "agent=clerk" in edge, "what was filtered stays in the address"
    behind = person.get(edge)
    assert re.search(r"\d+ runs? behind", text(behind))
    assert re.search(r'href="/traces/[0-9a-f]{32}"', behind.text)
    way = html.unescape(re.findall(r'href="(/paths\?[^"]*way=[^"]*)"', page.text)[0])
    assert "behind this way" in text(person.get(way))
    assert "No run in that time." in text(person.get("/paths", params={"agent": "newcomer"}))


@pytest.mark.req("R084")
def test_a_run_is_played_again_from_its_page(person: httpx2.Client, console: Console) -> None:
    trace = console.client.get("/v1/traces", dict, agent="clerk")["traces"][0]["trace_id"]
    assert f'href="/traces/{trace}/fork"' in person.get(f"/traces/{trace}").text
    page = person.get(f"/traces/{trace}/fork")
    assert "Nobody has played it again." in page.text
    assert '<option value="1"' in page.text
    assert "<option>scripted-clerk</option>" in page.text
    rules = '@id("all") permit (principal, action, resource);'
    answer = person.post(f"/traces/{trace}/fork", data={"step": "1", "policy": rules})
    assert "It is being played again" in person.get(answer.headers["location"]).text
    until(lambda: "finished" in person.get(f"/traces/{trace}/fork", headers={"HX-Request": "true"}).text)
    [fork] = console.client.get("/v1/forks", list[dict[str, Any]], trace=trace)
    assert (fork["changed"], fork["turns"], fork["by"]) == (["policy"], 0, "person:operator@localhost")
    assert f'href="/traces/{trace}/against/{fork["trace_id"]}"' in person.get(f"/traces/{trace}/fork").text
    assert "Nobody has played it again" not in person.get(f"/traces/{fork['trace_id']}/fork").text
    lent = f'href="/traces/{trace}?span='
    address = person.get(f"/traces/{fork['trace_id']}/against").headers["location"]
    assert address == f"/traces/{trace}/against/{fork['trace_id']}", "from the fork it is one click"
    beside = person.get(address)
    assert "They are the same, step for step" in text(beside)
    assert beside.text.count(lent) == 2 * beside.text.count('class="pair"'), "steps of the record lead to the record"
    words = text(beside)
    assert "Played again, beside its record" in words
    assert (
        "played again from step 1 by operator@localhost, with another policy. It came to finished : Every call" in words
    )
    refused = person.post(f"/traces/{trace}/fork", data={"step": ""})
    assert refused.status_code == 422
    assert "From which step?" in refused.text
