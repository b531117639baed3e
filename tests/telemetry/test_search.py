"""Text is found in content that lies under keys, by whoever may read it, until it is let go."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import duckdb
import pytest
from typer.testing import CliRunner

from tenure.app.main import whole
from tenure.base import subjects
from tenure.base.room import World
from tenure.kernel.errors import Refused
from tenure.kernel.values import Actor, Event
from tenure.telemetry import service
from tenure.telemetry.traces import finding
from tenure.telemetry.traces.shelf import store_of
from tests.sim.clock import FakeClock
from tests.sim.telemetry import GATEWAY, chat, opened, served, tool_call

WEEK = timedelta(days=7)


@pytest.fixture
def stored(world: World) -> Iterator[World]:
    with opened(world):
        yield world


def _said(clock: FakeClock, text: str, **more: Any) -> Event:
    data = {"gen_ai.output.messages": [{"role": "assistant", "parts": [{"type": "text", "content": text}]}]}
    person = {"enduser.id": more.pop("person")} if "person" in more else {}
    return chat(clock.now, data=data | person, **more)


def _keep(world: World, *events: Event) -> None:
    service.ingest(world, GATEWAY, events)


def _found(world: World, actor: Actor, text: str, **more: Any) -> list[str]:
    return [hit.event for hit in service.search(world, actor, text, WEEK, **more).hits]


def test_what_was_said_is_found_by_its_words(stored: World, clock: FakeClock, operator: Actor) -> None:
    first = _said(clock, "Your refund for order A-4711 is on its way.")
    second = _said(clock, "No refund without an order number.", agent="other", session="s2", person="ann@example.com")
    tool = tool_call(clock.now, "files/read", data={"gen_ai.tool.call.arguments": {"path": "/srv/orders/a4711.txt"}})
    _keep(stored, first, second, tool)
    assert _found(stored, operator, "refund") == [second.id, first.id]  # the newest first
    assert _found(stored, operator, "ORDER refund") == [second.id, first.id]
    assert _found(stored, operator, '"refund for order"') == [first.id]
    assert _found(stored, operator, "A-4711") == [first.id]
    assert _found(stored, operator, "orders/a4711.txt") == [tool.id]
    assert _found(stored, operator, "refund", agent="other") == [second.id]
    assert _found(stored, operator, "refund", session="s1") == [first.id]
    assert _found(stored, operator, "refunds") == []
    assert _found(stored, operator, "execute_tool") == []  # a fact, not content
    hit = service.search(stored, operator, "4711", WEEK).hits[0]
    assert (hit.snippet.before, hit.snippet.found) == ("Your refund for order A-", "4711")
    spans = service.spans_of_trace(stored, operator, hit.trace_id or "")
    assert hit.span_id in {span.span_id for span in spans}


def test_only_the_window_and_the_workspace_of_who_asks(stored: World, clock: FakeClock, operator: Actor) -> None:
    old = _said(clock, "needle", session="old")
    clock.advance(8 * 86400)
    new, elsewhere = _said(clock, "needle"), replace(_said(clock, "needle"), workspace="theirs")
    _keep(stored, old, new, elsewhere)
    assert _found(stored, operator, "needle") == [new.id]
    assert [hit.event for hit in service.search(stored, operator, "needle", timedelta(days=9)).hits] == [new.id, old.id]
    assert _found(stored, replace(operator, workspace="theirs"), "needle") == [elsewhere.id]
    assert _found(stored, replace(operator, workspace="nobody's"), "needle") == []


def test_pages_follow_each_other_and_leave_nothing_out(
    stored: World, clock: FakeClock, operator: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finding, "FIRST", 7)  # several pieces
    monkeypatch.setattr(finding, "OPENED_AT_ONCE", 5)
    every = [_said(clock, f"needle {'hay' if n % 3 else 'stack'}", session=f"s{n % 9}") for n in range(60)]
    _keep(stored, *every)
    right = [event.id for n, event in enumerate(every) if n % 3 == 0][::-1]
    for opened_at_most in (1000, 4):  # also where a search ends early because it looked at so much
        monkeypatch.setattr(finding, "OPENED", opened_at_most)
        found, before = list[str](), None
        while True:
            page = service.search(stored, operator, '"needle stack"', WEEK, before=before, limit=6)
            assert len(page.hits) <= 6
            found += [hit.event for hit in page.hits]
            if page.next is None:
                break
            before = page.next
        assert found == right


@pytest.mark.req("R113")
def test_what_was_erased_or_expired_is_not_found(stored: World, clock: FakeClock, operator: Actor) -> None:
    hers, his = _said(clock, "needle", person="ann@example.com"), _said(clock, "needle", session="s2")
    _keep(stored, hers, his)
    assert _found(stored, operator, "needle") == [his.id, hers.id]
    with stored.begin() as tx:
        subjects.destroy(tx, "default", "person:ann@example.com", clock.now)
    assert _found(stored, operator, "needle") == [his.id]
    late = replace(_said(clock, "needle", person="ann@example.com"), time=clock.now - timedelta(minutes=1))
    _keep(stored, late)
    assert _found(stored, operator, "needle") == [his.id]
    clock.advance(86400)
    assert store_of(stored).expire_others(clock.now, []) > 0
    assert _found(stored, operator, "needle") == []


def test_marks_go_with_the_content_and_no_word_lies_open(stored: World, clock: FakeClock, operator: Actor) -> None:
    _keep(stored, _said(clock, "zebrafish", agent="one"), _said(clock, "zebrafish", agent="two", session="s2"))
    assert len(_found(stored, operator, "zebrafish")) == 2
    store = store_of(stored)
    store.expire(clock.now + timedelta(days=1), ["default/two"])
    place = store.place
    service.close_store(stored)
    with duckdb.connect(place, read_only=True) as file:
        kept = file.execute("SELECT agent, words, content IS NULL FROM event ORDER BY agent").fetchall()
        everything = str(file.execute("SELECT * FROM event").fetchall())
    (_, mark, _), (_, gone, empty) = kept
    assert mark
    assert (gone, empty) == (None, True)
    assert "zebrafish" not in everything
    service.open_store(stored)


def test_the_same_word_has_another_mark_for_somebody_else(stored: World, clock: FakeClock, operator: Actor) -> None:
    for number in range(5):
        _keep(stored, _said(clock, "zebrafish", agent=f"agent{number}", session=f"s{number}"))
    assert len(_found(stored, operator, "zebrafish")) == 5
    place = store_of(stored).place
    service.close_store(stored)
    with duckdb.connect(place, read_only=True) as file:
        marks = [row[0] for row in file.execute("SELECT words FROM event").fetchall()]
    assert len(set(marks)) == 5
    service.open_store(stored)


def test_a_search_without_a_word_is_refused(stored: World, operator: Actor) -> None:
    with pytest.raises(Refused, match="no word"):
        service.search(stored, operator, " - ", WEEK)


def test_a_person_searches_by_command(
    stored: World, clock: FakeClock, operator: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    _keep(stored, *[_said(clock, f"needle number {n}\nin the hay", session=f"s{n}") for n in range(3)])
    with served(stored, {"operator": operator, "agent": Actor("default", "agent:clerk")}.get) as url:
        monkeypatch.setenv("TENURE_URL", url)
        monkeypatch.setenv("TENURE_TOKEN", "operator")
        first = CliRunner().invoke(whole(), ["traces", "search", "NEEDLE hay", "--limit", "2"])
        assert "needle number 2 in the hay" in " ".join(first.output.split())
        before = first.output.rsplit("--before ", 1)[1].strip()
        rest = CliRunner().invoke(whole(), ["traces", "search", "needle", "--before", before, "--window", "1h"])
        assert ("number 0" in rest.output, "number 2" in rest.output) == (True, False)
        assert "Nothing with these words" in CliRunner().invoke(whole(), ["traces", "search", "straw"]).output
        assert CliRunner().invoke(whole(), ["traces", "search", "-"]).exit_code == 2
        monkeypatch.setenv("TENURE_TOKEN", "agent")
        turned_away = CliRunner().invoke(whole(), ["traces", "search", "needle"])
        assert (turned_away.exit_code, "number" in turned_away.output) == (2, False)
