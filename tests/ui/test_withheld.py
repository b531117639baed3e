"""What was said is for who may see it; everybody else who reads gets the facts, and whom to ask."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx2
import pytest

from tenure.base.clock import system_clock
from tenure.kernel.errors import Refused
from tests.sim.console import Console
from tests.sim.telemetry import chat
from tests.ui.conftest import until

SAID = ("Work through the inbox", "Work through the ", "I will refund it", "2026-1187", "124000", "a.txt")
"""What the story says, in prompts, answers, arguments and a held call."""
EMPTY = ("/v1/drafts", "/v1/corrections/export", "/v1/traces/search?q=inbox")
"""Where there is nothing for whoever may see nothing."""


@pytest.fixture(scope="module")
def people(console: Console) -> Iterator[dict[str, httpx2.Client]]:
    """Browsers of people by their role; dana answers for the clerk, and for nobody else."""
    said = [{"role": "user", "parts": [{"type": "text", "content": SAID[0]}]}]
    console.send(chat(system_clock(), agent="stranger", session="other", data={"gen_ai.input.messages": said}))
    who = {"vera@example.com": "viewer", "dana@example.com": "owner", "audrey@example.com": "auditor"}
    found = {}
    with ExitStack() as stack:
        for email, role in who.items():
            console.client.post("/v1/people", dict, {"email": email, "roles": [role]})
            link = console.client.post(f"/v1/people/{email}/login-link", dict)
            headers = {"x-tenure-csrf": "1", "sec-fetch-site": "same-origin"}
            person = httpx2.Client(base_url=console.url, headers=headers, timeout=60, trust_env=False)
            found[role] = stack.enter_context(person)
            assert found[role].post("/v1/login", json={"code": link["code"]}).is_success
        yield found


def trace_of(console: Console, agent: str) -> str:
    """The trace of an agent's story."""
    found = until(lambda: console.client.get("/v1/traces", dict[str, Any], agent=agent)["traces"])
    return str(found[0]["trace_id"])


def read(person: httpx2.Client, path: str) -> str:
    """What somebody gets, of a stream its beginning."""
    if not path.startswith("/v1/feed?"):
        return person.get(path).text
    with person.stream("GET", path) as answer:
        return next(text for text in answer.iter_text() if "data:" in text)


@pytest.mark.req("R081", "R094")
def test_who_may_not_see_what_was_said_sees_it_nowhere(console: Console, people: dict[str, httpx2.Client]) -> None:
    trace = trace_of(console, "clerk")
    held = until(lambda: console.client.get("/v1/approvals", list[Any], agent="clerk"))[0]["id"]
    call = console.client.get(f"/v1/traces/{trace}", dict[str, Any])["spans"][0]["event"]
    console.client.post("/v1/corrections", dict, {"call": call, "reason": "wrong", "right": {"text": SAID[0]}})
    places = [
        f"/v1/traces/{trace}",
        "/v1/traces/search?q=inbox",
        f"/v1/traces/{trace}/against/{trace}",
        f"/v1/traces/{trace}/blame",
    ]
    places += ["/v1/events", "/v1/sessions", "/v1/feed?last=60&agent=clerk", "/v1/feed/recent", f"/v1/decisions/{call}"]
    places += ["/v1/approvals", "/v1/approvals/batches", f"/v1/approvals/{held}", "/v1/corrections", "/v1/drafts"]
    places += ["/v1/corrections/export", "/v1/audit", f"/traces/{trace}", f"/traces/{trace}/rows", "/live", "/"]
    places += [f"/traces/{trace}/against/{trace}", "/approvals", f"/approvals/{held}", "/corrections", "/agents/clerk"]
    shown: dict[str, set[str]] = {role: set() for role in people}
    for role, person in people.items():
        for place in places:
            text = read(person, place)
            assert "clerk" in text or place in EMPTY, (place, text[:300])
            shown[role] |= {place for phrase in SAID if phrase in text}
    assert shown["viewer"] == set()
    assert shown["auditor"] == shown["owner"]
    assert shown["owner"] >= {*places[:2], "/v1/events", "/v1/approvals", "/v1/corrections", f"/traces/{trace}"}


@pytest.mark.req("R081")
def test_what_is_withheld_says_so_and_whom_to_ask(console: Console, people: dict[str, httpx2.Client]) -> None:
    trace = trace_of(console, "clerk")
    found = people["viewer"].get(f"/v1/traces/{trace}").json()
    assert "takes the role approver, auditor or operator, or answering for the agent" in found["withheld"]
    assert "Ask dana@example.com, finance@example.com, or an operator" in found["withheld"]
    [asked] = [span for span in found["spans"] if span["name"].startswith("chat ")]
    assert asked["attributes"]["tenure.content"] == "withheld"
    assert asked["attributes"]["gen_ai.usage.input_tokens"], "facts stay"
    page = people["viewer"].get(f"/traces/{trace}").text
    assert "Ask dana@example.com" in page
    assert "It is withheld from you" in page
    assert people["auditor"].get(f"/v1/traces/{trace}").json()["withheld"] == ""


@pytest.mark.req("R081")
def test_an_owner_sees_what_their_own_agents_said(console: Console, people: dict[str, httpx2.Client]) -> None:
    mine, other = trace_of(console, "clerk"), trace_of(console, "stranger")
    assert SAID[0] in people["owner"].get(f"/v1/traces/{mine}").text
    assert SAID[0] not in people["owner"].get(f"/v1/traces/{other}").text
    assert "Ask an operator" in people["owner"].get(f"/v1/traces/{other}").json()["withheld"]


@pytest.mark.req("R094", "R088")
def test_looking_is_told_once_an_hour(console: Console, people: dict[str, httpx2.Client]) -> None:
    trace = trace_of(console, "clerk")

    def looks(role: str) -> list[dict[str, Any]]:
        found = console.client.get("/v1/events", dict[str, Any], type="content.opened", limit=1000)["events"]
        return [one["event"] for one in found if one["event"]["actor"].startswith(f"person:{role}")]

    for _ in range(3):
        for person in people.values():
            assert person.get(f"/v1/traces/{trace}").is_success
    [look] = [one for one in looks("audrey") if one["data"]["what"] == trace]
    assert look["data"] == {"what": trace, "agents": ["clerk"], "about": ["agent:clerk"]}
    assert look["trace_id"] is None, "who looks at a trace does nothing in it"
    assert looks("vera") == []
    until(lambda: "audrey@example.com" in str(console.client.get("/v1/audit", dict[str, Any], limit=1000)))


def test_a_credential_whose_scopes_do_not_cover_it_opens_nothing(console: Console) -> None:
    made = console.client.post("/v1/tokens", dict, {"name": "reader", "scopes": ["events:read"]})
    headers = {"authorization": f"Bearer {made['token']}"}
    found = httpx2.get(f"{console.url}/v1/traces/{trace_of(console, 'clerk')}", headers=headers, trust_env=False)
    assert found.is_success
    assert SAID[0] not in found.text
    with pytest.raises(Refused):
        console.client.post("/v1/tokens", dict, {"name": "x", "scopes": ["content:see"]})
