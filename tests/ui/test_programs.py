"""The pages of service accounts, of agents elsewhere, and what in the navigation says that tools wait."""

from __future__ import annotations

import re
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Browser, expect

from tenure.app.server import COOKIE
from tests.sim.browser import window
from tests.sim.console import Console
from tests.sim.tool_server import tool
from tests.ui.conftest import until
from tests.ui.test_pages import text
from tests.ui.test_tools import saw

CARD = {
    "name": "Elsewhere",
    "description": "Books rooms",
    "url": "http://rooms.example/a2a",
    "protocolVersion": "0.3.0",
}


def test_a_key_is_made_shown_once_used_and_revoked(console: Console, person: httpx2.Client) -> None:
    assert "make it below" in text(person.get("/people"))
    made = person.post("/services", data={"name": "ci", "role-viewer": "yes", "role-auditor": "yes"})
    assert made.headers["location"] == "/services/ci?done=made"
    page = text(person.get("/services/ci"))
    assert "No key yet." in page
    assert "auditor viewer" in page
    answer = person.post("/services/ci/keys", data={"name": "build", "scopes": "agents:read, *:read", "days": "30"})
    assert answer.headers["cache-control"] == "no-store"
    secret = re.findall(r"tns_[\w-]{43}", answer.text)
    assert len(secret) == 1
    again = person.get("/services/ci")
    assert secret[0] not in again.text
    assert secret[0][:10] in again.text
    with httpx2.Client(base_url=console.url, trust_env=False) as program:
        program.headers["authorization"] = f"Bearer {secret[0]}"
        assert program.get("/v1/agents").status_code == 200
        revoke = re.search(r'action="(/services/ci/keys/\w+/revoke)"', again.text)
        assert revoke
        assert person.post(revoke[1]).headers["location"] == "/services/ci?done=revoked"
        assert program.get("/v1/agents").status_code == 401
    assert "ci" in text(person.get("/people"))
    person.post("/services/ci/remove")
    assert "every key of it is dead" in text(person.get("/people?done=service-removed"))
    assert person.get("/services/ci").status_code == 404


@pytest.mark.parametrize(
    "form",
    [{"name": "x", "scopes": "", "days": "30"}, {"name": "x", "scopes": "god:mode", "days": "30"}, {"days": "9"}],
)
def test_a_key_that_will_not_do_is_told_in_words(console: Console, person: httpx2.Client, form: dict[str, str]) -> None:
    person.post("/services", data={"name": "odd", "role-viewer": "yes"})
    answer = person.post("/services/odd/keys", data=form)
    assert answer.status_code == 422
    assert "tns_" not in answer.text
    assert console.client.get("/v1/services/odd/keys", dict[str, Any])["tokens"] == []


def test_who_may_not_make_keys_is_not_offered_any_and_cannot(console: Console) -> None:
    console.client.post("/v1/services", dict, {"name": "theirs", "roles": ["viewer"]})
    console.client.post("/v1/people", dict, {"email": "vic@example.com", "roles": ["viewer"]})
    code = console.client.post("/v1/people/vic@example.com/login-link", dict[str, Any])["code"]
    cookie = httpx2.post(f"{console.url}/v1/login", json={"code": code}, trust_env=False).cookies[COOKIE]
    headers = {"Cookie": f"{COOKIE}={cookie}", "Sec-Fetch-Site": "same-origin"}
    with httpx2.Client(base_url=console.url, headers=headers, trust_env=False) as vic:
        assert "Make a key" not in vic.get("/services/theirs").text
        assert "Make a service account" not in vic.get("/people").text
        assert vic.post("/services/theirs/keys", data={"name": "x", "scopes": "*:read", "days": "7"}).status_code == 403
        assert vic.post("/external-agents", data={"url": "http://127.0.0.1:9"}).status_code == 403


def test_agents_elsewhere_are_listed_with_who_calls_them(console: Console, person: httpx2.Client) -> None:
    assert "No agent elsewhere is known." in text(person.get("/external-agents"))
    assert "/external-agents" in person.get("/").text
    console.client.post("/v1/external-agents", dict, {"card": CARD, "name": "rooms"})
    page = text(person.get("/external-agents"))
    assert "rooms Books rooms Unsigned http://rooms.example/a2a A2A 0.3 nobody" in page
    assert person.post("/external-agents", data={"url": "http://127.0.0.1:9/card"}).status_code in (422, 502)
    assert person.post("/external-agents/rooms/remove").headers["location"] == "/external-agents?done=removed"
    assert "No agent elsewhere is known." in text(person.get("/external-agents"))


def test_tools_that_wait_are_counted_where_one_looks(console: Console, person: httpx2.Client) -> None:
    def number() -> str:
        return text(person.get("/waiting/tools")).strip()

    assert number() == ""
    page = person.get("/agents/clerk")
    assert '<a href="/tools/definition?agent=clerk&amp;resource=files%2Fread_file">' in page.text
    saw(console, tool("read_file"), "clerk")
    saw(console, tool("read_file") | {"description": "It changed."}, "clerk")
    until(lambda: number() == "1 waiting")
    assert "1 tool waits for a person" in text(person.get("/"))
    assert "1 tool waits for a person" in text(person.get("/attention"))


@pytest.mark.browser
@pytest.mark.parametrize("width", [1360, 380])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pages_fit_and_a_key_can_be_made_by_hand(
    browser: Browser, console: Console, session: str, width: int, scheme: Any
) -> None:
    name = f"robot-{scheme}-{width}"
    console.client.post("/v1/external-agents", dict, {"card": CARD, "name": "rooms"})
    with window(browser, viewport={"width": width, "height": 800}, color_scheme=scheme) as opened:
        opened.context.add_cookies([{"name": COOKIE, "value": session, "url": console.url}])
        page = opened.page
        page.goto(f"{console.url}/people")
        page.get_by_label("Name").fill(name)
        page.get_by_role("button", name="Make it").click()
        expect(page.locator("h1")).to_have_text(name, timeout=15_000)
        page.get_by_label("Name").fill("The build server")
        page.get_by_role("button", name="Make the key").click()
        expect(page.locator("[data-secret]")).to_contain_text("tns_")
        for address in ("", "/external-agents", "/people"):
            if address:
                page.goto(console.url + address)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, address
