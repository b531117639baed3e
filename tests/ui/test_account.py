"""A person's own account in a real browser: a password, passkeys by WebAuthn, and where they are logged in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Browser, Page, expect

from tenure.app.server import COOKIE
from tests.sim.browser import Window, window
from tests.sim.console import Console, running

pytestmark = pytest.mark.browser
GOOD = "four words nobody says"


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    with running(tmp_path_factory.mktemp("account")) as running_console:
        yield running_console


def _site(console: Console) -> str:
    """The console under a name: a passkey is never bound to a bare address."""
    return console.url.replace("127.0.0.1", "localhost")


def _enter(opened: Window, console: Console) -> None:
    link = console.client.post("/v1/people/operator@localhost/login-link", dict)
    opened.page.goto(f"{_site(console)}/login?code={link['code']}")
    opened.page.get_by_role("button", name="Log in").click()
    opened.page.wait_for_url(f"{_site(console)}/")


def _authenticator(page: Page, **options: Any) -> tuple[Any, str]:
    """Chromium's own virtual authenticator: a device that checks its person and keeps passkeys."""
    cdp = page.context.new_cdp_session(page)
    cdp.send("WebAuthn.enable")
    facts = {"protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True}
    facts |= {"isUserVerified": True, "automaticPresenceSimulation": True, **options}
    return cdp, cdp.send("WebAuthn.addVirtualAuthenticator", {"options": facts})["authenticatorId"]


def test_a_passkey_is_added_logs_in_and_is_removed(browser: Browser, console: Console) -> None:
    with window(browser) as opened:
        opened.expected += ["401"]
        page = opened.page
        cdp, device = _authenticator(page)
        _enter(opened, console)
        page.goto(f"{_site(console)}/account")
        expect(page.get_by_text("No passkey yet.")).to_be_visible()
        page.get_by_label("Name of the new one").fill("This laptop")
        page.get_by_role("button", name="Add a passkey").click()
        expect(page.get_by_text("The passkey is yours now.")).to_be_visible()
        expect(page.get_by_role("row", name="This laptop")).to_be_visible()
        page.get_by_role("button", name="Log out").click()
        page.get_by_role("button", name="Use a passkey").click()
        page.wait_for_url(f"{_site(console)}/")
        page.goto(f"{_site(console)}/account")
        expect(page.get_by_text("by passkey").first).to_be_visible()
        # Another device has no passkey of this person; the server never hears of it.
        (kept,) = cdp.send("WebAuthn.getCredentials", {"authenticatorId": device})["credentials"]
        assert kept["rpId"] == "localhost"
        page.get_by_role("button", name="Remove").click()
        expect(page.get_by_text("The passkey is forgotten.")).to_be_visible()
        page.get_by_role("button", name="Log out").click()
        page.get_by_role("button", name="Use a passkey").click()
        expect(page.locator("#passkey-said")).to_contain_text("not known here")
        assert page.context.cookies(_site(console)) == []


def test_an_answer_is_good_once_for_what_was_asked_and_for_this_site(browser: Browser, console: Console) -> None:
    """The browser's true answers, sent by somebody else in other ways."""
    take = """async () => {
      const asked = await (await fetch("/v1/login/passkey/options", { method: "POST" })).json();
      const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(asked.options);
      return (await navigator.credentials.get({ publicKey })).toJSON();
    }"""

    def login(credential: Any, host: str = "") -> httpx2.Response:
        headers = {"Host": host or _site(console).removeprefix("http://")}
        body = {"credential": credential}
        return httpx2.post(f"{console.url}/v1/login/passkey", json=body, headers=headers, trust_env=False)

    with window(browser) as opened:
        opened.expected += ["401"]
        page = opened.page
        cdp, device = _authenticator(page)
        _enter(opened, console)
        page.goto(f"{_site(console)}/account")
        page.get_by_label("Name of the new one").fill("Key")
        page.get_by_role("button", name="Add a passkey").click()
        expect(page.get_by_text("The passkey is yours now.")).to_be_visible()
        good = page.evaluate(take)
        assert login(good).status_code == 200
        assert login(good).json()["detail"].startswith("This was not asked"), "answered once already"
        changed = page.evaluate(take)
        changed["response"]["signature"] = good["response"]["signature"]
        assert login(changed).status_code == 401
        assert login(page.evaluate(take), "evil.example").status_code == 401
        cdp.send("WebAuthn.setUserVerified", {"authenticatorId": device, "isUserVerified": False})
        assert "not allowed" in page.evaluate(f"({take})().catch((error) => error.message)")
        cdp.send("WebAuthn.setUserVerified", {"authenticatorId": device, "isUserVerified": True})
        (kept,) = cdp.send("WebAuthn.getCredentials", {"authenticatorId": device})["credentials"]
        cdp.send("WebAuthn.removeCredential", {"authenticatorId": device, "credentialId": kept["credentialId"]})
        copy = kept | {"signCount": 0}
        cdp.send("WebAuthn.addCredential", {"authenticatorId": device, "credential": copy})
        assert login(page.evaluate(take)).status_code == 401, "a counter that went back: the key was copied"
        rubbish: Any
        for rubbish in ({}, {"response": {}}, {"response": {"clientDataJSON": "AAAA"}}, {"rawId": 5, "response": []}):
            assert login(rubbish).status_code == 401


def test_a_password_is_set_and_used_and_sessions_are_ended_from_elsewhere(browser: Browser, console: Console) -> None:
    with window(browser) as here, window(browser) as there:
        there.expected += ["401"]
        page = here.page
        _enter(here, console)
        page.goto(f"{_site(console)}/account")
        page.get_by_label("New password").fill("aaaaaaaaaaaaaa")
        page.get_by_role("button", name="Set a password").click()
        expect(page.get_by_text("can be guessed")).to_be_visible()
        here.problems.clear()
        page.goto(f"{_site(console)}/account")
        page.get_by_label("New password").fill(GOOD)
        page.get_by_role("button", name="Set a password").click()
        expect(page.get_by_text("The password is set.")).to_be_visible()

        other = there.page
        other.goto(f"{_site(console)}/approvals")
        other.get_by_label("Address").fill("operator@localhost")
        other.get_by_label("Password").fill("not this one at all")
        other.get_by_role("button", name="Log in").click()
        expect(other.get_by_role("alert").first).to_contain_text("is not right")
        assert other.get_by_label("Password").input_value() == ""
        other.get_by_label("Password").fill(GOOD)
        other.get_by_role("button", name="Log in").click()
        other.wait_for_url(f"{_site(console)}/approvals")

        page.goto(f"{_site(console)}/account")
        expect(page.get_by_text("by password")).to_be_visible()
        expect(page.get_by_text("Chrome").first).to_be_visible()
        page.get_by_role("button", name="End all others").click()
        expect(page.get_by_text("Ended.")).to_be_visible()
        other.goto(f"{_site(console)}/approvals")
        expect(other.get_by_text("You were logged out")).to_be_visible()


def test_a_login_gives_the_browser_another_session_than_it_had(console: Console) -> None:
    """Whoever planted a cookie beforehand has nothing afterwards."""
    link = console.client.post("/v1/people/operator@localhost/login-link", dict)
    with httpx2.Client(base_url=console.url, trust_env=False) as client:
        planted = {"Cookie": f"{COOKIE}=planted"}
        answer = client.post("/v1/login", json={"code": link["code"]}, headers=planted | {"x-tenure-csrf": "1"})
        assert answer.status_code == 200
        assert answer.cookies[COOKIE] != "planted"
        assert client.get("/v1/me", headers=planted).status_code == 401
