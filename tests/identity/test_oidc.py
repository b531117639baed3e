"""Logging in at a real OpenID provider in a process of its own: the whole way, and each way that must not be."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from playwright.sync_api import expect

from tenure.base.config import Config
from tenure.identity import oidc
from tenure.kernel.errors import Refused
from tests.sim.browser import launched, window
from tests.sim.console import Console, running
from tests.sim.oidc_provider import CLIENT, SECRET, provider
from tests.sim.ports import free_port

RULE = {
    "name": "corp",
    "client_id": CLIENT,
    "workspace": "default",
    "roles": {"risk": ["approver"], "ops": ["operator"]},
}


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """A control plane that takes the provider's word."""
    folder, port = tmp_path_factory.mktemp("oidc"), free_port()
    with provider() as issuer:
        (folder / "secret").write_text(f"{SECRET}\n")
        rules = [RULE | {"issuer": issuer, "client_secret_file": str(folder / "secret")}]
        (folder / "oidc.json").write_text(json.dumps(rules))
        url = f"http://127.0.0.1:{port}"
        (folder / "data").mkdir()
        with running(folder / "data", port, public_url=url, oidc=str(folder / "oidc.json")) as running_console:
            yield running_console


def _browser() -> httpx2.Client:
    return httpx2.Client(trust_env=False, headers={"Accept": "text/html", "Sec-Fetch-Site": "same-origin"})


def _answered(console: Console, browser: httpx2.Client, user: str) -> str:
    """Where the provider sends the browser back to after ``user`` allowed it."""
    begun = browser.get(f"{console.url}/login/with/corp", params={"back": "/approvals"})
    assert begun.status_code == 303
    page = browser.get(begun.headers["location"])
    fields = dict(re.findall(r'name="([^"]+)" value="([^"]*)"', page.text))
    allowed = browser.get(f"{str(page.url).partition('/authorize')[0]}/allow", params=fields | {"user": user})
    return allowed.headers["location"]


def _logs_in(console: Console, user: str) -> tuple[int, dict[str, object]]:
    with _browser() as browser:
        answer = browser.get(_answered(console, browser, user))
        if answer.status_code != 200:
            return answer.status_code, {}
        return 200, browser.get(f"{console.url}/v1/me").json()


def test_who_the_issuer_says_it_is_comes_in_with_the_roles_of_the_claims(console: Console) -> None:
    status, me = _logs_in(console, "ann")
    assert (status, me["name"], me["roles"]) == (200, "person:ann@example.com", ["approver"])
    status, me = _logs_in(console, "olga")
    assert (status, me["roles"]) == (200, ["operator"])
    told = console.client.get("/v1/events", dict, type="person.created", limit=10)["events"]
    assert {one["event"]["actor"] for one in told} >= {"system:oidc:corp"}


@pytest.mark.parametrize(
    "user",
    [
        *("wrong-nonce", "wrong-aud", "two-auds", "wrong-azp", "wrong-iss", "expired", "from-the-future", "unverified"),
        *("no-subject", "wrong-key", "no-signature", "mixed-up"),
    ],
)
def test_a_word_that_does_not_hold_opens_nothing(console: Console, user: str) -> None:
    assert _logs_in(console, user)[0] == 401
    people = console.client.get("/v1/people", dict)["people"]
    assert not [one for one in people if one["email"] == f"{user}@example.com"]


def test_who_has_no_role_is_not_let_in(console: Console) -> None:
    assert _logs_in(console, "bob")[0] == 403


def test_an_address_stays_with_the_first_who_came_with_it(console: Console) -> None:
    assert _logs_in(console, "ann")[0] == 200
    assert _logs_in(console, "ann2")[0] == 401


def test_an_answer_is_good_once_in_the_browser_that_asked(console: Console) -> None:
    with _browser() as mine, _browser() as other:
        back = _answered(console, mine, "ann")
        _answered(console, other, "ann")  # the other browser has begun one of its own
        assert other.get(back).status_code == 401, "an answer that was pushed on another browser"
        assert mine.get(back).status_code == 401, "and it is spent by that"
        good = _answered(console, mine, "ann")
        assert mine.get(good).status_code == 200
        assert mine.get(good).status_code == 401
        stranger = parse_qs(urlsplit(good).query)["code"][0]
        assert (
            mine.get(f"{console.url}/login/from/corp", params={"code": stranger, "state": "made up"}).status_code == 401
        )
        assert mine.get(f"{console.url}/login/from/nobody", params={"code": "x", "state": "y"}).status_code == 404


@pytest.mark.browser
def test_in_a_browser_the_button_leads_there_and_back(console: Console) -> None:
    with launched() as chromium, window(chromium) as opened:
        page = opened.page
        opened.expected += ["404"]  # the provider has no picture for a tab
        page.goto(f"{console.url}/login?back=/approvals")
        page.get_by_role("link", name="Log in with corp").click()
        page.locator("[name=user]").fill("ann")
        page.get_by_role("button", name="Allow").click()
        page.wait_for_url(f"{console.url}/approvals")
        page.goto(f"{console.url}/account")
        expect(page.get_by_text("by oidc").first).to_be_visible()


@pytest.mark.parametrize(
    "change",
    [
        {"issuer": "http://issuer.example"},
        {"roles": {"x": ["god"]}},
        {"unknown": 1},
        {"client_id": 5},
        {"roles": {}},
    ],
)
def test_a_rule_that_says_too_little_or_too_much_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    rule = RULE | {"issuer": "https://issuer.example"}
    file = tmp_path / "oidc.json"
    file.write_text(json.dumps([rule]))
    assert oidc.issuers(Config(oidc=str(file)))[0].name == "corp"
    file.write_text(json.dumps([rule | change]))
    with pytest.raises(Refused) as refused:
        oidc.issuers(Config(oidc=str(file)))
    assert refused.value.code == "bad_oidc"
