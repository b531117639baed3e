"""An agent that nobody registered, in a browser: seen with its evidence, blocked, opened again and asked for."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, expect

from tenure.app.server import COOKIE
from tests.sim.browser import window
from tests.sim.console import Console

_SEEN = {
    "channel": "source",
    "name": "moth-bot",
    "where": "desk-7:/srv/moth-bot",
    "what": "go.py:3 crewai Crew",
    "marks": ["name:moth-bot"],
    "signs": ["builds-agent", "provider-key"],
}
_MET = {
    "channel": "gateway",
    "where": "10.1.2.3",
    "what": "POST /v1/chat/completions",
    "signs": ["llm-sdk", "own-name"],
}


@pytest.mark.browser
@pytest.mark.req("R026", "R031")
def test_what_was_found_is_blocked_opened_again_and_asked_for(browser: Browser, console: Console, session: str) -> None:
    met = {**_SEEN, **_MET, "hints": {"client": "moth-bot"}}
    console.client.post("/v1/discovery/sightings", dict, {"sightings": [_SEEN, met]})
    with window(browser, viewport={"width": 1280, "height": 900}) as opened:
        page = opened.page
        opened.context.add_cookies([{"name": COOKIE, "value": session, "url": console.url}])
        page.goto(f"{console.url}/discovery")
        page.get_by_role("link", name="moth-bot").click()
        expect(page.get_by_text("desk-7:/srv/moth-bot", exact=True)).to_be_visible()
        expect(page.get_by_text("10.1.2.3", exact=True)).to_be_visible()
        page.get_by_label("Why it is blocked").fill("nobody vetted it")
        page.get_by_role("button", name="Block it").click()
        expect(page.get_by_text("The gateway refuses moth-bot, whatever credential it shows.")).to_be_visible()
        page.get_by_label("Why it is looked at again").fill("it was vetted")
        page.get_by_role("button", name="Block it no longer").click()
        page.get_by_role("link", name="moth-bot").click()
        page.get_by_label("Purpose").fill("Counts moths")
        page.get_by_role("button", name="Ask for it").click()
        expect(page.get_by_role("heading", name="moth-bot")).to_be_visible()
        agent = console.client.get("/v1/agents/moth-bot", dict)
        assert (agent["state"], agent["manifest"]["spec"]["purpose"]) == ("requested", "Counts moths")
        page.goto(f"{console.url}/discovery?state=registered")
        expect(page.get_by_text("asked for as moth-bot")).to_be_visible()
