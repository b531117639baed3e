"""The live feed: in order and whole whatever breaks, and without waiting for the trace store."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx2
import msgspec
import pytest

from tenure.base import events as log
from tenure.base.room import World
from tenure.client import Client
from tenure.kernel.ids import new_id
from tenure.kernel.values import Actor, Event, Role
from tenure.telemetry import service
from tenure.telemetry.feed import tail
from tenure.telemetry.traces.shelf import store_of
from tests.sim.clock import FakeClock
from tests.sim.ports import free_port
from tests.sim.telemetry import GATEWAY, chat, opened, refused, served

AGENTS = 3
EACH = 60
ONCE = 5  # Events of an agent that its gateway sends together


def people(operator: Actor) -> dict[str, Actor]:
    return {"gateway": GATEWAY, "viewer": replace(operator, roles=frozenset({Role.VIEWER}))}


def test_no_event_is_lost_or_out_of_order_over_lost_connections_and_a_restart(
    world: World, operator: Actor, clock: FakeClock
) -> None:
    """Three gateways send without a pause, whoever listens is cut off after every few items, and in the middle of it
    the control plane ends and another one begins."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    stages = threading.Barrier(2)
    got: list[tuple[int, str, str]] = []

    def send(agent: str) -> None:
        for start in range(0, EACH, ONCE):
            batch = [chat(clock.now, agent=agent, session=str(start + n)) for n in range(ONCE)]
            _until_taken(url, batch)

    def follow() -> None:
        after = 0
        while len(got) < AGENTS * EACH:
            before = len(got)
            try:
                for item in _items(url, after, min(1 + len(got) % 40, AGENTS * EACH - len(got))):
                    after = item["seq"]
                    got.append((item["seq"], item["agent"], item["session"]))
            except httpx2.TransportError:
                continue
            if before < AGENTS * EACH // 2 <= len(got):
                stages.wait(60)

    senders = [threading.Thread(target=send, args=(f"a{n}",)) for n in range(AGENTS)]
    follower = threading.Thread(target=follow)
    with opened(world):
        with served(world, people(operator).get, port):
            for thread in (*senders, follower):
                thread.start()
            stages.wait(60)
        with served(world, people(operator).get, port):
            for thread in (*senders, follower):
                thread.join(60)
    assert [seq for seq, _, _ in got] == list(range(1, AGENTS * EACH + 1))
    for number in range(AGENTS):
        mine = [int(session) for _, agent, session in got if agent == f"a{number}"]
        assert mine == list(range(EACH))


def _until_taken(url: str, batch: list[Event]) -> None:
    """As a spool does: again and again until it is acknowledged."""
    while True:
        try:
            body = msgspec.json.encode(batch)
            answer = httpx2.post(
                f"{url}/internal/v1/events", content=body, headers={"authorization": "Bearer gateway"}, trust_env=False
            )
            answer.raise_for_status()
        except httpx2.TransportError:
            threading.Event().wait(0.02)
            continue
        return


def _items(url: str, after: int, most: int) -> Iterator[dict[str, Any]]:
    """So many items after a number, and then the connection is cut."""
    headers = {"authorization": "Bearer viewer", "last-event-id": str(after)}
    with httpx2.stream("GET", f"{url}/v1/feed", headers=headers, timeout=20, trust_env=False) as answer:
        for line in answer.iter_lines():
            if line.startswith("data: {"):
                yield json.loads(line[6:])
                most -= 1
                if not most:
                    return


@pytest.fixture
def url(world: World, operator: Actor) -> Iterator[str]:
    with opened(world), served(world, people(operator).get) as address:
        yield address


def _keep(world: World, *events: Event) -> None:
    service.ingest(world, GATEWAY, list(events))


def test_the_feed_and_its_newest_lines_ask_no_trace_store(url: str, world: World, clock: FakeClock) -> None:
    _keep(world, *(chat(clock.now, agent=f"a{n % 2}") for n in range(20)), refused(clock.now, agent="a1"))
    assert [item["seq"] for item in _items(url, 0, 21)] == list(range(1, 22))
    with Client(url, "viewer") as client:
        found = client.get("/v1/feed/recent", dict[str, Any], limit=3)["items"]
        assert [item["seq"] for item in found] == [19, 20, 21]
        found = client.get("/v1/feed/recent", dict[str, Any], agent="a1", status="violation")["items"]
        assert [item["title"] for item in found] == ["refund denied: over the limit"]
        assert client.get("/v1/feed/recent", dict[str, Any], agent="nobody")["items"] == []
    assert store_of(world).cursor == 0, "the trace store was asked"


def test_what_the_log_no_longer_has_comes_from_the_trace_store(url: str, world: World, clock: FakeClock) -> None:
    _keep(world, *(chat(clock.now, agent="old") for _ in range(10)))
    while service.pump(world):
        pass
    clock.advance((service.KEEP + timedelta(hours=1)).total_seconds())
    _keep(world, *(chat(clock.now, agent="new") for _ in range(5)))
    with world.db.begin() as connection:
        log.prune(connection, (), 10, clock.now - service.KEEP)
    with Client(url, "viewer") as client:
        found = client.get("/v1/feed/recent", dict[str, Any], limit=8)["items"]
        assert [item["seq"] for item in found] == [8, 9, 10, 11, 12, 13, 14, 15]
    assert [item["seq"] for item in _items(url, 3, 12)] == list(range(4, 16))


def test_who_was_away_for_long_is_read_to_from_the_log(
    url: str, world: World, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "KEPT", 4)
    listening = httpx2.stream("GET", f"{url}/v1/feed", headers={"authorization": "Bearer viewer"}, timeout=20)
    with listening as answer:
        lines = answer.iter_lines()
        assert next(line for line in lines if line == ": listening")
        for _ in range(10):
            _keep(world, *(chat(clock.now) for _ in range(3)))
        for _ in range(30):
            assert next(line for line in lines if line.startswith("data: {"))
        assert [item["seq"] for item in _items(url, 2, 28)] == list(range(3, 31))


def test_lines_about_somebody_are_forgotten_when_they_are_erased(url: str, world: World, clock: FakeClock) -> None:
    gone = Event(
        id=new_id(), type="content.erased", time=clock.now, workspace="default", actor="person:dana@example.com"
    )
    with httpx2.stream("GET", f"{url}/v1/feed", headers={"authorization": "Bearer viewer"}, timeout=20) as answer:
        lines = answer.iter_lines()
        assert next(line for line in lines if line == ": listening")
        _keep(world, refused(clock.now, reason="dana is in debt"))
        assert "dana is in debt" in next(line for line in lines if line.startswith("data: {"))
        with world.begin() as connection:
            log.append(connection, [gone])
            log.rewrite(connection, 1, refused(clock.now, reason="gone"))
        assert next(line for line in lines if "content.erased" in line)
        assert [item["title"] for item in _items(url, 0, 1)] == ["refund denied: gone"]


def test_items_that_come_at_once_go_together_for_who_asks_and_go_on_after_the_last_of_them(
    url: str, world: World, clock: FakeClock
) -> None:
    _keep(world, *(chat(clock.now, agent=f"a{n % 2}") for n in range(6)))
    headers = {"authorization": "Bearer viewer"}

    def messages(asked: str, more: dict[str, str]) -> Iterator[tuple[str, list[int]]]:
        with httpx2.stream("GET", f"{url}/v1/feed?{asked}", headers=headers | more, timeout=20) as answer:
            lines = (line for line in answer.iter_lines() if line.startswith(("id:", "data:")))
            for number, data in zip(lines, lines, strict=False):
                yield number, [item["seq"] for item in json.loads(data.removeprefix("data: "))]

    assert next(messages("together=true&after=0", {})) == ("id: 6", [1, 2, 3, 4, 5, 6])
    assert next(messages("together=true&last=2", {})) == ("id: 6", [5, 6])
    listening = messages("together=true&agent=a0", {"last-event-id": "3"})
    assert next(listening) == ("id: 5", [5])
    _keep(world, *(chat(clock.now, agent=f"a{n % 2}") for n in range(4)))
    assert next(listening) == ("id: 9", [7, 9])


def test_a_page_that_only_wants_news_is_told_of_its_own_workspace(url: str, world: World, clock: FakeClock) -> None:
    headers = {"authorization": "Bearer viewer"}
    with httpx2.stream("GET", f"{url}/v1/feed?news=true", headers=headers, timeout=20) as answer:
        lines = answer.iter_lines()
        assert next(line for line in lines if line == ": listening")
        _keep(world, replace(chat(clock.now), workspace="other"), chat(clock.now))
        said = [next(line for line in lines if line.startswith(("event:", "data:"))) for _ in range(2)]
    assert said == ["event: at", "data: 2"]
