"""A recorder that is dead, hangs, is slow or has no room: no call fails, and what could not be kept is counted."""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sim.disks import SickDisk, SmallDisk, small_disk

LETTER = "x" * 20_000
LIMIT = 2 << 20


class Agent:
    """Calls a model, numbering its calls by their session."""

    def __init__(self, house: Any) -> None:
        self._house = house
        self._token = house.control.token("clerk")
        self.made = 0

    def call(self, count: int, text: str = "hi") -> None:
        """So many calls, of which every one must succeed."""
        host = self._house.gateway.url.removeprefix("http://")
        body = json.dumps({"model": "echo", "messages": [{"role": "user", "content": text}]})
        with contextlib.closing(http.client.HTTPConnection(host, timeout=60)) as connection:
            for _ in range(count):
                headers = {"authorization": f"Bearer {self._token}", "x-tenure-session": f"s{self.made}"}
                connection.request("POST", "/v1/chat/completions", body, headers)
                answer = connection.getresponse()
                said = answer.read()
                assert (answer.status, b"You said" in said) == (200, True), said[:300]
                self.made += 1

    def account(self) -> tuple[list[int], int]:
        """(the calls that were kept, in the order they came; how many losses were told), when together they are all."""
        house = self._house

        def found(events: list[dict[str, Any]]) -> tuple[list[int], int] | None:
            kept = [int(event["session"][1:]) for event in events if event["type"] == "call.completed"]
            told = sum(event["data"]["count"] for event in events if event["type"] == "gateway.dropped")
            return (kept, told) if len(kept) + told >= self.made else None

        kept, told = house.control.wait(found, 30)
        assert len(kept) + told == self.made
        assert kept == sorted(set(kept)), "doubled, or out of order"
        counts = self.until(lambda health: health["backlog_bytes"] == 0)["events"]
        assert counts["dropped"] == told
        assert counts["shipped"] == counts["durable"] + counts["recovered"]
        return kept, told

    def until(self, found: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """What ``/healthz`` says, as soon as it is so."""
        end = time.monotonic() + 60
        while True:
            status, health = self._house.gateway.health()
            assert status == 200
            if found(health):
                return dict(health)
            assert time.monotonic() < end, health
            time.sleep(0.02)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[SmallDisk]:
    """The whole data folder of a gateway, its log with it, on a disk of 8 MB."""
    with small_disk(tmp_path, "8m") as disk:
        yield disk


@pytest.fixture
def sick(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> SickDisk:
    """The disk of a gateway's data folder."""
    return SickDisk(tmp_path / "spool", tmp_path_factory.mktemp("sick"))


def _ill(control: Any, how: str) -> None:
    control.hanging = how == "hangs"
    control.intake_status = 507 if how == "full" else 200
    control.intake_s = 1.0 if how == "slow" else 0.0


@pytest.mark.req("R079", "R090")
@pytest.mark.parametrize("how", ["hangs", "full", "slow"])
def test_a_control_plane_that_takes_no_events_costs_no_call_and_no_event(build: Callable[..., Any], how: str) -> None:
    house = build()
    agent = Agent(house)
    agent.call(5)
    _ill(house.control, how)
    agent.call(100)
    agent.until(lambda health: health["events"]["durable"] == agent.made)
    assert house.gateway.health()[1]["recorder"] == "ok"  # it waits on disk, and nothing is lost
    _ill(house.control, "well")
    assert agent.account() == (list(range(105)), 0)


@pytest.mark.req("R079", "R090")
@pytest.mark.parametrize("how", ["hangs", "full"])
def test_what_does_not_fit_while_the_control_plane_takes_nothing_is_told(build: Callable[..., Any], how: str) -> None:
    house = build(spool_max_bytes=LIMIT)
    agent = Agent(house)
    _ill(house.control, how)
    agent.call(100, LETTER)
    health = house.gateway.health()[1]
    assert (health["recorder"], health["events"]["dropped"] > 0) == ("The spool has as much as it may hold.", True)
    assert health["backlog_bytes"] <= LIMIT
    _ill(house.control, "well")
    kept, told = agent.account()
    assert kept == list(range(len(kept))), "the newest are what is dropped"
    assert told > 0
    (event,) = house.control.of_type("gateway.dropped")
    assert event["data"]["reasons"] == {"spool_full": told}
    agent.call(5)
    assert agent.account()[0][-5:] == list(range(100, 105))
    assert house.gateway.health()[1]["recorder"] == "ok"


@pytest.mark.req("R079", "R090")
def test_a_full_disk_costs_no_call_and_every_loss_is_told(small: SmallDisk, build: Callable[..., Any]) -> None:
    house = build(spool_max_bytes=LIMIT, log_level="info")  # its log lies on the same disk
    agent = Agent(house)
    agent.call(5)
    agent.until(lambda health: health["backlog_bytes"] == 0)
    small.fill()
    agent.call(100, LETTER)
    assert house.gateway.health()[1]["recorder"].startswith("The spool's disk takes nothing: [Errno 28]")
    small.clear()
    kept, told = agent.account()
    assert kept[:5] == list(range(5))
    assert 0 < told < 100
    assert {event["data"]["reasons"].get("disk") for event in house.control.of_type("gateway.dropped")} == {told}
    agent.call(5)
    assert agent.account()[0][-5:] == list(range(105, 110))


@pytest.mark.req("R079")
def test_a_disk_with_room_for_less_than_waits_takes_what_it_can(small: SmallDisk, build: Callable[..., Any]) -> None:
    """The spool itself fills it: nothing but what was delivered makes room, and it must suffice."""
    house = build()
    agent = Agent(house)
    house.control.intake_status = 503
    agent.call(300, LETTER * 2)  # 12 MB and more on a disk of 8
    agent.until(lambda health: health["recorder"] != "ok")
    house.control.intake_status = 200
    assert agent.account() == (list(range(300)), 0)
    assert len(list(small.folder.glob("spool/local/*.seg"))) <= 1


@pytest.mark.req("R090")
def test_a_gateway_starts_on_a_full_disk(small: SmallDisk, build: Callable[..., Any]) -> None:
    house = build()
    agent = Agent(house)
    agent.call(1)
    agent.until(lambda health: health["events"]["durable"] == 1)
    small.fill()
    house.restart()
    house.settle()
    agent.call(10)
    small.clear()
    assert agent.account() == (list(range(11)), 0)


@pytest.mark.req("R079", "R090")
def test_a_disk_that_hangs_holds_up_no_call(sick: SickDisk, build: Callable[..., Any]) -> None:
    house = build(env=sick.env, spool_max_bytes=LIMIT)
    agent = Agent(house)
    agent.call(5)
    agent.until(lambda health: health["backlog_bytes"] == 0)
    sick.be("hang")
    agent.call(100, LETTER)  # while whoever wrote the first of them has not come back
    health = house.gateway.health()[1]
    assert health["events"]["durable"] == 5
    assert health["events"]["dropped"] > 0
    sick.be("well")
    kept, told = agent.account()
    assert 0 < told < 100
    assert kept == list(range(105 - told))


@pytest.mark.req("R090")
def test_a_slow_disk_and_one_that_refuses_cost_no_call_and_no_event(sick: SickDisk, build: Callable[..., Any]) -> None:
    house = build(env=sick.env)
    agent = Agent(house)
    for state in ("slow 1000", "full"):
        sick.be(state)
        agent.call(50)
    agent.until(lambda health: "Errno 28" in health["recorder"])
    sick.be("well")
    assert agent.account() == (list(range(100)), 0)


@pytest.mark.req("R090")
def test_a_gateway_ends_on_a_disk_that_hangs(sick: SickDisk, build: Callable[..., Any]) -> None:
    house = build(env=sick.env)
    agent = Agent(house)
    sick.be("hang")
    agent.call(5)
    assert house.gateway.stop() == 0
