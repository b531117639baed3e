"""A secret is planted wherever an agent can put one; no file that Tenure keeps holds it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

from demo.processes import until
from tests.sim.gateway import ProviderProcess
from tests.sim.installation import Installation
from tests.sim.manifests import manifest
from tests.sim.mcp_servers import files_command

CANARY = "AKIA" + "CANARYCANARY2345"
CARD = "4111 1111 1111 1111"
SAYS = f"my key is {CANARY}, my card {CARD}, write to ada@analytical.example"
NS = 1_767_225_600_000_000_000


@pytest.fixture
def provider() -> Iterator[ProviderProcess]:
    with ProviderProcess() as process:
        yield process


def _speak_to_models(tenure: Installation, headers: dict[str, str]) -> None:
    """Prompts, answers whole and streamed, on two wires; a model, a session, a user, a path and bytes named by it."""
    messages = [{"role": "system", "content": f"You are {CANARY}"}, {"role": "user", "content": SAYS}]
    body: dict[str, Any] = {"model": "scripted-clerk", "messages": messages, "user": CANARY}
    named = {**headers, "x-tenure-session": f"session {CANARY}"}
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "description": CANARY}}
    for path, sent, head in (
        ("/v1/chat/completions", body, headers),
        ("/v1/chat/completions", {**body, "stream": True, "tools": [tool]}, named),
        ("/v1/chat/completions", {**body, "model": CANARY}, headers),
        (
            "/v1/messages",
            {"model": "scripted-clerk", "max_tokens": 9, "system": SAYS, "messages": messages[1:]},
            headers,
        ),
        ("/v1/embeddings", {"model": "scripted-clerk", "input": [SAYS]}, headers),
        (f"/v1/files?name={CANARY}", {"model": "scripted-clerk", "purpose": SAYS}, headers),
    ):
        httpx2.post(f"{tenure.gateway}{path}", json=sent, headers=head, timeout=30)


def _call_tools(tenure: Installation, headers: dict[str, str]) -> None:
    """Arguments, results, arguments of the wrong type, an unknown tool, an unknown method, and a call that is held."""
    calls: list[tuple[str, dict[str, Any]]] = [
        ("files__write_file", {"name": "note.txt", "text": SAYS}),
        ("files__read_file", {"name": "note.txt"}),
        ("files__read_file", {"name": {"not": CANARY}}),
        ("files__read_file", {"name": f"no such file {CANARY}"}),
        (f"files__{CANARY}", {}),
        ("files__list_files", {"why": CANARY}),
    ]
    for number, (name, arguments) in enumerate(calls):
        params = {"name": name, "arguments": arguments, "_meta": {"note": CANARY}}
        message = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}
        more = {"accept": "application/json", "prefer": "wait=0", "mcp-protocol-version": "2025-11-25"}
        httpx2.post(f"{tenure.gateway}/mcp", json=message, headers={**headers, **more}, timeout=30)


def _send_spans(tenure: Installation, headers: dict[str, str]) -> None:
    """Attributes, a status, an event and a resource of the agent's own telemetry."""
    attributes = [{"key": "gen_ai.input.messages", "value": {"stringValue": SAYS}}]
    span = {
        "traceId": "0" * 30 + "11",
        "spanId": "0" * 14 + "22",
        "name": f"step {CANARY}",
        "startTimeUnixNano": str(NS),
        "endTimeUnixNano": str(NS + 1000),
        "attributes": attributes,
        "status": {"code": 2, "message": SAYS},
        "events": [{"name": "log", "timeUnixNano": str(NS), "attributes": attributes}],
    }
    body = {"resourceSpans": [{"resource": {"attributes": attributes}, "scopeSpans": [{"spans": [span]}]}]}
    answer = httpx2.post(f"{tenure.control}/otlp/v1/traces", json=body, headers=headers, timeout=30)
    assert answer.status_code == 200, answer.text


def _events(tenure: Installation) -> list[dict[str, Any]]:
    with tenure.client() as client:
        found = client.get("/v1/events?limit=1000", dict[str, Any])["events"]
    return [one["event"] for one in found]


@pytest.mark.req("R092", "R094")
def test_a_planted_secret_is_in_no_file_that_is_kept(tmp_path: Path, provider: ProviderProcess) -> None:
    folder, files = tmp_path / "data", tmp_path / "files"
    files.mkdir()
    servers = {"files": {"command": [*files_command(files)]}}
    tools = [{"name": "files/read_file"}, {"name": "files/write_file"}]
    tools.append({"name": "files/list_files", "autonomy": "approve"})
    with Installation(folder, {"TENURE_SANDBOX": "off", "TENURE_LOG_LEVEL": "debug"}) as tenure:
        tenure.employ(manifest("clerk", provider.url, servers=servers, tools=tools))
        headers = {"authorization": f"Bearer {tenure.instance('clerk')['token']}"}
        _speak_to_models(tenure, headers)
        _call_tools(tenure, headers)
        _send_spans(tenure, headers)
        until(
            lambda: sum(event["type"].startswith("call.") for event in _events(tenure)) >= 12, "the calls on record", 20
        )
        events = _events(tenure)
        logged = "\n".join(tenure.up.lines if tenure.up else [])
    assert (files / "note.txt").read_text() == SAYS, "what goes to a tool is not redacted unless a policy says so"

    told = json.dumps(events)
    assert CANARY not in told
    assert CARD not in told
    assert "[redacted:secret/aws-access-key]" in told
    assert "ada@analytical.example" in told, "contact data is noted, and kept"
    noted = {(row["rule"], row["place"]) for event in events for row in event["data"].get("tenure.findings", [])}
    places = ("prompt", "answer", "arguments", "result", "record")
    assert {("secret/aws-access-key", place) for place in places} <= noted
    asked = next(event for event in events if event["type"] == "approval.requested")
    assert asked["data"]["arguments"] == {"why": "[redacted:secret/aws-access-key]"}
    flagged = [event for event in events if "tenure.findings" in event["data"]]
    assert {event["status"] for event in flagged} <= {"flagged", "violation"}

    assert CANARY not in logged
    kept = [path for path in folder.rglob("*") if path.is_file()]
    assert {"control.db", "traces.duckdb"} <= {path.name for path in kept}
    for path in kept:
        with suppress(PermissionError):
            raw = path.read_bytes()
            assert CANARY.encode() not in raw, path
            assert CARD.encode() not in raw, path
