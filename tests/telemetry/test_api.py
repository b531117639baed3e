"""The routes over real HTTP: who may send what, pages, and the live feed with its delay."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx2
import msgspec
import pytest
from typer.testing import CliRunner

from tenure.app.main import whole
from tenure.base.room import World
from tenure.client import Client
from tenure.kernel.errors import Refused
from tenure.kernel.values import Actor, Event, Role
from tenure.telemetry import service
from tests.sim.clock import FakeClock
from tests.sim.telemetry import GATEWAY, chat, many, opened, refused, served, tool_call


@pytest.fixture
def url(world: World, operator: Actor) -> Iterator[str]:
    people = {
        "gateway": GATEWAY,
        "operator": operator,
        "viewer": replace(operator, roles=frozenset({Role.VIEWER})),
        "agent": Actor("default", "agent:clerk"),
    }
    with opened(world), served(world, people.get) as address:
        yield address


def _send(url: str, events: list[Event], who: str = "gateway") -> httpx2.Response:
    headers = {"authorization": f"Bearer {who}"}
    return httpx2.post(f"{url}/internal/v1/events", content=msgspec.json.encode(events), headers=headers)


def test_who_may_send_and_who_may_read(url: str, clock: FakeClock) -> None:
    event = chat(clock.now)
    assert _send(url, [event]).json() == {"accepted": 1, "known": 0}
    assert _send(url, [event]).json() == {"accepted": 0, "known": 1}
    for token in ("operator", "agent"):
        assert _send(url, [event], token).status_code == 403
    imported = msgspec.to_builtins([replace(event, id="x", type="import.call")])
    for token, allowed in (("operator", True), ("viewer", False), ("gateway", False)):
        with Client(url, token) as client:
            if allowed:
                assert client.post("/v1/imports/events", dict[str, Any], imported)["accepted"] == 1
                with pytest.raises(Refused, match="may not be sent here"):
                    client.post("/v1/imports/events", dict[str, Any], msgspec.to_builtins([event]))
                continue
            with pytest.raises(Refused, match="takes the role"):
                client.post("/v1/imports/events", dict[str, Any], imported)
    for path in ("events", "traces", "sessions", "stats", "feed", "traces/x"):
        assert httpx2.get(f"{url}/v1/{path}", headers={"authorization": "Bearer agent"}).status_code == 403
        assert httpx2.get(f"{url}/v1/{path}").status_code == 401


def test_a_malformed_event_gets_its_index(url: str, clock: FakeClock) -> None:
    body = msgspec.json.encode(chat(clock.now)) + b"\n{}\n"
    answer = httpx2.post(f"{url}/internal/v1/events", content=body, headers={"authorization": "Bearer gateway"})
    assert answer.status_code == 422
    assert answer.json()["details"]["index"] == 1
    with Client(url, "viewer") as client:
        assert client.get("/v1/events", dict[str, Any])["events"] == []


def test_pages_and_filters(url: str, clock: FakeClock) -> None:
    _send(url, [*many(10, clock.now), refused(clock.now)])
    with Client(url, "viewer") as client:
        first = client.get("/v1/events", dict[str, Any], after=0, limit=4)
        second = client.get("/v1/events", dict[str, Any], after=first["next"], limit=100)
        assert [item["seq"] for item in first["events"] + second["events"]] == list(range(1, 12))
        found = client.get("/v1/events", dict[str, Any], status="violation")["events"]
        assert [item["event"]["type"] for item in found] == ["call.refused"]
        assert client.get("/v1/events", dict[str, Any], agent="a3", type="call.completed")["events"][0]["seq"] == 4
        page = client.get("/v1/traces", dict[str, Any], limit=1)
        rest = client.get("/v1/traces", dict[str, Any], limit=1, after=page["next"])
        assert page["traces"][0]["trace_id"] != rest["traces"][0]["trace_id"]
        with pytest.raises(Refused):
            client.get("/v1/events", dict[str, Any], limit=100_000)
        trace = client.get(f"/v1/traces/{page['traces'][0]['trace_id']}", dict[str, Any])
        assert [(span["type"], span["status"], span["status_code"]) for span in trace["spans"]] == [
            ("call.refused", "violation", "error"),
            ("decision", "violation", "error"),
        ]
        with pytest.raises(Refused, match="Nothing is known"):
            client.get("/v1/traces/none", dict[str, Any])
        assert client.get("/v1/sessions", dict[str, Any])["sessions"][0]["session"] == "s1"
        assert client.get("/v1/stats", dict[str, Any])["agents"][-1]["violation"] == 1


@contextmanager
def _listening(
    url: str, enough: Callable[[list[Any]], bool], headers: dict[str, str], query: str = ""
) -> Iterator[Any]:
    """Collects (arrival, id, item) of the feed in a thread until ``enough``."""
    got: list[Any] = []
    ready = threading.Event()

    def listen() -> None:
        ident, item = "", None
        with httpx2.stream("GET", f"{url}/v1/feed?{query}", headers=headers, timeout=20) as response:
            for line in response.iter_lines():
                ready.set()
                if line.startswith("id: "):
                    ident = line[4:]
                if line.startswith("data: "):
                    item = json.loads(line[6:])
                if not line and item is not None:
                    got.append((time.monotonic(), ident, item))
                    item = None
                    if enough(got):
                        return

    thread = threading.Thread(target=listen)
    thread.start()
    assert ready.wait(10)
    yield got
    thread.join(20)
    assert not thread.is_alive()


VIEWER = {"authorization": "Bearer viewer"}


@pytest.mark.req("R087", "R088")
def test_the_feed_shows_every_call_at_once(url: str, clock: FakeClock) -> None:
    sent: dict[str, float] = {}
    with (
        httpx2.Client(base_url=url, headers={"authorization": "Bearer gateway"}) as gateway,
        _listening(url, lambda got: len(got) == 100, VIEWER) as got,
    ):
        for _ in range(100):
            event = chat(clock.now)
            sent[event.id] = time.monotonic()
            gateway.post("/internal/v1/events", content=msgspec.json.encode([event])).raise_for_status()
            time.sleep(0.01)
    delays = sorted(arrival - sent[item["id"]] for arrival, _, item in got)
    print(f"feed delay: median {delays[50] * 1000:.1f} ms, p95 {delays[95] * 1000:.1f}, worst {delays[-1] * 1000:.1f}")
    assert delays[50] < 0.25
    assert delays[-1] < 3
    assert [int(ident) for _, ident, _ in got] == sorted(int(ident) for _, ident, _ in got)


@pytest.mark.req("R088")
def test_the_feed_has_statuses_filters_and_goes_on_where_it_ended(url: str, clock: FakeClock) -> None:
    _send(url, [chat(clock.now), refused(clock.now), tool_call(clock.now), refused(clock.now, agent="other")])
    resumed = {**VIEWER, "last-event-id": "1"}
    with _listening(url, lambda got: len(got) == 3, resumed) as got:
        pass
    assert [(item["seq"], item["status"], item["title"]) for _, _, item in got] == [
        (2, "violation", "refund denied: over the limit"),
        (3, "flagged", "first use of read"),
        (4, "violation", "refund denied: over the limit"),
    ]
    with _listening(url, lambda got: len(got) == 1, VIEWER, "after=0&status=violation&agent=other") as got:
        pass
    assert got[0][2]["seq"] == 4
    with _listening(url, lambda got: len(got) == 2, VIEWER, "last=2") as got:
        pass
    assert [item["seq"] for _, _, item in got] == [3, 4]


def test_the_commands_print_for_people_and_for_programs(
    url: str, clock: FakeClock, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENURE_URL", url)
    monkeypatch.setenv("TENURE_TOKEN", "viewer")
    run = CliRunner().invoke
    for words in (["traces", "list"], ["sessions"], ["stats"]):
        assert "tenure run" in " ".join(run(whole(), words).output.split()), "an empty state says what to do next"
    service.ingest(world, GATEWAY, [chat(clock.now), refused(clock.now + timedelta(seconds=2))])
    listed = json.loads(run(whole(), ["traces", "list", "--json"]).output)
    shown = run(whole(), ["traces", "show", listed["traces"][0]["trace_id"]]).output
    assert "├─ " not in shown.splitlines()[1]
    for text in ("chat gpt-4o", "decide allow", "execute_tool payments/refund", "over the limit", "└─ decide deny"):
        assert text in shown
    assert json.loads(run(whole(), ["sessions", "--json"]).output)["sessions"][0]["violations"] == 1
    assert "clerk" in run(whole(), ["stats", "--window", "7d"]).output
    assert run(whole(), ["stats", "--window", "soon"]).exit_code == 2
    assert run(whole(), ["traces", "show", "none"]).exit_code == 2
