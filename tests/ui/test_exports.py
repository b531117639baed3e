"""The page of exports: a place is added, seen, and removed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tenure.app.server import COOKIE
from tests.sim.console import Console, running
from tests.ui.test_pages import text


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    with running(tmp_path_factory.mktemp("exports") / Path()) as found:
        yield found


def test_a_place_is_added_seen_and_removed(console: Console) -> None:
    headers, cookies = {"Sec-Fetch-Site": "same-origin"}, {COOKIE: console.cookie()}
    with httpx2.Client(
        base_url=console.url, headers=headers, cookies=cookies, trust_env=False, follow_redirects=True, timeout=60
    ) as person:
        assert "Traces are sent nowhere." in text(person.get("/exports"))
        wanted = {"name": "team", "kind": "phoenix", "url": "https://phoenix.example.com", "project": "agents"}
        page = text(person.post("/exports", data=wanted))
        assert "Traces are sent there from now on." in page
        assert "https://phoenix.example.com/v1/traces" in page
        assert "with content" not in page
        refused = person.post("/exports", data={"name": "weave", "kind": "weave", "project": "nothing"})
        assert refused.status_code == 422
        assert "Weave wants entity/project." in refused.text
        page = text(person.post("/exports/team/remove"))
        assert "What is there stays there." in page
        assert "Traces are sent nowhere." in page
