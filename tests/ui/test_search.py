"""What is looked for is found in the browser, and the address says what was asked."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, expect

from tenure.app.server import COOKIE
from tests.sim.browser import window
from tests.sim.console import Console


@pytest.mark.browser
@pytest.mark.req("R027")
def test_an_agent_is_found_by_what_it_is_for(browser: Browser, console: Console, session: str) -> None:
    with window(browser, viewport={"width": 1280, "height": 900}) as opened:
        page = opened.page
        opened.context.add_cookies([{"name": COOKIE, "value": session, "url": console.url}])
        page.goto(f"{console.url}/search")
        expect(page.get_by_text("Ask for what you need.")).to_be_visible()
        agent = console.client.get("/v1/agents", list)[0]
        page.get_by_role("searchbox").fill(agent["manifest"]["spec"]["purpose"])
        page.get_by_role("button", name="Search").click()
        expect(page.get_by_role("table").get_by_role("link", name=agent["name"]).first).to_be_visible()
        page.get_by_role("link", name="Tools", exact=True).last.click()
        assert "kind=tool" in page.url
        assert "q=" in page.url
        page.goto(f"{console.url}/search?q=zeppelin")
        expect(page.get_by_text("Nothing is about that.")).to_be_visible()
