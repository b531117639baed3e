"""Bad input from callers and from peers: each has its own error in the caller's binding, a bound, and an Event."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from tenure.kernel.snapshot import PeerGrant
from tests.gateway_a2a.conftest import House, peer_fact
from tests.sim.gateway import GatewayProcess
from tests.sim.wild_a2a import WildPeer

SAY = {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "hi"}]}


def rpc(method: Any = "SendMessage", params: Any = None, **more: Any) -> dict[str, Any]:
    return {
        "jsonrpc": "2.0",
        "id": 1,
        "method": method,
        "params": {"message": SAY} if params is None else params,
        **more,
    }


def post(house: House, path: str, body: Any = None, **more: Any) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()

    async def doing() -> httpx.Response:
        async with house.http(**more.pop("who", {})) as http:
            return await http.request(more.pop("method", "POST"), path, content=content, **more)

    return asyncio.run(doing())


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        (b"{", -32700, "not JSON"),
        (b"\xff\xfe", -32700, "not JSON"),
        (b"[" * 100 + b"]" * 100, -32700, "deeper than"),
        (b"[1]", -32600, "Batches"),
        (b"7", -32600, "no JSON-RPC request"),
        (rpc(jsonrpc="1.0"), -32600, "2.0"),
        (rpc(id=None), -32600, "an id"),
        (rpc(id=True), -32600, "an id"),
        (rpc("Dance"), -32601, "no method 'Dance'"),
        (rpc(7), -32601, "no method 7"),
        (rpc(params=[1]), -32602, "must be an object"),
        (rpc(params={}), -32602, "`parts`"),
        (rpc(params={"message": {"parts": "x"}}), -32602, "`parts`"),
        (rpc(params={"message": {**SAY, "task_id": "t"}}), -32602, "must be spelled `taskId`"),
        (rpc(params={"message": {**SAY, "TASKID": "t"}}), -32602, "must be spelled `taskId`"),
        (rpc(params={"message": SAY, "tenant": "other"}), -32602, "tenants"),
        (rpc(params={"message": SAY, "configuration": {"taskPushNotificationConfig": 7}}), -32602, "an object"),
        (rpc("GetTask", {"id": "nope"}), -32001, "no task nope"),
        (rpc("GetTask", {"id": "nope.AAAAAAAAAAAAAAAA"}), -32001, "no task nope"),
        (rpc("tasks/get", {"id": "nope"}), -32001, "no task nope"),
        (rpc("ListTasks", {}), -32602, "one context at a time"),
    ],
)
def test_a_bad_request_is_told_what_is_wrong(house: House, body: Any, code: int, words: str) -> None:
    before = house.agents["helper"].seen()["requests"]
    answer = post(house, "/a2a/helper", body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (200, code)
    assert words in error["message"]

    def told(events: list[dict[str, Any]]) -> bool:
        mine = [event for event in events if event["time"] >= house.since]
        kinds = {event["type"] for event in mine}
        # An unknown task was asked for in a call; the rest never became one.
        return ("call.completed" if code == -32001 else "request.refused") in kinds

    assert house.control.wait(told)
    assert house.agents["helper"].seen()["requests"] == before


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("POST", "/message:send", b"{", 400, "not JSON"),
        ("POST", "/message:send", b"", 400, "JSON object"),
        ("POST", "/message:send", {"message": {**SAY, "task_id": "t"}}, 400, "taskId"),
        ("GET", "/message:send", b"", 404, "GET is not possible"),
        ("GET", "/nowhere", b"", 404, "nothing at"),
        ("GET", "/tasks/nope", b"", 404, "no task nope"),
        ("GET", "/tasks/nope?id=raw", b"", 400, "path alone"),
        ("GET", "/tasks", b"", 400, "one context at a time"),
        ("GET", "/tasks?contextId=a&contextId=b", b"", 400, "twice"),
        ("GET", "/tasks?context_id=a", b"", 400, "must be spelled"),
        ("POST", "/tasks/a%2fb:cancel", b"", 400, "no plain text"),
        ("DELETE", "/tasks/nope/pushNotificationConfigs/c", b"", 404, "no task nope"),
    ],
)
def test_a_bad_request_over_http_is_told_what_is_wrong(  # noqa: PLR0917 (one row of the table)
    house: House, method: str, path: str, body: Any, status: int, words: str
) -> None:
    answer = post(house, f"/a2a/helper{path}", body, method=method)
    assert answer.status_code == status, answer.text
    assert words in answer.json()["error"]["message"]


def test_a_body_that_is_too_large_is_refused(house: House) -> None:
    answer = post(house, "/a2a/helper", b" " * ((16 << 20) + 1))
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == -32600


def test_no_token_a_bad_token_and_an_unknown_agent(house: House) -> None:
    for header in ("", "Bearer x.y.z", "Basic abc"):
        answer = post(house, "/a2a/helper", rpc(), headers={"authorization": header})
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, -32041)
    answer = post(house, "/a2a/nobody", rpc())
    assert "not granted the agent nobody" in answer.json()["error"]["message"]
    assert house.calls()[-1]["data"]["tenure.decision"]["policies"] == ["system/grant"]


@pytest.fixture(scope="module")
def wild() -> Iterator[WildPeer]:
    with WildPeer() as peer:
        yield peer


def meet(house: House, wild: WildPeer, how: str) -> None:
    fact = peer_fact("wild", wild.url, house.gateway.url)
    house.peer(replace(fact, url=f"{wild.url}/{how}", rest_url=f"{wild.url}/{how}"))
    house.publish("asker", PeerGrant("wild"))


@pytest.mark.parametrize(
    ("how", "code", "kind"),
    [
        ("garbage", -32006, "garbage"),
        ("array", -32006, "garbage"),
        ("other", -32006, "garbage"),
        ("neither", -32006, "garbage"),
        ("http", -32006, "garbage"),
        ("redirect", -32006, "garbage"),
        ("error", -32050, "500"),
        ("forbidden", -32050, "403"),
        ("reset", -32050, "reset"),
    ],
)
def test_a_peer_that_misbehaves(house: House, wild: WildPeer, how: str, code: int, kind: str) -> None:
    meet(house, wild, how)
    error = post(house, "/a2a/wild", rpc()).json()["error"]
    assert error["code"] == code, error
    event = house.calls()[-1]
    assert (event["type"], event["status"], event["data"]["error.type"]) == ("call.completed", "flagged", kind)
    if how not in ("other", "neither"):  # which only JSON-RPC can be
        answer = post(house, "/a2a/wild/message:send", {"message": SAY})
        assert answer.status_code == 502
        assert answer.json()["error"]["details"][0]["reason"] in ("INVALID_AGENT_RESPONSE", "UPSTREAM_FAILED")


def test_nobody_listens_there(house: House) -> None:
    house.peer(replace(peer_fact("wild", "http://127.0.0.1:9", house.gateway.url), rest_url=None))
    house.publish("asker", PeerGrant("wild"))
    error = post(house, "/a2a/wild", rpc()).json()["error"]
    assert (error["code"], error["data"][0]["metadata"]["kind"]) == (-32050, "connect_failed")
    error = post(house, "/a2a/wild/message:send", {"message": SAY}).json()["error"]
    assert error["details"][0]["reason"] == "UNSUPPORTED_OPERATION"


@pytest.fixture
def strict(house: House, tmp_path: Path) -> Iterator[House]:
    """The house with a gateway that gives up soon."""
    shutil.copy(house.folder / "gateway.token", tmp_path)
    gateway = house.gateway
    house.gateway = GatewayProcess(tmp_path, house.control.port, upstream_timeout_s=0.5, stream_max_bytes=1 << 20)
    house.settle()
    yield house
    house.gateway.stop()
    house.gateway = gateway


@pytest.mark.parametrize(("how", "kind"), [("forever", "too_large"), ("endless", "too_large"), ("broken", "garbage")])
def test_a_stream_without_end_or_sense_is_cut(strict: House, wild: WildPeer, how: str, kind: str) -> None:
    house = strict
    meet(house, wild, how)

    async def doing() -> bytes:
        last = b""
        async with house.http() as http, http.stream("POST", "/a2a/wild", json=rpc("SendStreamingMessage")) as answer:
            with contextlib.suppress(httpx.RemoteProtocolError):
                async for chunk in answer.aiter_bytes():
                    last = (last + chunk)[-2000:]
        return last

    last = asyncio.run(doing())
    error = json.loads(last.rsplit(b"data: ", 1)[1])["error"]
    assert error["data"][0]["metadata"]["kind"] == kind
    assert house.calls()[-1]["data"]["error.type"] == kind


def test_a_peer_that_hangs_is_given_up(strict: House, wild: WildPeer) -> None:
    meet(strict, wild, "hang")
    error = post(strict, "/a2a/wild", rpc()).json()["error"]
    assert (error["code"], error["data"][0]["metadata"]["kind"]) == (-32051, "timeout")
    meet(strict, wild, "quiet")

    async def doing() -> bytes:
        said = b""
        async with strict.http() as http, http.stream("POST", "/a2a/wild", json=rpc("SendStreamingMessage")) as sent:
            with contextlib.suppress(httpx.RemoteProtocolError):
                async for chunk in sent.aiter_bytes():
                    said += chunk
        return said

    assert b"-32051" in asyncio.run(doing())
