"""The page of what is kept: periods, subjects, and erasing somebody for good."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tenure.app.server import COOKIE
from tenure.base.clock import system_clock
from tests.sim.console import Console, running
from tests.sim.telemetry import chat
from tests.ui.conftest import until
from tests.ui.test_pages import text


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    with running(tmp_path_factory.mktemp("retention") / Path()) as found:
        yield found


def test_somebody_is_found_and_erased_for_good(console: Console) -> None:
    headers, cookies = {"Sec-Fetch-Site": "same-origin"}, {COOKIE: console.cookie()}
    with httpx2.Client(
        base_url=console.url, headers=headers, cookies=cookies, trust_env=False, follow_redirects=True, timeout=60
    ) as person:
        page = text(person.get("/retention"))
        assert "90 days" in page
        assert "No content about anybody." in page
        assert "Nothing was erased." in page
        said = {"enduser.id": "ann@example.com", "gen_ai.input.messages": "what she asked"}
        console.send(chat(system_clock(), agent=None, data=said))
        until(lambda: "person:ann@example.com" in text(person.get("/retention?like=ann")), 60)
        assert "No content about anybody of that name." in text(person.get("/retention?like=nobody"))
        asked = text(person.get("/retention", params={"erase": "person:ann@example.com"}))
        assert "Nobody can read it again." in asked
        wanted = {"subject": "person:ann@example.com", "reason": "She asked to be forgotten"}
        assert "Asked for." in text(person.post("/retention/erase", data=wanted))
        until(lambda: "name forgotten" in text(person.get("/retention")), 60)
        page = text(person.get("/retention"))
        assert "ann@example.com" not in page
        assert "She asked to be forgotten" in page
