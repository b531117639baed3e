"""Handing an agent over in the console: offered on its page, looked at and accepted by somebody else, in a browser."""

from __future__ import annotations

import httpx2
import pytest
from playwright.sync_api import Browser, expect

from tenure.app import doctor
from tenure.app.server import COOKIE
from tenure.base.config import Config
from tests.sim.browser import window
from tests.sim.console import Console
from tests.ui.conftest import until
from tests.ui.test_pages import text


def cookie_of(console: Console, email: str, *roles: str) -> str:
    """A session of somebody with these roles."""
    console.client.post("/v1/people", dict, {"email": email, "roles": list(roles)})
    link = console.client.post(f"/v1/people/{email}/login-link", dict)
    answer = httpx2.post(f"{console.url}/v1/login", json={"code": link["code"]}, trust_env=False)
    return str(answer.cookies[COOKIE])


@pytest.mark.browser
@pytest.mark.req("R029", "R030")
def test_an_agent_is_offered_looked_at_and_taken_on_then_taken_over_from_a_leaver(
    browser: Browser, console: Console, session: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    zoe = cookie_of(console, "zoe@example.com", "owner")
    with window(browser, viewport={"width": 1280, "height": 900}) as opened:
        page = opened.page
        opened.context.add_cookies([{"name": COOKIE, "value": session, "url": console.url}])
        page.goto(f"{console.url}/agents/clerk")
        page.get_by_role("link", name="Hand over").click()
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("dana@example.com answers for it until whoever you offer it to has accepted")
        dialog.get_by_label("To").fill("zoe@example.com")
        dialog.get_by_label("What they should know").fill("Dana goes to the bank")
        dialog.get_by_role("button", name="Offer it").click()
        expect(page.get_by_text("Whoever you offered it to answers for it once")).to_be_visible()

    with window(browser, viewport={"width": 1280, "height": 900}) as opened:
        page = opened.page
        opened.context.add_cookies([{"name": COOKIE, "value": zoe, "url": console.url}])
        page.goto(console.url)
        page.get_by_role("link", name="1 agent offered to you").click()
        page.get_by_role("link", name="clerk").first.click()
        expect(page.get_by_text("Dana goes to the bank")).to_be_visible()
        expect(page.get_by_text("payments/refund").first).to_be_visible()
        page.get_by_role("button", name="Accept").click()
        expect(page.get_by_text("You answer for it from now on.")).to_be_visible()
        assert console.client.get("/v1/agents/clerk", dict)["owner"] == "zoe@example.com"
        page.get_by_role("button", name="I answer for it").click()
        expect(page.get_by_text("Noted: you answer for it")).to_be_visible()

    console.client.request("DELETE", "/v1/people/zoe@example.com", dict)
    until(lambda: console.client.get("/v1/concerns", list), 60)
    monkeypatch.setenv("TENURE_TOKEN", console.client.post("/v1/tokens", dict, {"name": "doctor"})["token"])
    (told,) = doctor.unowned(Config(control_port=int(console.url.rpartition(":")[2])))
    assert (told.check, told.level) == ("owners", "problem")
    assert "agent clerk: its owner has left (zoe@example.com); it is suspended at" in told.found
    with window(browser, viewport={"width": 1280, "height": 900}) as opened:
        page = opened.page
        opened.context.add_cookies([{"name": COOKIE, "value": session, "url": console.url}])
        page.goto(f"{console.url}/owners")
        expect(page.get_by_role("row", name="clerk")).to_contain_text("its owner has left")
        page.goto(f"{console.url}/agents/clerk")
        page.get_by_label("Reason for taking it over").fill("until there is somebody better")
        page.get_by_role("button", name="Take it over").click()
        expect(page.get_by_text("You answer for it from now on.")).to_be_visible()
    assert console.client.get("/v1/agents/clerk", dict)["owner"] == "operator@localhost"
    assert console.client.get("/v1/concerns", list) == []


def test_a_declined_offer_and_empty_pages_say_what_to_do(person: httpx2.Client, console: Console) -> None:
    assert "tenure owners offer AGENT" in text(person.get("/owners"))
    console.client.post("/v1/people", dict, {"email": "ben@example.com", "roles": ["owner"]})
    made = console.client.post("/v1/handovers", list, {"to": "ben@example.com", "agents": ["newcomer"]})[0]
    page = text(person.get(f"/owners/offers/{made['id']}"))
    assert "Take the offer back" in page
    assert "Accept" not in page, "who is not the receiver is offered no button"
    back = person.post(f"/owners/offers/{made['id']}/withdraw", data={"reason": "too early"})
    assert back.headers["location"] == "/owners?done=withdraw"
    assert "Withdrawn by operator@localhost" in text(person.get(f"/owners/offers/{made['id']}"))
    assert person.post(f"/owners/offers/{made['id']}/accept", data={"checklist": "x"}).status_code == 403


def test_the_page_of_people_shows_whom_a_directory_has_spoken_of(person: httpx2.Client, console: Console) -> None:
    assert "No directory has spoken of anybody" in text(person.get("/people"))
    console.client.post("/scim/v2/Users", dict, {"userName": "Uma@example.com"})
    assert "Uma@example.com uma@example.com here" in text(person.get("/people"))
