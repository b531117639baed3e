"""Endpoints that no codec knows, and requests at the edge of the wires, through a real gateway process."""

from __future__ import annotations

import http.client
import json
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest

from tenure.kernel.snapshot import ModelFact, Upstream
from tests.sim.gateway import agent_fact

FORM = 'multipart/form-data; boundary="x"'


@pytest.fixture
def house(shared_house: Any) -> Any:
    """One gateway for all of this file."""
    return shared_house


def part(name: str, value: str, more: str = "") -> str:
    return f'--x\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n{value}\r\n'


def send(house: Any, method: str, path: str, body: bytes = b"", token: str | None = None, **headers: str) -> Any:
    """(status, content type, body) of a request; names in ``headers`` with ``_`` for ``-``."""
    where = urlsplit(house.gateway.url)
    connection = http.client.HTTPConnection(str(where.hostname), where.port, timeout=20)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if token is not None:
        sent["authorization"] = f"Bearer {token}"
    connection.request(method, path, body, sent)
    answer = connection.getresponse()
    found = answer.status, answer.getheader("content-type"), answer.read()
    connection.close()
    return found


@pytest.mark.req("R090")
def test_an_endpoint_that_no_codec_knows_is_decided_captured_and_passed_unchanged(house: Any) -> None:
    token, body = house.control.token("clerk"), bytes(range(256))
    status, kind, back = send(
        house, "POST", "/v1/audio/odd?speed=2", body, token, content_type="application/x-odd", x_own="1"
    )
    assert (status, kind, back) == (200, "application/x-odd", body)
    seen = house.provider.seen()
    assert (seen["method"], seen["path"]) == ("POST", "/v1/audio/odd?speed=2")
    assert (seen["headers"]["authorization"], seen["headers"]["x-own"]) == ("Bearer provider-secret", "1")
    event = house.calls()[0]
    assert (event["type"], event["status"]) == ("call.completed", "allowed")
    data = event["data"]
    assert (data["gen_ai.operation.name"], data["tenure.resource"]) == ("pass_through", "echo")
    assert (data["http.request.method"], data["url.path"]) == ("POST", "/v1/audio/odd")
    assert (data["http.request.body.size"], data["tenure.request.body.encoding"]) == (256, "base64")
    assert data["tenure.response.body"] == data["tenure.request.body"]


def test_what_is_captured_of_it_is_bounded(house: Any) -> None:
    body = "é".encode() * 3_000_000
    assert send(house, "POST", "/v1/odd", body, house.control.token("clerk"))[2] == body
    data = house.calls()[0]["data"]
    assert data["http.response.body.size"] == len(body)
    assert data["tenure.response.body"] == data["tenure.request.body"] == "é" * 32_768
    assert data["tenure.capture.truncated"] is True


@pytest.mark.parametrize(
    ("path", "body", "kind", "model"),
    [
        ("/v1/completions", b'{"model": "forbidden", "prompt": "x"}', "application/json", "forbidden"),
        ("/v1/completions", b'{"model": "never-granted"}', "application/json", "never-granted"),
        ("/v1beta/models/never-granted:predict", b"{}", "application/json", "never-granted"),
        ("/v1/audio/transcriptions", (part("model", "forbidden") + "--x--").encode(), FORM, "forbidden"),
        (
            "/v1/audio/transcriptions",
            (part("model", "forbidden", "\r\nContent-Type: text/plain") + part("a", "b") + "--x--").encode(),
            FORM,
            "forbidden",
        ),
    ],
)
def test_it_is_decided_as_the_model_that_it_names(house: Any, path: str, body: bytes, kind: str, model: str) -> None:
    before = house.provider.seen()["requests"]
    assert send(house, "POST", path, body, house.control.token("clerk"), content_type=kind)[0] == 403
    event = house.calls()[0]
    assert (event["type"], event["data"]["tenure.resource"]) == ("call.refused", model)
    assert house.provider.seen()["requests"] == before


@pytest.mark.req("R054")
def test_an_agent_without_a_model_of_that_provider_is_denied(house: Any) -> None:
    fact = agent_fact(house.provider.url, ())
    house.control.agent(replace(fact, models=(ModelFact("echo", Upstream(house.provider.url), "anthropic"),)))
    house.settle()
    token = house.control.token("clerk")
    status, _, body = send(house, "GET", "/v1/files", b"", token)
    assert (status, json.loads(body)["error"]["code"]) == (403, "denied_grant")
    assert house.calls()[0]["data"]["tenure.resource"] == "GET /v1/files"
    assert send(house, "GET", "/v1/files", x_api_key=token)[0] == 200  # as a client of Anthropic's says it


def test_a_policy_can_name_the_endpoint(house: Any) -> None:
    rule = """@id("no-files")
    forbid (principal, action == Action::"call_model", resource)
    when { context.strings.hasTag("operation") && context.strings.getTag("operation") == "DELETE /v1/files/f1" };"""
    house.control.policies((*house.control.snapshot.workspaces["default"].policies, ("files.cedar", rule)))
    house.settle()
    token = house.control.token("clerk")
    assert send(house, "DELETE", "/v1/files/f1", b"", token)[0] == 403
    assert send(house, "DELETE", "/v1/files/f2", b"", token)[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/v1/../admin",
        "/v1/%2e%2e/admin",
        "/v1/a/..%2f..%2fadmin",
        "/v1//admin",
        "/v1/./x",
        "/v1/a%5c..%5cb",
        "/v1/%252e%252e/x",
        "/v1/x%00",
    ],
)
def test_no_path_leads_past_the_upstreams_address(house: Any, path: str) -> None:
    before = house.provider.seen()["requests"]
    status, _, body = send(house, "POST", path, b"{}", house.control.token("clerk"))
    assert (status, json.loads(body)["error"]["code"]) == (400, "bad_path")
    assert house.provider.seen()["requests"] == before


def test_the_key_in_a_query_is_the_agents_and_stays_here(house: Any) -> None:
    token = house.control.token("clerk")
    asked = json.dumps({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}).encode()
    path = f"/v1beta/models/echo:generateContent?a=1&key={token}&b=2"
    status, _, body = send(house, "POST", path, asked, content_type="application/json")
    assert (status, json.loads(body)["responseId"]) == (200, "resp-1")
    seen = house.provider.seen()
    assert seen["path"] == "/v1beta/models/echo:generateContent?a=1&b=2"
    assert token not in json.dumps(seen)
    assert seen["headers"]["x-goog-api-key"] == "provider-secret"


def test_a_gemini_stream_without_sse_is_an_array_that_passes_as_it_comes(house: Any) -> None:
    asked = json.dumps({"contents": [{"parts": [{"text": "one two three four"}]}]}).encode()
    token = house.control.token("clerk")
    status, kind, body = send(house, "POST", "/v1beta/models/echo:streamGenerateContent", asked, x_goog_api_key=token)
    assert (status, kind, len(json.loads(body))) == (200, "application/json", 4)
    data = house.calls()[0]["data"]
    assert data["gen_ai.output.messages"][0]["parts"][-1]["content"] == "You said: one two three four"
    assert data["gen_ai.usage.output_tokens"] == 12


@pytest.mark.parametrize(
    ("path", "header", "body", "place"),
    [
        ("/v1/messages", "x-api-key", b'{"model": 5}', ("error", "type", "invalid_request_error")),
        ("/v1/messages", "x-api-key", b"{", ("error", "code", "bad_json")),
        ("/v1/responses", "authorization", b'{"model": "echo", "input": 5}', ("error", "code", "bad_request")),
        ("/v1/embeddings", "authorization", b'{"model": "echo"}', ("error", "code", "bad_request")),
        ("/v1beta/models/echo:generateContent", "x-goog-api-key", b"{}", ("error", "status", "INVALID_ARGUMENT")),
        (
            "/v1beta/models/echo:generateContent",
            "x-goog-api-key",
            b'{"contents": [], "model": "models/forbidden"}',
            ("error", "status", "INVALID_ARGUMENT"),
        ),
        ("/v1/completions", "authorization", b"{" * 100, ("error", "code", "bad_json")),
    ],
)
def test_a_bad_request_is_refused_in_the_callers_protocol(
    house: Any, path: str, header: str, body: bytes, place: tuple[str, str, str]
) -> None:
    token = house.control.token("clerk")
    sent = {header.replace("-", "_"): f"Bearer {token}" if header == "authorization" else token}
    status, _, back = send(house, "POST", path, body, content_type="application/json", **sent)
    assert (status, json.loads(back)[place[0]][place[1]]) == (400, place[2])


def test_one_model_can_be_asked_for(house: Any) -> None:
    token = house.control.token("clerk")
    assert json.loads(send(house, "GET", "/v1/models/echo", b"", token)[2])["object"] == "model"
    assert json.loads(send(house, "GET", "/v1/models/echo", x_api_key=token)[2])["type"] == "model"
    assert json.loads(send(house, "GET", "/v1beta/models/echo", x_goog_api_key=token)[2])["name"] == "models/echo"
    assert send(house, "GET", "/v1/models/never-granted", b"", token)[0] == 404


def test_what_is_no_api_is_told_so(house: Any) -> None:
    assert send(house, "POST", "/v2/chat")[0] == 404
    assert send(house, "POST", "/v1")[0] == 404
    assert send(house, "TRACE", "/v1/x", b"", house.control.token("clerk"))[0] == 405
