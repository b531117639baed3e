"""Revoking with a button, in a real browser: what it does is said first, a reason is asked for, and then it is so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Browser, expect

from tenure.app.server import COOKIE
from tenure.ui.identity.signing import timeline
from tests.sim.browser import window
from tests.sim.console import Console
from tests.ui.test_pages import text


def started(console: Console) -> dict[str, Any]:
    return console.client.post("/v1/agents/clerk/instances", dict[str, Any], {})


def status(console: Console, token: str) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx2.get(f"{console.url}/v1/agents/clerk", headers=headers, trust_env=False).status_code


@pytest.mark.browser
@pytest.mark.req("R013", "R037")
def test_an_instance_then_the_agent_then_its_release_then_a_person(
    browser: Browser, console: Console, session: str
) -> None:
    first, second = started(console), started(console)
    with window(browser, viewport={"width": 1280, "height": 900}) as opened:
        opened.context.add_cookies([{"name": COOKIE, "value": session, "url": console.url}])
        page = opened.page

        def revoke(link: str, said: str, reason: str) -> None:
            page.get_by_role("link", name=link).first.click()
            dialog = page.get_by_role("dialog")
            expect(dialog).to_contain_text(said)
            dialog.get_by_label("Reason").fill(reason)
            dialog.get_by_role("button", name="Revoke").click()
            expect(page.get_by_text("Revoked. No gateway runs")).to_be_visible()

        page.goto(f"{console.url}/agents/clerk")
        page.locator("li", has_text=second["instance"]).get_by_role("link", name="Revoke").click()
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("of this instance of clerk dies for good, and it ends; others go on")
        dialog.get_by_role("link", name="Cancel").click()
        assert status(console, second["token"]) == 200, "asking changes nothing"
        page.locator("li", has_text=second["instance"]).get_by_role("link", name="Revoke").click()
        dialog.get_by_label("Reason").fill("it went astray")
        dialog.get_by_role("button", name="Revoke").click()
        expect(page.get_by_text("Revoked. No gateway runs")).to_be_visible()
        assert (status(console, first["token"]), status(console, second["token"])) == (200, 401)

        revoke("Revoke its credentials", "Every credential of agent clerk dies", "its host was lost")
        assert status(console, first["token"]) == 401
        revoke("Revoke its release", "nothing starts until another is approved", "its prompt leaks")
        console.client.post("/v1/people", dict, {"email": "leo@example.com", "roles": ["viewer"]})
        page.goto(f"{console.url}/people/leo@example.com")
        revoke("End all of it", "API tokens and login codes of leo@example.com end", "a laptop was stolen")
    told = [(one["kind"], one["reason"]) for one in console.client.get("/v1/revocations", list[dict[str, Any]])]
    assert told == [
        ("person", "a laptop was stolen"),
        ("release", "its prompt leaks"),
        ("agent", "its host was lost"),
        ("instance", "it went astray"),
    ]


def test_without_a_reason_or_for_what_is_not_there_nothing_is_revoked(person: httpx2.Client, console: Console) -> None:
    before = console.client.get("/v1/revocations", list[dict[str, Any]])
    assert person.post("/revoke", data={"kind": "agent", "subject": "clerk", "reason": " "}).status_code == 422
    assert person.post("/revoke", data={"kind": "agent", "subject": "nobody", "reason": "x"}).status_code == 404
    assert person.get("/revoke?kind=workspace&subject=default").status_code == 422
    whole = text(person.get("/revoke?kind=agent&subject=clerk"))
    assert "Every credential of agent clerk dies" in whole
    elsewhere = person.post(
        "/revoke",
        data={"kind": "agent", "subject": "clerk", "reason": "x"},
        headers={"Sec-Fetch-Site": "cross-site"},
    )
    assert elsewhere.status_code == 403
    assert console.client.get("/v1/revocations", list[dict[str, Any]]) == before


@pytest.mark.req("R174")
def test_signing_keys_are_shown_with_their_times_and_rotated_after_it_was_said_what_that_does(
    person: httpx2.Client, console: Console
) -> None:
    def states() -> dict[str, str]:
        found = console.client.get("/v1/keys", dict[str, Any])["keys"]
        return {key["state"]: key["kid"] for key in found}

    before = states()
    page = text(person.get("/signing"))
    assert "comes next" in page
    assert before["signing"][:12] in page
    assert "Next rotation on schedule" in page
    asked = text(person.get("/signing/rotate"))
    assert f"Key {before['next']} signs" in asked
    assert states() == before, "asking changes nothing"
    assert person.post("/signing/rotate").headers["location"] == "/signing?done=rotated"
    after = states()
    assert before["next"] in (after["signing"], after.get("waiting"))
    revoked = text(person.get(f"/revoke?kind=key&subject={after['signing']}"))
    assert "Every token that this key signed dies" in revoked
    answer = person.post("/revoke", data={"kind": "key", "subject": after["signing"], "reason": "its disk was lost"})
    assert answer.headers["location"] == "/signing?done=revoked&force=none"
    assert after["signing"] not in states().values()
    assert "Revoked. No gateway runs." in text(person.get("/signing?done=revoked&force=none"))


def test_the_times_of_keys_are_drawn_to_one_scale() -> None:
    now = datetime(2026, 1, 2, tzinfo=UTC)
    day = timedelta(days=1)
    none: dict[str, Any] = {"signs_at": None, "signs_until": None, "retires_at": None}
    keys = [
        {**none, "created_at": now},
        {**none, "created_at": now - day, "signs_at": now - day / 2},
        {"created_at": now - day, "signs_at": now - day, "signs_until": now - day / 2, "retires_at": now + day / 2},
    ]
    following, signing, replaced = timeline(keys, now + day, now)
    assert [one["now"] for one in (following, signing, replaced)] == [500.0] * 3
    assert following["parts"] == [{"name": "published", "x": 500.0, "width": 500.0}]
    assert signing["parts"] == [
        {"name": "published", "x": 0.0, "width": 250.0},
        {"name": "signs", "x": 250.0, "width": 750.0},
    ]
    assert [part["width"] for part in replaced["parts"]] == [0.0, 250.0, 500.0]
