"""The pages of secrets and connectors: nothing to read back, and consent in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
from playwright.sync_api import Browser, expect

from tenure.app.server import COOKIE
from tests.sim.browser import window
from tests.sim.consent_upstream import CLIENT, SECRET, ConsentUpstream
from tests.sim.console import Console, running
from tests.sim.ports import free_port
from tests.ui.test_pages import text

VALUE = "sk-canary-page-0123456789"


@pytest.fixture(scope="module")
def upstream() -> Iterator[ConsentUpstream]:
    with ConsentUpstream() as process:
        yield process


@pytest.mark.req("R041")
def test_a_secret_is_kept_rotated_and_removed_on_its_pages(person: httpx2.Client, console: Console) -> None:
    assert "No secret is kept here" in text(person.get("/secrets"))
    form = {"name": "openai-key", "value": VALUE, "hosts": "api.openai.com, eu.api.openai.com", "programs": ""}
    kept = person.post("/secrets", data=form)
    assert kept.headers.get("location") == "/secrets?done=kept", kept.text
    body = console_manifest("painter")
    console.client.put("/v1/agents/painter", dict, body)
    pages = [person.get("/secrets"), person.get("/secrets/openai-key")]
    assert "api.openai.com eu.api.openai.com painter" in text(pages[0])
    assert "Calls of painter break at once." in text(pages[1])
    rotated = person.post("/secrets/openai-key/rotate", data={"value": VALUE + "-2", "hours": "2"})
    assert rotated.headers["location"] == "/secrets?done=rotated"
    pages += [person.get("/secrets?done=rotated"), person.get("/live"), person.get("/audit")]
    refused = person.post("/secrets", data=form)
    assert refused.status_code == 409
    for page in (*pages, refused):
        assert "canary" not in page.text
    assert person.post("/secrets/openai-key/remove").headers["location"] == "/secrets?done=removed"
    assert person.get("/secrets/openai-key").status_code == 404


def console_manifest(name: str) -> dict[str, object]:
    """An agent whose model needs the secret."""
    model = {"provider": "openai", "name": "gpt", "credential_secret": "openai-key"}
    return {
        "apiVersion": "tenure/v1",
        "kind": "Agent",
        "metadata": {"name": name},
        "spec": {
            "purpose": "Paints.",
            "owner": "dana@example.com",
            "sponsor": "dana@example.com",
            "framework": "openai",
            "model": model,
            "instructions": "Paint.",
            "risk": {"data_sensitivity": 1, "decision_authority": 1, "blast_radius": 1, "regulatory_exposure": 1},
        },
    }


@pytest.mark.browser
@pytest.mark.req("R041", "R043")
def test_a_person_connects_in_the_browser_and_disconnects(
    browser: Browser, upstream: ConsentUpstream, tmp_path: Path
) -> None:
    host, port = urlsplit(upstream.url).netloc, free_port()
    with (
        running(tmp_path, port, public_url=f"http://127.0.0.1:{port}") as console,
        window(browser, base_url=console.url, viewport={"width": 1280, "height": 800}) as opened,
    ):
        opened.context.add_cookies([{"name": COOKIE, "value": console.cookie(), "url": console.url}])
        page = opened.page
        page.goto("/connectors")
        expect(page.locator(".empty-title")).to_have_text("There is no connector.")
        console.client.put("/v1/secrets/crm-client", dict, {"value": SECRET, "hosts": [host]})
        place = {"authorize_url": f"{upstream.url}/authorize", "token_url": f"{upstream.url}/token"}
        body = {**place, "client_id": CLIENT, "client_secret": "crm-client", "hosts": [host], "scopes": ["read"]}
        console.client.put("/v1/connectors/crm", dict, body)
        page.goto("/connectors?name=crm")
        expect(page.get_by_text("asked for by an agent")).to_be_visible()
        page.get_by_role("link", name="Connect", exact=True).click()
        expect(page.get_by_role("status").first).to_have_text("Agents are let in for you now.")
        expect(page.get_by_text("connected just now")).to_be_visible()
        assert "canary" not in page.content()
        page.screenshot(path=tmp_path / "connectors.png", full_page=True)
        page.goto("/secrets")
        page.screenshot(path=tmp_path / "secrets.png", full_page=True)
        page.goto("/connectors")
        page.get_by_role("button", name="Disconnect").click()
        expect(page.get_by_text("not connected")).to_be_visible()
