"""Alerts in a browser: a rule is tried and set, an alert is read and looked after, and a period is read on one page."""

from __future__ import annotations

from datetime import timedelta

import pytest
from playwright.sync_api import Browser, expect

from tenure.alerts import service
from tenure.app.server import COOKIE
from tenure.base.clock import system_clock
from tenure.telemetry import service as telemetry
from tests.sim.browser import window
from tests.sim.console import Console
from tests.sim.telemetry import GATEWAY, tool_call


@pytest.mark.browser
@pytest.mark.req("R096", "R099")
def test_a_rule_is_set_and_what_it_finds_is_looked_after(browser: Browser, console: Console, session: str) -> None:
    now = system_clock()
    failing = {"error.type": "timeout"}
    told = [
        tool_call(now - timedelta(minutes=5, seconds=n), "crm/find", agent="puffin", session="s9", data=failing)
        for n in range(30)
    ]
    world = console.app.state.world
    telemetry.ingest(world, GATEWAY, told)
    with window(browser, viewport={"width": 1280, "height": 900}) as opened:
        page = opened.page
        opened.context.add_cookies([{"name": COOKIE, "value": session, "url": console.url}])
        page.goto(f"{console.url}/alerts/rules")
        page.get_by_label("Name").fill("puffin-fails")
        page.get_by_label("The bound").fill("0.5")
        page.get_by_label("Agents").fill("puffin")
        page.get_by_role("button", name="Try it").click()
        expect(page.get_by_text("100% of the calls of puffin failed").first).to_be_visible()
        expect(page.get_by_label("Name")).to_have_value("puffin-fails")
        page.get_by_role("button", name="Set it").click()
        expect(page.get_by_text("puffin-fails")).to_be_visible()
        while telemetry.pump(world):
            pass
        service.look_at(world, "default")
        page.goto(f"{console.url}/alerts?agent=puffin&state=open")
        expect(page.get_by_role("table").get_by_text("puffin-fails")).to_be_visible()
        page.get_by_role("row").filter(has_text="puffin-fails").get_by_role("link").click()
        expect(page.get_by_text("crm/find")).to_be_visible()
        expect(page.get_by_role("link", name="its trace", exact=True)).to_be_visible()
        page.get_by_label("What you do about it").fill("the CRM is down")
        page.get_by_role("button", name="I look after it").click()
        expect(page.get_by_text("the CRM is down").first).to_be_visible()
        page.goto(f"{console.url}/report?days=1")
        expect(page.get_by_role("heading", name="Report")).to_be_visible()
        expect(page.get_by_text("100% of the calls of puffin failed").first).to_be_visible()
        page.goto(f"{console.url}/alerts/rules")
        page.get_by_role("row").filter(has_text="puffin-fails").get_by_role("button", name="Remove").click()
        expect(page.get_by_text("The rule is gone.")).to_be_visible()
