"""Two agents of the a2a-sdk under a whole installation: from manifests to signed cards, a call, and its trace."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Iterator
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

SKILL = {"id": "talk", "name": "Talk", "description": "Does what it is told", "tags": ["test"]}


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with Installation(tmp_path_factory.mktemp("two-agents") / "data") as running:
        yield running


@pytest.fixture
def helper(tmp_path: Path) -> Iterator[AgentProcess]:
    process = AgentProcess("helper", free_port(), {}, tmp_path / "helper.log")
    yield process
    process.stop()


def keys(url: str) -> dict[str, Any]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=60) as response:
        return {key["kid"]: PyJWK(key) for key in json.load(response)["keys"]}


@pytest.mark.req("R184")
@pytest.mark.req("R186")
@pytest.mark.req("R085")
def test_two_agents_from_their_manifests_to_one_trace(installation: Installation, helper: AgentProcess) -> None:
    served = {"url": helper.url, "rest_url": f"{helper.url}/rest", "skills": [SKILL], "streaming": True}
    installation.employ(manifest("helper", "http://127.0.0.1:9/v1", a2a=served))
    installation.employ(manifest("asker", "http://127.0.0.1:9/v1", agents=[{"name": "helper"}]))
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

    async def known() -> int:
        headers = {"authorization": f"Bearer {started['token']}"}
        async with httpx.AsyncClient(headers=headers, timeout=30, trust_env=False) as http:
            return (await http.get(f"{gateway}/a2a/helper/.well-known/agent-card.json")).status_code

    until(lambda: asyncio.run(known()) == 200, "the card to be published")
    assert asyncio.run(call()) == "hi"
    assert asked
    with installation.client() as client:

        def calls() -> list[dict[str, Any]]:
            found = client.get("/v1/events", dict[str, Any], limit=100)["events"]
            return [told["event"] for told in found if told["event"]["type"] == "call.completed"]

        until(lambda: bool(calls()), "the call to be recorded")
        event = calls()[0]
        trace = client.get(f"/v1/traces/{event['trace_id']}", dict[str, Any])
    assert (event["agent"], event["data"]["tenure.resource"]) == ("asker", "helper")
    assert any(span["agent"] == "asker" and span["name"] == "invoke_agent helper" for span in trace["spans"])


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
