"""An agent's page shows the keys that it proves itself with, and what to do when there is none."""

from __future__ import annotations

from pathlib import Path

import httpx2
from joserfc.jwk import ECKey

from tenure.app.server import COOKIE
from tests.sim.console import running


def test_the_page_of_an_agent_shows_its_keys(tmp_path: Path) -> None:
    with running(tmp_path) as console:
        console.register("clerk")
        cookies = {"Cookie": f"{COOKIE}={console.cookie()}"}
        page = f"{console.url}/agents/clerk"
        assert "tenure agents keys new clerk" in httpx2.get(page, headers=cookies, trust_env=False).text
        jwk = ECKey.generate_key("P-256").as_dict(private=False)
        made = console.client.post("/v1/agents/clerk/keys", dict, {"jwk": jwk, "name": "<b>rack 7</b>"})
        text = httpx2.get(page, headers=cookies, trust_env=False).text
        assert "&lt;b&gt;rack 7" in text
        assert "used never, good until" in text
        console.client.post(f"/v1/agents/clerk/keys/{made['thumbprint']}/revoke", dict)
        assert "revoked" in httpx2.get(page, headers=cookies, trust_env=False).text
