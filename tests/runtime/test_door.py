"""The door of an agent's process: what passes, what does not, and a token that changes behind it."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest

from demo.processes import Process, until
from tenure.runtime.door import Door
from tests.sim.installation import COMMAND
from tests.sim.revocations import House, house


class _Wire(BaseHTTPRequestHandler):
    """Answers with what arrived, in chunks, and remembers it."""

    protocol_version = "HTTP/1.1"
    server: Any

    def do_POST(self) -> None:
        if self.headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
        self.server.seen.append((self.path, dict(self.headers.items()), body))
        self.send_response(200)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for piece in (body[:5], body[5:]):
            if piece:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    do_GET = do_POST  # noqa: N815 (http.server finds it by this name)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (http.server's name)
        pass


@pytest.fixture(scope="module")
def wire() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Wire)
    server.seen = []  # type: ignore[attr-defined]  # (what the handler remembers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def door(wire: ThreadingHTTPServer) -> Door:
    wire.seen.clear()  # type: ignore[attr-defined]  # (as above)
    url = f"http://127.0.0.1:{wire.server_address[1]}"
    return Door(url, url, "token-1")


def _seen(wire: ThreadingHTTPServer) -> tuple[str, dict[str, str], bytes]:
    found: tuple[str, dict[str, str], bytes] = wire.seen[-1]  # type: ignore[attr-defined]  # (as above)
    return found


def test_the_pass_becomes_the_token_wherever_a_client_puts_its_key(door: Door, wire: ThreadingHTTPServer) -> None:
    with httpx2.Client(base_url=door.gateway, trust_env=False) as http:
        for name, shown, passed in (
            ("authorization", f"Bearer {door.key}", "Bearer token-1"),
            ("x-api-key", door.key, "token-1"),
            ("x-goog-api-key", door.key, "token-1"),
        ):
            answer = http.post("/v1/x?a=1&b", content=b"body of it", headers={name: shown})
            assert (answer.status_code, answer.content) == (200, b"body of it")
            path, headers, _ = _seen(wire)
            assert path == "/v1/x?a=1&b"
            assert {key.lower(): value for key, value in headers.items()}[name] == passed
        http.post(f"/v1beta/m?key={door.key}&alt=sse")
        assert _seen(wire)[0] == "/v1beta/m?key=token-1&alt=sse"
        door.token = "token-2"
        http.post("/v1/x", headers={"x-api-key": door.key})
        assert _seen(wire)[1]["x-api-key"] == "token-2", "the same connection, the newer token"
    assert door.key not in repr(wire.seen)  # type: ignore[attr-defined]  # (as above)


def test_bodies_of_any_framing_pass_as_they_are(door: Door, wire: ThreadingHTTPServer) -> None:
    large = bytes(range(256)) * 8192
    headers = {"x-api-key": door.key}
    with httpx2.Client(base_url=door.gateway, trust_env=False) as http:
        assert http.post("/", content=large, headers=headers).content == large
        pieces = [large[at : at + 70_001] for at in range(0, len(large), 70_001)]
        assert http.post("/", content=iter(pieces), headers=headers).content == large
        assert _seen(wire)[2] == large
        assert http.get("/v1/models", headers=headers).content == b""


def test_requests_that_wait_on_one_connection_are_answered_in_their_order(door: Door) -> None:
    host, port = door.gateway.removeprefix("http://").split(":")
    head = f"POST /%d HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {door.key}\r\ncontent-length: 2\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=60) as raw:
        raw.sendall(b"".join((head % number).encode() + b"%02d" % number for number in range(20)))
        read = b""
        while read.count(b"0\r\n\r\n") < 20:
            read += raw.recv(65536)
    assert [read.find(b"2\r\n%02d\r\n" % number) for number in range(20)] == sorted(
        read.find(b"2\r\n%02d\r\n" % number) for number in range(20)
    )


@pytest.mark.parametrize("shown", [{}, {"authorization": "Bearer token-1"}, {"x-api-key": "tnp_wrong"}])
def test_who_has_no_pass_stays_outside(door: Door, wire: ThreadingHTTPServer, shown: dict[str, str]) -> None:
    answer = httpx2.post(f"{door.gateway}/v1/x", content=b"{}", headers=shown, trust_env=False)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "no_pass")
    assert wire.seen == []  # type: ignore[attr-defined]  # (as above)


def test_spans_pass_to_the_control_plane_and_nothing_else(door: Door, wire: ThreadingHTTPServer) -> None:
    headers = {"authorization": f"Bearer {door.key}"}
    assert httpx2.post(f"{door.control}/otlp/v1/traces", headers=headers, trust_env=False).status_code == 200
    assert httpx2.post(f"{door.control}/v1/agents", headers=headers, trust_env=False).status_code == 404
    assert [path for path, _, _ in wire.seen] == ["/otlp/v1/traces"]  # type: ignore[attr-defined]  # (as above)


def test_what_is_no_request_and_a_gateway_that_is_not_there_are_said() -> None:
    door = Door("http://127.0.0.1:1", "http://127.0.0.1:1", "token")
    host, port = door.gateway.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as raw:
        raw.sendall(b"\x16\x03\x01\x00\xff")
        assert raw.recv(64).startswith(b"HTTP/1.1 400 ")
    with socket.create_connection((host, int(port)), timeout=60) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\n" + b"x: " + b"y" * 70_000 + b"\r\n\r\n")
        assert raw.recv(64).startswith(b"HTTP/1.1 400 ")
    answer = httpx2.get(door.gateway, headers={"x-api-key": door.key}, trust_env=False)
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "gateway_unreachable")


_PROGRAM = """
import json, os, sys, time
import openai
client = openai.OpenAI(max_retries=0)
def ask(stream=False):
    messages = [{"role": "user", "content": "hello"}]
    if not stream:
        return client.chat.completions.create(model="echo", messages=messages).choices[0].message.content
    pieces = client.chat.completions.create(model="slow", messages=messages, stream=True)
    return "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
print(json.dumps({"env": dict(os.environ), "plain": ask(), "stream": ask(True)}), flush=True)
while True:
    time.sleep(0.05)
    try:
        print(ask(), flush=True)
    except openai.AuthenticationError:
        print("refused", flush=True)
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with house(tmp_path_factory.mktemp("door"), gateways=1) as found:
        found.employ("clerk")
        yield found


@pytest.mark.req("R009")
def test_a_process_holds_no_token_and_goes_on_when_it_is_replaced(running: House, tmp_path: Path) -> None:
    program = tmp_path / "agent.py"
    program.write_text(_PROGRAM)
    process = Process((*COMMAND, "run", "--agent", "clerk", "--", sys.executable, str(program)), running.tenure.env)
    try:
        until(lambda: bool(process.lines), "the first answers", 30)
        told = json.loads(process.lines[0])
        assert told["plain"] == told["stream"] == "You said: hello"
        env = told["env"]
        assert not any(value.count(".") == 2 and value.startswith("ey") for value in env.values()), "a token"
        assert env["OPENAI_API_KEY"] == env["TENURE_AGENT_TOKEN"] == env["ANTHROPIC_API_KEY"]
        gateway = running.tenure.gateway
        direct = httpx2.get(
            f"{gateway}/v1/models", headers={"authorization": f"Bearer {env['OPENAI_API_KEY']}"}, trust_env=False
        )
        assert direct.status_code == 401, "the pass opens this door and nothing else"
        assert running.revoke("key", running.signs())["settled"]["complete"]
        read = len(process.lines)
        until(lambda: "You said: hello" in process.lines[read + 3 :], "answers with a newer token", 20)
    finally:
        process.stop()
