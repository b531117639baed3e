"""One control plane for all pages, with a fleet in it; one Chromium for the tests that look."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Browser

from tenure.app.server import COOKIE
from tests.sim.browser import launched
from tests.sim.console import Console, running, story


def until(found: Callable[[], Any], seconds: float = 10.0) -> Any:
    """What ``found`` returns as soon as it is true."""
    end = time.monotonic() + seconds
    while not (result := found()):
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.05)
    return result


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """A control plane with an agent in staging, one that is asked for, and something that happened."""
    with running(tmp_path_factory.mktemp("console")) as running_console:
        running_console.register("clerk", "approved")
        running_console.register("newcomer")
        client = running_console.client
        until(lambda: client.get("/v1/agents/clerk", dict[str, Any])["state"] == "provisioned")
        client.post("/v1/agents/clerk/transitions", dict, {"to": "staging", "reason": "a test asks"})
        story(running_console)
        until(lambda: client.get("/v1/approvals", list[Any]))
        until(lambda: client.get("/v1/traces", dict[str, Any])["traces"])
        yield running_console


@pytest.fixture(scope="module")
def session(console: Console) -> str:
    """The operator's cookie."""
    return console.cookie()


@pytest.fixture
def person(console: Console, session: str) -> Iterator[httpx2.Client]:
    """A browser without scripts: the operator's cookie, and the headers that a browser sends."""
    headers = {"Cookie": f"{COOKIE}={session}", "Sec-Fetch-Site": "same-origin"}
    with httpx2.Client(base_url=console.url, headers=headers, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium."""
    with launched() as running_browser:
        yield running_browser
