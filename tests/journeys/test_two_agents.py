"""Two agents of the a2a-sdk under a whole installation: from manifests to signed cards, a call, and its trace."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from a2a.client import ClientConfig, ClientFactory
from a2a.helpers import get_stream_response_text
from a2a.utils.signing import create_signature_verifier
from jwt import PyJWK

from demo.processes import until
from tests.gateway_a2a.conftest import AgentProcess, message
from tests.sim.installation import Installation
from tests.sim.manifests import manifest
from tests.sim.ports import free_port
from tests.sim.tool_server import ToolServer, tool

SKILL = {"id": "talk", "name": "Talk", "description": "Does what it is told", "tags": ["test"]}
PERSON = "operator@localhost"
PEOPLES = {"person.logged_in", "instance.started", "agent.applied", "approval.granted", "agent.transitioned"}


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with Installation(tmp_path_factory.mktemp("two-agents") / "data") as running:
        yield running


@pytest.fixture(scope="module")
def shop() -> Iterator[ToolServer]:
    with ToolServer([tool("pay")]) as server:
        yield server


@pytest.fixture(scope="module")
def declared(shop: ToolServer) -> dict[str, Any]:
    """The manifest of the helper: another agent asks it for work, and a person is asked before it pays."""
    url = f"http://127.0.0.1:{free_port()}"
    served = {"url": url, "rest_url": f"{url}/rest", "skills": [SKILL], "streaming": True}
    pays = {"servers": {"shop": {"url": shop.url}}, "tools": [{"name": "shop/pay", "autonomy": "approve"}]}
    return manifest("helper", "http://127.0.0.1:9/v1", a2a=served, **pays)


@pytest.fixture(scope="module")
def helper(
    installation: Installation, declared: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AgentProcess]:
    installation.employ(declared)
    port = int(declared["spec"]["a2a"]["url"].rpartition(":")[2])
    env = {"TENURE_TOKEN": installation.instance("helper")["token"], "TENURE_GATEWAY": installation.gateway}
    process = AgentProcess("helper", port, env, tmp_path_factory.mktemp("helper") / "helper.log")
    installation.employ(manifest("asker", "http://127.0.0.1:9/v1", agents=[{"name": "helper"}]))
    yield process
    process.stop()


def listed(gateway: str, token: str) -> bool:
    """Whether an agent can find the helper by now."""
    card = f"{gateway}/a2a/helper/.well-known/agent-card.json"
    return httpx.get(card, headers={"authorization": f"Bearer {token}"}, timeout=30, trust_env=False).status_code == 200


def keys(url: str) -> dict[str, Any]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=60) as response:
        return {key["kid"]: PyJWK(key) for key in json.load(response)["keys"]}


@pytest.mark.req("R184")
@pytest.mark.req("R186")
@pytest.mark.req("R085")
@pytest.mark.usefixtures("helper")
def test_two_agents_from_their_manifests_to_one_trace(installation: Installation) -> None:
    started = installation.instance("asker")
    gateway = started["gateway_url"]
    asked: list[str | None] = []

    def key_of(kid: str | None, jku: str | None) -> PyJWK:
        asked.append(jku)
        found: PyJWK = keys(str(jku))[str(kid)]
        return found

    async def call() -> str:
        headers = {"authorization": f"Bearer {started['token']}"}
        async with httpx.AsyncClient(headers=headers, timeout=30, trust_env=False) as http:
            client = await ClientFactory(ClientConfig(httpx_client=http, streaming=False)).create_from_url(
                f"{gateway}/a2a/helper", signature_verifier=create_signature_verifier(key_of, ["ES256"])
            )
            return "".join([get_stream_response_text(event) async for event in client.send_message(message("echo hi"))])

    until(lambda: listed(gateway, started["token"]), "the card to be published")
    assert asyncio.run(call()) == "hi"
    assert asked
    with installation.client() as client:

        def calls() -> list[dict[str, Any]]:
            found = client.get("/v1/events", dict[str, Any], limit=100)["events"]
            return [told["event"] for told in found if told["event"]["type"] == "call.completed"]

        until(lambda: bool(calls()), "the call to be recorded")
        event = calls()[-1]
        trace = client.get(f"/v1/traces/{event['trace_id']}", dict[str, Any])
    assert (event["agent"], event["data"]["tenure.resource"]) == ("asker", "helper")
    assert any(span["agent"] == "asker" and span["name"] == "invoke_agent helper" for span in trace["spans"])


@pytest.fixture
def person(installation: Installation) -> Iterator[httpx.Client]:
    """The browser of somebody who has just logged in."""
    with installation.client() as client:
        link = client.post(f"/v1/people/{PERSON}/login-link", dict)
    headers = {"x-tenure-csrf": "1"}
    with httpx.Client(base_url=installation.control, headers=headers, timeout=60, trust_env=False) as browser:
        browser.post("/v1/login", json={"code": link["code"]}).raise_for_status()
        yield browser


def done(answer: httpx.Response) -> Any:
    """What a request has come to."""
    assert answer.is_success, answer.text
    return answer.json()


@pytest.mark.req("R085", "R082")
@pytest.mark.usefixtures("helper")
def test_from_a_persons_request_to_the_side_effect_is_one_chain(
    installation: Installation, person: httpx.Client, shop: ToolServer, declared: dict[str, Any]
) -> None:
    with ThreadPoolExecutor(1) as asking:
        begun = done(person.post("/v1/agents/asker/instances", json={"on_behalf_of": PERSON}))
        until(lambda: listed(installation.gateway, begun["token"]), "the card to be published")
        text = {"messageId": "m1", "role": "ROLE_USER", "parts": [{"text": "use shop__pay: 40"}]}
        body = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": text}}
        headers = {"authorization": f"Bearer {begun['token']}", "a2a-version": "1.0"}
        url = f"{installation.gateway}/a2a/helper"
        answer = asking.submit(httpx.post, url, json=body, headers=headers, timeout=120, trust_env=False)
        waiting: list[dict[str, Any]] = []

        def held() -> bool:
            waiting[:] = done(person.get("/v1/approvals?state=pending"))
            return bool(waiting) or answer.done()

        until(held, "the payment to wait for a person")
        assert waiting, answer.result().text
        changed = {**declared, "spec": {**declared["spec"], "instructions": "Pay what is due."}}
        done(person.put("/v1/agents/helper", json=changed))
        done(person.post(f"/v1/approvals/{waiting[0]['id']}/decision", json={"decision": "approve", "reason": "due"}))
        assert "pay done" in answer.result(60).text
        done(person.post("/v1/agents/helper/transitions", json={"to": "suspended", "reason": "enough for today"}))
        trace_id, found = waiting[0]["trace_id"], dict[str, Any]()
        # What a gateway and what the control plane tells arrives in two streams.
        wanted = {"approval.claimed", "release.created", "agent.transitioned", "agent.dependency_stopped"}

        def arrived() -> bool:
            found.update(done(person.get(f"/v1/traces/{trace_id}")))
            told = [span["type"] for span in found["spans"]]
            return wanted <= set(told) and told.count("call.completed") == 2

        until(arrived, "all of it to be in the trace")
        page = person.get(f"/traces/{trace_id}").text
    spans = [span for span in found["spans"] if span["type"] not in ("decision", "agent.applied")]
    assert [(span["depth"], span["type"], span["agent"]) for span in spans] == [
        (0, "person.logged_in", None),
        (1, "instance.started", "asker"),
        (2, "token.issued", "asker"),
        (3, "call.completed", "asker"),
        (4, "call.completed", "helper"),
        (5, "approval.requested", "helper"),
        (5, "release.created", "helper"),
        (5, "approval.granted", "helper"),
        (5, "approval.claimed", "helper"),
        (5, "agent.transitioned", "helper"),
        (4, "agent.dependency_stopped", "asker"),
    ]
    above = {span["span_id"]: span["parent_span_id"] for span in spans}
    below = {parent: ident for ident, parent in above.items()}
    assert len(set(above)) == len(spans)
    assert below[None] == spans[0]["span_id"], "it begins with the person, and with nothing else"
    assert {span["actor"] for span in spans if span["type"] in PEOPLES} == {f"person:{PERSON}"}
    assert found["duration_us"] < 120_000_000, "neither the login nor what came after is the time it took"
    assert shop.called("pay") == 1
    rows = ["logged in", "began a run", "was given a credential", "invoke_agent helper", "execute_tool shop/pay"]
    rows += ["approval of shop/pay requested", "got a new release", f"approved by {PERSON}", "approval used, once"]
    rows += ["staging → suspended"]
    places = [page.index(row) for row in rows]
    assert places == sorted(places)


def found_by(person: httpx.Client, channel: str) -> list[dict[str, Any]]:
    """The findings of a channel that tell of this machine, with their evidence."""
    told = done(person.get("/v1/discovery/findings"))["findings"]
    return [one for one in told if channel in one["channels"]]


@pytest.mark.req("R026", "R031")
@pytest.mark.usefixtures("helper")
def test_a_stranger_is_found_with_evidence_and_blocked_in_one_step(
    installation: Installation, person: httpx.Client
) -> None:
    asks: dict[str, Any] = {
        "url": f"{installation.gateway}/v1/chat/completions",
        "json": {"model": "m", "messages": []},
    }
    stray = {"user-agent": "ghost-writer/1.2 OpenAI/Python 2.1", "authorization": f"Bearer {'sk-' + 'g' * 40}"}
    assert httpx.post(**asks, headers=stray, timeout=60, trust_env=False).status_code == 401
    sender = {"authorization": f"Bearer {'x' * 40}", "content-type": "application/x-protobuf"}
    telemetry = f"{installation.control}/otlp/v1/traces"
    assert httpx.post(telemetry, headers=sender, content=b"x", timeout=60, trust_env=False).status_code == 401
    until(lambda: bool(found_by(person, "gateway") and found_by(person, "otlp")), "both to be found")
    [ghost], [door] = found_by(person, "gateway"), found_by(person, "otlp")
    assert ghost["name"] == "ghost-writer"
    assert door["confidence"] >= 50
    evidence = done(person.get(f"/v1/discovery/findings/{ghost['id']}"))["evidence"]
    assert "POST /v1/chat/completions, refused" in evidence[0]["what"]
    done(person.post(f"/v1/discovery/findings/{ghost['id']}/block", json={"note": "nobody knows it"}))
    borrowed = stray | {"authorization": f"Bearer {installation.instance('asker')['token']}"}

    def refused() -> bool:
        answer = httpx.post(**asks, headers=borrowed, timeout=60, trust_env=False)
        return answer.status_code == 403 and "ghost-writer was blocked here: nobody knows it" in answer.text

    until(refused, "its next call to be refused by its name")


@pytest.mark.req("R184")
def test_a_card_from_elsewhere_is_imported_granted_and_called(
    installation: Installation, helper: AgentProcess, tmp_path: Path
) -> None:
    told = installation.run("agents", "import-card", helper.url, "--name", "elsewhere")
    assert "not signed" in told
    assert "elsewhere" in installation.run("agents", "external")
    installation.employ(manifest("visitor", "http://127.0.0.1:9/v1", agents=[{"name": "elsewhere"}]))
    started = installation.instance("visitor")

    async def call() -> str:
        headers = {"authorization": f"Bearer {started['token']}"}
        async with httpx.AsyncClient(headers=headers, timeout=30, trust_env=False) as http:
            client = await ClientFactory(ClientConfig(httpx_client=http, streaming=False)).create_from_url(
                f"{started['gateway_url']}/a2a/elsewhere"
            )
            events = [event async for event in client.send_message(message("headers"))]
            return "".join(get_stream_response_text(event) for event in events)

    assert "x-tenure-delegation" not in json.loads(asyncio.run(call()))
    bad = tmp_path / "card.json"
    bad.write_text("{}")
    assert "has no name" in installation.run("agents", "import-card", str(bad), expect=2)
    installation.run("agents", "remove-card", "elsewhere", "--yes")
    assert "No agent elsewhere" in installation.run("agents", "external")
