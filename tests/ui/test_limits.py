"""The page of limits: what was used, what is leased, and what passes because nobody knows its price."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tenure.app.server import COOKIE
from tenure.base.clock import system_clock
from tenure.kernel.ids import new_id
from tenure.kernel.values import Event
from tenure.ui.oversight.limits import bar_of
from tests.sim.console import Console, running
from tests.ui.conftest import until
from tests.ui.test_pages import text


@pytest.fixture(scope="module")
def empty_console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    with running(tmp_path_factory.mktemp("limits") / Path()) as found:
        yield found


def _asked(console: Console, limit: str, used: int, want: int) -> None:
    """A gateway says what it used of an account, and how much more it wants."""
    facts = {"lease": "l1", "account": f"{limit}|", "limit": limit, "serial": 1, "ceiling": 0, "need": 1}
    data: dict[str, Any] = {**facts, "used": used, "want": want}
    console.send(Event(new_id(), "limits.asked", system_clock(), "default", "gateway:g1", data=data))


@pytest.mark.parametrize(
    ("spent", "held", "percent", "state"),
    [("0", "0", 0, "room"), ("79", "10", 79, "room"), ("80", "20", 80, "near"), ("100", "0", 100, "full")],
)
def test_a_bar_shows_what_was_used_and_what_is_leased(spent: str, held: str, percent: int, state: str) -> None:
    bar = bar_of("100", {"spent": spent, "held": held, "percent": percent})
    assert bar["state"] == state
    assert bar["spent"] == pytest.approx(float(spent) / 1.1, abs=0.01)
    assert bar["held"] == pytest.approx(float(held) / 1.1, abs=0.01)
    assert bar["marks"] == [pytest.approx(72.73), pytest.approx(90.91)]


@pytest.mark.parametrize("amount", ["0", "1"])
def test_a_bar_never_leaves_its_picture(amount: str) -> None:
    bar = bar_of(amount, {"spent": "900", "held": "900", "percent": 90_000})
    assert bar["spent"] + bar["held"] <= 100


def test_limits_are_set_seen_and_taken_back(empty_console: Console) -> None:
    console = empty_console
    headers, cookies = {"Sec-Fetch-Site": "same-origin"}, {COOKIE: console.cookie()}
    with httpx2.Client(
        base_url=console.url, headers=headers, cookies=cookies, trust_env=False, follow_redirects=True, timeout=60
    ) as person:
        assert "Nothing is limited." in text(person.get("/limits"))
        wanted = {"name": "calls-a-month", "amount": "100", "of": "calls", "per": "month", "each": "workspace"}
        page = text(person.post("/limits", data={**wanted, "reason": "A start"}))
        assert "Gateways hold it within a second" in page
        assert "Nothing was used in this window." in page
        wanted = {"name": "money", "amount": "5", "of": "usd", "per": "day", "each": "workspace"}
        person.post("/limits", data={**wanted, "reason": "No more"})
        console.register("clerk")  # whose model nobody has a price for
        limit = next(one for one in console.client.get("/v1/limits", list[dict[str, Any]]) if one["of"] == "calls")
        _asked(console, limit["id"], used=85, want=10)

        def used() -> bool:
            found = console.client.get("/v1/limits", list[dict[str, Any]])
            return any(account["percent"] == 85 for one in found for account in one["accounts"])

        until(used, 60)
        answer = person.get("/limits")
        page = text(answer)
        assert "85 %" in page
        assert "the whole workspace" in page
        assert 'class="meter-near"' in answer.text
        assert "Nobody knows the price of scripted-clerk." in page
        assert "Nothing is counted under it any more" in text(
            person.post("/limits/money/remove", data={"reason": "It was a try"})
        )
        assert "Nobody knows the price" not in text(person.get("/limits"))
