"""The page of notifications, and the page that a link in a message opens, for somebody who is not logged in."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from tenure.app.server import COOKIE
from tenure.base.clock import system_clock
from tests.sim.console import held, running
from tests.sim.receivers import mail_server, receiver
from tests.ui.conftest import until
from tests.ui.test_pages import text


@pytest.mark.req("R063", "R066")
def test_somebody_is_told_and_answers_by_a_link(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with (
        receiver() as hook,
        mail_server(tmp_path / "box") as post_office,
        running(tmp_path / "data", notify_private="127.0.0.1") as console,
    ):
        headers, cookies = {"Sec-Fetch-Site": "same-origin"}, {COOKIE: console.cookie()}
        with httpx2.Client(
            base_url=console.url, headers=headers, cookies=cookies, trust_env=False, follow_redirects=True, timeout=60
        ) as person:
            assert "Nobody is told of anything." in text(person.get("/notify"))
            key = {"value": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "hosts": [urlsplit(hook.url).netloc]}
            console.client.put("/v1/secrets/hook-key", dict, key)
            wanted = {"name": "ops", "kind": "webhook", "url": hook.url, "secret": "hook-key", "topic-breaker": "on"}
            assert "They are told from now on" in text(person.post("/notify", data=wanted))
            assert "The test has arrived" in text(person.post("/notify/ops/test"))
            hook.says(500)
            assert "ops: it answers 500" in text(person.post("/notify/ops/test"))
            wanted = {"name": "mail", "kind": "email", "url": f"smtp://127.0.0.1:{post_office.port}"}
            wanted |= {"to": "approvers", "sender": "t@example.com", "topic-approval": "on", "answers": "on"}
            person.post("/notify", data=wanted)
            console.register("clerk")
            console.send(held(system_clock(), {"invoice": "2026-1187"}, agent="clerk"))
            found: Any = until(lambda: post_office.mails, 60)
            body = str(found[0].get_payload(decode=True), "utf-8")
            link = re.search(r"/answer\?link=\S+", body)
            assert link
            sent = console.client.get("/v1/notify/deliveries", list[dict[str, Any]], destination="ops", state="sent")
            assert "It is on its way again" in text(person.post(f"/notify/deliveries/{sent[0]['id']}"))
            assert "They are told nothing any more" in text(person.post("/notify/ops/remove"))
        with httpx2.Client(base_url=console.url, trust_env=False) as stranger:
            page = stranger.get(link[0])
            assert page.status_code == 200
            assert "2026-1187" in text(page)
            assert "operator@localhost" in text(page)
            form = {"link": link[0].partition("link=")[2], "decision": "approve"}
            elsewhere = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
            assert stranger.post("/answer", data=form, headers=elsewhere).status_code == 403
            assert console.client.get("/v1/approvals", list[dict[str, Any]])[0]["state"] == "pending"
            here = {"Sec-Fetch-Site": "same-origin"}
            assert "Approved" in text(stranger.post("/answer", data=form, headers=here))
            assert stranger.post("/answer", data=form, headers=here).status_code == 410
            assert stranger.get(link[0]).status_code == 410
        decided = console.client.get("/v1/approvals", list[dict[str, Any]])[0]
        assert (decided["state"], decided["decided_by"]) == ("granted", "person:operator@localhost")
