"""How long an issuer's word about a person is believed: changed and removed groups bite within a stated bound."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient

from tenure.app.server import create_app
from tenure.base.config import Config
from tests.sim.clock import FakeClock
from tests.sim.oidc_provider import CLIENT, SECRET, provider

SAME = {"Sec-Fetch-Site": "same-origin"}
CONSOLE = "https://tenure.example"
SESSION_S, VOUCHED_S = 1_800, 7_200


class Place:
    """A control plane by a clock that is turned by hand, which takes an issuer's word."""

    def __init__(self, folder: Path, issuer: str) -> None:
        (folder / "secret").write_text(SECRET)
        rule: dict[str, Any] = {
            "name": "corp",
            "issuer": issuer,
            "client_id": CLIENT,
            "client_secret_file": str(folder / "secret"),
        }
        rule |= {"workspace": "default", "roles": {"risk": ["approver"], "ops": ["operator"]}}
        rule |= {"session_s": SESSION_S, "vouched_s": VOUCHED_S}
        (folder / "oidc.json").write_text(json.dumps([rule]))
        self.issuer = issuer
        self.clock = FakeClock(datetime.fromtimestamp(int(time.time()), UTC))
        config = Config(otlp_port=0, data_dir=folder / "data", public_url=CONSOLE, oidc=str(folder / "oidc.json"))
        self.app = create_app(config, clock=self.clock)
        self.life = ExitStack()

    def browser(self) -> TestClient:
        """Another browser, on the same console."""
        return TestClient(self.app, base_url=CONSOLE)

    def log_in(self, browser: TestClient, user: str, groups: str) -> int:
        """The whole way over the issuer, which says that ``user`` is in ``groups``; the status at its end."""
        begun = browser.get("/login/with/corp", follow_redirects=False)
        with self.outside() as outside:
            page = outside.get(begun.headers["location"])
            fields = dict(re.findall(r'name="([^"]+)" value="([^"]*)"', page.text))
            more = {"user": user, "groups": groups, "at": str(int(self.clock().timestamp()))}
            back = outside.get(f"{self.issuer}/allow", params=fields | more).headers["location"]
        return browser.get(back.removeprefix(CONSOLE), headers={"Accept": "text/html"}).status_code

    def outside(self) -> Any:
        """A client of the issuer."""

        return httpx2.Client(trust_env=False)


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    with provider() as url:
        yield url


@pytest.fixture
def place(tmp_path: Path, issuer: str) -> Iterator[Place]:
    (tmp_path / "data").mkdir()
    found = Place(tmp_path, issuer)
    with found.life:
        found.life.enter_context(TestClient(found.app, base_url=CONSOLE))
        yield found


def roles(browser: TestClient) -> list[str] | None:
    """The roles of whoever is logged in; None for a stranger."""
    answer = browser.get("/v1/me")
    return list(answer.json()["roles"]) if answer.status_code == 200 else None


def test_a_session_from_an_issuer_ends_after_its_own_bound(place: Place) -> None:
    browser = place.browser()
    assert place.log_in(browser, "ann", "risk") == 200
    place.clock.advance(SESSION_S - 1)
    assert roles(browser) == ["approver"]
    place.clock.advance(1)
    assert roles(browser) is None, "though it was used a second ago"


def test_changed_groups_change_what_is_open_and_no_group_ends_it(place: Place) -> None:
    first, second = place.browser(), place.browser()
    assert place.log_in(first, "ann", "risk,ops") == 200
    assert roles(first) == ["approver", "operator"]
    token = first.post("/v1/tokens", json={"name": "shell"}, headers=SAME).json()["token"]
    program = {"Authorization": f"Bearer {token}"}
    assert place.log_in(second, "ann", "risk") == 200
    assert roles(first) == roles(second) == ["approver"]
    assert place.log_in(place.browser(), "ann", "nothing") == 403
    assert (roles(first), roles(second)) == (None, None)
    assert place.browser().get("/v1/me", headers=program).status_code == 401
    assert place.log_in(second, "ann", "risk") == 200
    assert place.browser().get("/v1/me", headers=program).json()["roles"] == ["approver"]


def test_nothing_of_a_person_outlives_the_issuers_word(place: Place) -> None:
    browser = place.browser()
    assert place.log_in(browser, "ann", "ops") == 200
    token = browser.post("/v1/tokens", json={"name": "shell"}, headers=SAME).json()["token"]
    password = {"password": "correct horse battery staple", "current": ""}
    assert browser.post("/v1/account/password", json=password, headers=SAME).status_code in (200, 204)
    program = {"Authorization": f"Bearer {token}"}
    place.clock.advance(SESSION_S)
    known = {"email": "ann@example.com", "password": password["password"], "workspace": ""}
    locally = place.browser()
    assert locally.post("/v1/login/password", json=known, headers=SAME).status_code == 200
    assert roles(locally) == ["operator"]
    place.clock.advance(VOUCHED_S - SESSION_S - 1)
    assert place.browser().get("/v1/me", headers=program).status_code == 200
    place.clock.advance(1)
    assert place.browser().get("/v1/me", headers=program).status_code == 401
    assert roles(locally) is None
    refused = place.browser().post("/v1/login/password", json=known, headers=SAME)
    assert (refused.status_code, refused.json()["code"]) == (401, "issuer_first")
    assert place.log_in(browser, "ann", "ops") == 200
    assert place.browser().get("/v1/me", headers=program).status_code == 200


def test_whoever_holds_the_machine_gets_in_when_the_issuer_speaks_for_every_operator(
    place: Place, tmp_path: Path
) -> None:
    browser = place.browser()
    assert place.log_in(browser, "ann", "ops") == 200
    assert browser.delete("/v1/people/operator@localhost", headers=SAME).status_code == 200
    place.life.close()
    with TestClient(
        create_app(Config(otlp_port=0, data_dir=tmp_path / "data"), clock=place.clock), base_url=CONSOLE
    ) as again:
        code = again.app.state.bootstrap.login_code  # type: ignore[attr-defined]  # the application, behind Starlette's type
        assert again.post("/v1/login", json={"code": code}, headers=SAME).json()["name"] == "person:operator@localhost"
