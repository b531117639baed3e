"""Logging in at a real OpenID provider in a process of its own: the whole way, and each way that must not be."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from playwright.sync_api import expect

from tenure.base.config import Config
from tenure.base.room import World
from tenure.identity import backchannel, oidc
from tenure.identity.oidc import Issuer
from tenure.kernel.errors import Refused
from tenure.kernel.ids import new_id
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
def issuer() -> Iterator[str]:
    """The provider's address."""
    with provider() as address:
        yield address


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory, issuer: str) -> Iterator[Console]:
    """A control plane that takes the provider's word."""
    folder, port = tmp_path_factory.mktemp("oidc"), free_port()
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


EVENT = "http://schemas.openid.net/event/backchannel-logout"


def _session(console: Console, user: str, sid: str) -> dict[str, str]:
    """The cookies of a browser in which ``user`` has logged in, in the session ``sid`` of the issuer."""
    with _browser() as browser:
        begun = browser.get(f"{console.url}/login/with/corp", params={"back": "/"})
        page = browser.get(begun.headers["location"])
        fields = dict(re.findall(r'name="([^"]+)" value="([^"]*)"', page.text))
        where = f"{str(page.url).partition('/authorize')[0]}/allow"
        allowed = browser.get(where, params=fields | {"user": user, "sid": sid})
        assert browser.get(allowed.headers["location"]).status_code == 200
        return dict(browser.cookies)


def _lives(console: Console, cookies: dict[str, str]) -> bool:
    cookie = "; ".join(f"{name}={value}" for name, value in cookies.items())
    return httpx2.get(f"{console.url}/v1/me", headers={"Cookie": cookie}, trust_env=False).status_code == 200


def _told(
    console: Console, issuer: str, header: dict[str, Any] | None = None, *, wrong_key: bool = False, **claims: Any
) -> int:
    """The status for a logout token with these claims besides what is right; None leaves one out."""
    now = int(time.time())
    right = {"iss": issuer, "aud": CLIENT, "iat": now, "exp": now + 120, "jti": new_id(), "events": {EVENT: {}}}
    whole = {name: value for name, value in (right | claims).items() if value is not None}
    asked = {"claims": whole, "header": header or {"typ": "logout+jwt"}, "wrong_key": wrong_key}
    token = httpx2.post(f"{issuer}/sign", json=asked, trust_env=False).json()["token"]
    return _sent(console, token)


def _sent(console: Console, token: str) -> int:
    place = f"{console.url}/v1/login/oidc/corp/logout"
    return httpx2.post(place, data={"logout_token": token}, trust_env=False).status_code


@pytest.mark.req("R024")
def test_an_issuer_ends_one_session_or_all_of_somebody(console: Console, issuer: str) -> None:
    one, two, other = _session(console, "ann", "s1"), _session(console, "ann", "s2"), _session(console, "olga", "s3")
    assert _told(console, issuer, sid="s1") == 200
    assert [_lives(console, browser) for browser in (one, two, other)] == [False, True, True]
    assert _told(console, issuer, sub="sub-olga", sid="s2") == 200, "it holds, and no session is of both"
    assert [_lives(console, browser) for browser in (two, other)] == [True, True]
    assert _told(console, issuer, {"typ": "JWT"}, sub="sub-ann", aud=[CLIENT, "another"]) == 200
    assert [_lives(console, browser) for browser in (two, other)] == [False, True]
    found = console.client.get("/v1/events", dict[str, Any], type="person.logged_out", limit=5)
    told = re.findall(r'"data": {"email": "([^"]*)", "count": (\d+)}', json.dumps(found))
    assert [email for email, _ in told] == ["ann@example.com"] * 2
    assert "1" in {count for _, count in told}


WRONG: dict[str, dict[str, Any]] = {
    "another issuer": {"iss": "https://evil.example"},
    "another audience": {"aud": "somebody-else"},
    "no audience": {"aud": None},
    "no time": {"iat": None},
    "time is a word": {"iat": "now"},
    "long ago": {"iat": 1_600_000_000},
    "from the future": {"iat": 4_000_000_000},
    "expired": {"exp": 1_600_000_000},
    "no id": {"jti": None},
    "no event": {"events": None},
    "another event": {"events": {"http://schemas.openid.net/event/other": {}}},
    "the event is no object": {"events": {EVENT: "yes"}},
    "a nonce": {"nonce": "n"},
    "nobody": {"sub": None},
    "the subject is a number": {"sub": 7},
    "an access token by its type": {"header": {"typ": "at+jwt"}},
    "another key": {"wrong_key": True},
}


def test_a_logout_token_that_does_not_hold_ends_nothing(console: Console, issuer: str) -> None:
    browser = _session(console, "ann", "s9")
    wrong = list(WRONG.items())
    for name, claims in [("another key", WRONG["another key"]), *wrong[:4]]:  # ten of one address are looked at
        assert _told(console, issuer, **{"sub": "sub-ann", **claims}) == 400, name
    assert _lives(console, browser)


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_with_a_logout_token_is_seen(world: World, name: str) -> None:
    """The table, without a network."""
    now = world.clock().timestamp()
    rule = Issuer("corp", "https://issuer.example", CLIENT, "default", {})
    right = {"iss": rule.issuer, "aud": CLIENT, "iat": now, "jti": "1", "events": {EVENT: {}}, "sub": "sub-ann"}
    backchannel.check({}, right, rule, now)
    if name == "another key":
        return  # who signed it is asked before (above)
    claims = {key: value for key, value in (right | WRONG[name]).items() if value is not None}
    with pytest.raises(Refused, match="This logout token"):
        backchannel.check(WRONG[name].get("header", {}), claims, rule, now)


def test_a_logout_token_is_good_once_and_strangers_are_slowed_down(console: Console, issuer: str) -> None:
    now = int(time.time())
    claims = {"iss": issuer, "aud": CLIENT, "iat": now, "jti": "once", "events": {EVENT: {}}, "sub": "sub-bob"}
    token = httpx2.post(f"{issuer}/sign", json={"claims": claims, "header": {}}, trust_env=False).json()["token"]
    assert _sent(console, token) == 200
    assert _sent(console, token) == 400
    answers = {_sent(console, "nonsense") for _ in range(10)}
    assert answers == {400, 429}
