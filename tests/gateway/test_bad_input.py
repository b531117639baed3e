"""Everything that can be wrong with a call of a model API, on every wire: its own error in the caller's protocol, an
Event, and bounds in time and memory."""

from __future__ import annotations

import http.client
import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tenure.kernel.snapshot import ModelFact, Timeouts, Upstream
from tests.gateway.conftest import House, housed
from tests.sim.gateway import ProviderProcess

MODELS = ("echo", "reset", "garbage", "junk", "redirect", "half", "hang", "stall", "endless")
NOWHERE = "http://127.0.0.1:9/v1"
BODY_MAX = 1 << 20
STREAM_MAX = 24 << 20
QUICK = Timeouts(first_byte_s=1.0, idle_s=0.5)


@dataclass(frozen=True)
class Wire:
    """One wire: where its calls go, in which header its key, and what a call is."""

    path: str
    key: str
    body: dict[str, Any]
    stream: str = ""

    def request(self, model: str, *, stream: bool = False) -> tuple[str, dict[str, Any]]:
        """(path, body) of a good request."""
        path = (self.stream if stream else self.path).replace("MODEL", model)
        body = dict(self.body) if "MODEL" in self.path else {**self.body, "model": model}
        return path, {**body, "stream": True} if stream and "MODEL" not in self.path else body

    def error(self, value: Any) -> tuple[str, str]:
        """(code, message) of an error, as the clients of this wire find them."""
        error = value["error"]
        if self.key == "x-goog-api-key":
            assert isinstance(error["code"], int)
            assert isinstance(error["status"], str)
            return error["details"][0]["reason"].lower(), error["message"]
        if self.key == "x-api-key":
            assert value["type"] == "error"
        assert isinstance(error["type"], str)
        return error["code"], error["message"]


SAY = [{"role": "user", "content": "hello there"}]
CONTENTS = [{"parts": [{"text": "hello there"}]}]
GEMINI = "/v1beta/models/MODEL"
WIRES = {
    "chat": Wire("/v1/chat/completions", "authorization", {"messages": SAY}, "/v1/chat/completions"),
    "responses": Wire("/v1/responses", "authorization", {"input": "hello there"}, "/v1/responses"),
    "embeddings": Wire("/v1/embeddings", "authorization", {"input": "hello there"}),
    "messages": Wire("/v1/messages", "x-api-key", {"messages": SAY, "max_tokens": 9}, "/v1/messages"),
    "gemini": Wire(
        f"{GEMINI}:generateContent", "x-goog-api-key", {"contents": CONTENTS}, f"{GEMINI}:streamGenerateContent?alt=sse"
    ),
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, provider: ProviderProcess) -> Iterator[House]:
    """One gateway for the whole table."""
    folder: Path = tmp_path_factory.mktemp("bad")
    settings = {"body_max_bytes": BODY_MAX, "stream_max_bytes": STREAM_MAX}
    with housed(folder, provider, **settings) as built:
        upstream = Upstream(provider.url, "PROVIDER_KEY")
        facts = [ModelFact(name, upstream, timeouts=QUICK) for name in MODELS]
        facts.append(ModelFact("gone", Upstream(NOWHERE)))
        facts.append(ModelFact("drip", upstream, timeouts=Timeouts(total_s=1.0)))
        built.publish_models(*facts)
        yield built


@pytest.fixture(params=WIRES)
def wire(request: pytest.FixtureRequest) -> Wire:
    """Each wire."""
    return WIRES[request.param]


def send(house: House, wire: Wire, path: str, body: bytes, token: str | None = "", **headers: str) -> Any:
    """(status, headers, body, whether it came whole). ``token``: the agent's when empty, none when None."""
    key = house.control.token("clerk") if token == "" else token
    sent = {"content-type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    if key is not None:
        sent[wire.key] = f"Bearer {key}" if wire.key == "authorization" else key
    where = urlsplit(house.gateway.url)
    with closing(http.client.HTTPConnection(str(where.hostname), where.port, timeout=15)) as connection:
        connection.request("POST", path, body, sent)
        answer = connection.getresponse()
        try:
            return answer.status, answer.headers, answer.read(), True
        except http.client.IncompleteRead as error:
            return answer.status, answer.headers, error.partial, False


def newest(house: House, kind: str, seen: int) -> dict[str, Any]:
    """The Event of that type that came after ``seen`` of them."""
    found: list[dict[str, Any]] = house.control.wait(
        lambda events: (of_kind := [event for event in events if event["type"] == kind])[seen:] and of_kind
    )
    assert len(found) == seen + 1
    return found[-1]


def deep(wire: Wire) -> bytes:
    return json.dumps({**wire.request("echo")[1], "metadata": json.loads("[" * 70 + "]" * 70)}).encode()


REQUESTS: Any = {
    "too large": (b'{"a": "' + b"x" * BODY_MAX + b'"}', {}, 413, "body_too_large", "longer than"),
    "too deep": (deep, {}, 400, "json_too_deep", "64 levels"),
    "not JSON": (b"{nonsense", {}, 400, "bad_json", "is not JSON"),
    "not an object": (b"[1, 2]", {}, 400, "bad_request", "must be a JSON object"),
    "empty": (b"", {}, 400, "bad_json", "is not JSON"),
    "wrong type": (b"{}", {"content_type": "text/plain"}, 415, "not_json", "text/plain"),
    "compressed": (b"\x1f\x8b", {"content_encoding": "gzip"}, 415, "encoded_body", "compressed"),
    "unknown token": (b"{}", {"token": "guess"}, 401, None, "(?i)token"),
    "no token": (b"{}", {"token": None}, 401, "no_token", "No agent token"),
    "wrong fields": (
        b'{"model": "echo", "messages": 5, "input": 5, "contents": 5}', {}, 400, "bad_request", "must be",
    ),
}  # fmt: skip


@pytest.mark.req("R079", "R110")
@pytest.mark.parametrize("case", REQUESTS)
def test_a_request_that_is_no_call(house: House, wire: Wire, case: str) -> None:
    make, headers, status, code, words = REQUESTS[case]
    kind = "request.refused"
    seen, reached = len(house.control.of_type(kind)), house.provider.seen()["requests"]
    begun = time.monotonic()
    told, _, body, _ = send(
        house, wire, wire.request("echo")[0], make if isinstance(make, bytes) else make(wire), **headers
    )
    assert time.monotonic() - begun < 5
    said, message = wire.error(json.loads(body))
    assert (told, said) == (status, code or said)
    assert re.search(words, message), message
    event = newest(house, kind, seen)
    data = event["data"]
    assert (data["error.type"], data["http.response.status_code"]) == (said, status)
    assert data["url.path"] == wire.request("echo")[0]
    known = case not in ("too large", "unknown token", "no token")
    assert (event["agent"], event["session"]) == (("clerk", "s1") if known else (None, None))
    assert house.provider.seen()["requests"] == reached


@pytest.mark.parametrize("model", ["never-granted", "x" * 300])
def test_an_unknown_model(house: House, wire: Wire, model: str) -> None:
    seen = len(house.control.of_type("call.refused"))
    path, body = wire.request(model)
    status, _, answer, _ = send(house, wire, path, json.dumps(body).encode())
    assert (status, wire.error(json.loads(answer))[0]) == (403, "denied_grant")
    assert newest(house, "call.refused", seen)["data"]["gen_ai.request.model"] == model


UPSTREAMS = {
    "gone": (502, "connect_failed", "cannot connect"),
    "reset": (502, "reset", "closed the connection"),
    "garbage": (502, "garbage", "does not speak HTTP"),
    "junk": (502, "garbage", "something else than a JSON object"),
    "redirect": (502, "garbage", "redirects"),
    "hang": (504, "timeout", "did not answer within 1 s"),
    "stall": (504, "timeout", "sent nothing for 0.5 s"),
    "endless": (502, "too_large", "longer than"),
    "drip": (504, "too_long", "not whole within 1 s"),
}


@pytest.mark.req("R079")
@pytest.mark.parametrize("model", UPSTREAMS)
def test_an_upstream_that_fails(house: House, wire: Wire, model: str) -> None:
    status, kind, words = UPSTREAMS[model]
    seen = len(house.control.of_type("call.completed"))
    path, body = wire.request(model)
    begun = time.monotonic()
    told, _, answer, _ = send(house, wire, path, json.dumps(body).encode())
    assert time.monotonic() - begun < 5
    code, message = wire.error(json.loads(answer))
    assert (told, code) == (status, f"upstream_{kind}")
    assert words in message
    event = newest(house, "call.completed", seen)
    assert (event["status"], event["data"]["error.type"]) == ("flagged", kind)
    assert event["data"]["http.response.status_code"] == status


@pytest.mark.req("R079")
@pytest.mark.parametrize("model", ["stall", "endless", "drip"])
@pytest.mark.parametrize("name", [name for name, wire in WIRES.items() if wire.stream])
def test_a_stream_that_fails(house: House, name: str, model: str) -> None:
    _, kind, words = UPSTREAMS[model]
    wire = WIRES[name]
    seen = len(house.control.of_type("call.completed"))
    path, body = wire.request(model, stream=True)
    before = memory(house)
    told, headers, answer, whole = send(house, wire, path, json.dumps(body).encode())
    assert (told, headers["content-type"], whole) == (200, "text/event-stream", False)
    last = json.loads(answer.rpartition(b"data: ")[2])
    message = last["message"] if name == "responses" else wire.error(last)[1]
    assert words in message
    assert len(answer) <= STREAM_MAX + 4096
    event = newest(house, "call.completed", seen)
    assert (event["data"]["error.type"], event["status"]) == (kind, "flagged")
    assert memory(house) - before < 64 << 20
    assert wire.error(json.loads(send(house, wire, wire.request("never-granted")[0], b"{}")[2]))  # it still answers


def memory(house: House) -> int:
    """The gateway's resident memory, in bytes."""
    status = Path(f"/proc/{house.gateway.child.pid}/status").read_text()
    return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


def test_a_loop_of_bad_requests_does_not_flood_the_record(house: House) -> None:
    where = urlsplit(house.gateway.url)
    seen = len(house.control.of_type("request.refused"))
    with socket.create_connection((str(where.hostname), where.port or 0)) as link:
        for _ in range(300):
            link.sendall(b"POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: loop\r\ncontent-length: 2\r\n\r\n{}")
            head = b""
            while b"\r\n\r\n" not in head:
                head += link.recv(65536)
    send(house, WIRES["chat"], "/v1/chat/completions", b"[]")
    events = house.control.wait(
        lambda events: (
            (new := [event for event in events if event["type"] == "request.refused"][seen:])
            and new[-1]["agent"] == "clerk"
            and new
        )
    )
    assert len(events) <= 30
