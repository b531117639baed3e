"""The person in front of an agent is shown the page of a held call by their own client, and decides there or nowhere:
the SDK's client in both lives of the protocol, a real server, the real pipeline."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import httpx2
import mcp_types as types
import msgspec
import pytest
import uvloop
from mcp import Client as McpClient
from mcp.client.streamable_http import streamable_http_client

from tenure.gateway.mcp import codec
from tenure.gateway.mcp.asking import Asking, restored
from tenure.gateway.mcp.codec import Message
from tenure.gateway.mcp.line import Line
from tenure.kernel.snapshot import ApprovalFact, ServerFact
from tenure.kernel.values import Principal
from tests.sim import mcp_servers as sim
from tests.sim.mcp_gateway import POLICY, Site, token

MODES = pytest.mark.parametrize("mode", ["legacy", "auto"])
ANN, BOB = "ann@example.com", "bob@example.com"
FOUR_EYES = POLICY.replace('@obligation("approve")', '@obligation("approve:2")')
Story = Callable[[Site], Coroutine[Any, Any, None]]


@pytest.fixture
def play(tmp_path: Path, till: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Plays a story on a gateway with the agent ``cashier``, of whose calls ann may approve those that are hers."""
    monkeypatch.setenv("DB_TOKEN", sim.TOKEN)

    def run(story: Story, hold_s: float = 30.0, policy: str = POLICY) -> None:
        async def whole() -> None:
            site = Site(tmp_path)
            site.policy(policy)
            site.deciders = frozenset({ANN})
            await site.start()
            try:
                server = ServerFact("database", url=till[0], credential_env="DB_TOKEN")
                site.agent("cashier", [server], "database/refund", hold_timeout_s=hold_s)
                await story(site)
            finally:
                await site.stop()

        uvloop.run(whole())

    return run


class Person:
    """Whoever sits before the client: ``seen`` is what they were asked, ``told`` what the client heard besides."""

    def __init__(self, action: Any = "accept") -> None:
        self.action = action
        self.seen: list[Any] = []
        self.told: list[str] = []

    @asynccontextmanager
    async def client(self, site: Site, mode: str, person: str | None = ANN, **more: Any) -> AsyncIterator[McpClient]:
        """Their client, which can open pages."""
        headers = {"authorization": f"Bearer {token('cashier', person=person, **more)}"}
        async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
            way = streamable_http_client(site.url, http_client=http)
            async with McpClient(way, mode=mode, elicitation_callback=self._asked, message_handler=self._heard) as one:
                yield one

    async def _asked(self, context: Any, params: Any) -> types.ElicitResult:  # noqa: ARG002 (the SDK names them)
        self.seen.append(params)
        return types.ElicitResult(action=self.action)

    async def _heard(self, message: Any) -> None:
        if isinstance(message, types.ElicitCompleteNotification):
            self.told.append(message.params.elicitation_id)


def _refunds(till: tuple[str, Path], order: str) -> int:
    with closing(sqlite3.connect(till[1])) as connection:
        return int(connection.execute("SELECT count(*) FROM refunds WHERE order_id = ?", (order,)).fetchone()[0])


def _call(client: McpClient, order: str) -> asyncio.Task[Any]:
    return asyncio.create_task(client.call_tool("database__refund", {"order_id": order, "cents": 120000}))


async def _until(found: Callable[[], Any]) -> None:
    async with asyncio.timeout(60):
        while not found():  # noqa: ASYNC110 (the far end of a socket fills it)
            await asyncio.sleep(0.01)


async def _held(site: Site, mode: str, order: str, person: str | None = ANN) -> None:
    """The call is made by a client that opens no pages, and known to wait."""
    before = len(site.approvals)
    async with site.client("cashier", mode, person=person) as client:
        assert "Waiting for a person" in (await _call(client, order)).content[0].text
    await _until(lambda: len(site.approvals) > before)


@MODES
@pytest.mark.req("R067", "R070")
def test_the_person_before_the_client_is_sent_to_the_page_and_the_call_goes_on_by_what_they_decide_there(
    play: Callable[..., None], till: tuple[str, Path], mode: str
) -> None:
    async def story(site: Site) -> None:
        ann = Person()
        async with ann.client(site, mode) as client:
            call = _call(client, f"page-{mode}")
            await _until(lambda: ann.seen)
            (approval,) = site.approvals
            (asked,) = ann.seen
            assert (asked.mode, asked.url) == ("url", f"http://console.test/approvals/{approval.id}")
            assert asked.elicitation_id == (approval.id if mode == "legacy" else None)
            assert "120000" not in asked.message
            site.decide(approval.id, "granted")  # as the page does
            assert (await call).content[0].text == f"refunded 120000 of page-{mode}"
            if mode == "legacy":
                await _until(lambda: ann.told)
                assert ann.told == [approval.id]
        assert (len(ann.seen), _refunds(till, f"page-{mode}")) == (1, 1)
        last = (await site.calls())[-1]
        assert (last.type, last.data["tenure.approval.id"]) == ("call.completed", approval.id)

    play(story)


@pytest.mark.req("R048", "R063")
@pytest.mark.parametrize(("mode", "action"), [("legacy", "accept"), ("auto", "accept"), ("auto", "decline")])
def test_what_the_client_answers_is_no_approval_and_no_rejection(
    play: Callable[..., None], till: tuple[str, Path], mode: str, action: str
) -> None:
    async def story(site: Site) -> None:
        ann = Person(action)
        order = f"{action}-{mode}"
        await _held(site, mode, order)
        async with ann.client(site, mode) as client:
            result = await _call(client, order)
            assert result.is_error
            assert (result.meta or {})[codec.META_APPROVAL] == site.approvals[0].id
            assert "Waiting for a person" in result.content[0].text
            assert [one.state for one in site.approvals] == ["pending"]
            assert not [event for event in site.events if event.type == "approval.claimed"]
            site.decide(site.approvals[0].id, "granted")
            assert (await _call(client, order)).content[0].text == f"refunded 120000 of {order}"
        assert (len(ann.seen), _refunds(till, order)) == (1, 1)  # and nobody is sent to the same page twice

    play(story, hold_s=0.5)


@pytest.mark.req("R063")
@pytest.mark.parametrize(
    ("mode", "person", "policy"),
    [("legacy", BOB, POLICY), ("auto", None, POLICY), ("legacy", ANN, FOUR_EYES), ("auto", ANN, FOUR_EYES)],
    ids=["not-a-decider", "nobody", "two-people", "two-people-now"],
)
def test_nobody_is_asked_who_could_not_decide_alone(
    play: Callable[..., None], till: tuple[str, Path], mode: str, person: str | None, policy: str
) -> None:
    async def story(site: Site) -> None:
        await _held(site, mode, f"alone-{mode}", person)
        other = Person()
        async with other.client(site, mode, person) as client:
            assert "Waiting for a person" in (await _call(client, f"alone-{mode}")).content[0].text
        assert other.seen == []
        assert _refunds(till, f"alone-{mode}") == 0

    play(story, hold_s=0.3, policy=policy)


@MODES
def test_a_client_that_opens_no_pages_sees_what_it_always_saw(play: Callable[..., None], mode: str) -> None:
    async def story(site: Site) -> None:
        await _held(site, mode, f"plain-{mode}")
        async with site.client("cashier", mode, person=ANN) as client:
            assert "Waiting for a person" in (await _call(client, f"plain-{mode}")).content[0].text
            site.decide(site.approvals[0].id, "granted")
            assert (await _call(client, f"plain-{mode}")).content[0].text == f"refunded 120000 of plain-{mode}"

    play(story, hold_s=0.3)


def test_without_a_stream_the_page_is_told_in_the_refusal_and_once(play: Callable[..., None]) -> None:
    async def story(site: Site) -> None:
        who = {"authorization": f"Bearer {token('cashier', person=ANN)}"}
        opened = {"protocolVersion": "2025-11-25", "capabilities": {"elicitation": {"url": {}}}}
        opened["clientInfo"] = {"name": "t", "version": "1"}
        begin = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": opened}
        session = (await site.post(begin, "cashier", **who)).headers["mcp-session-id"]
        params = {"name": "database__refund", "arguments": {"order_id": "bare", "cents": 120000}}
        body = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params}
        head = {**who, "accept": "application/json", "mcp_session_id": session, "mcp_protocol_version": "2025-11-25"}
        error = (await site.post(body, "cashier", **head)).json()["error"]
        (asked,) = error["data"]["elicitations"]
        approval = site.approvals[0].id
        assert (error["code"], asked["mode"], asked["elicitationId"]) == (-32042, "url", approval)
        assert asked["url"] == f"http://console.test/approvals/{approval}"
        again = await site.post(body, "cashier", **head, prefer="wait=0")
        assert again.json()["result"]["_meta"][codec.META_APPROVAL] == approval
        calls = await site.calls()
        assert [event.data.get("tenure.approval.invited") for event in calls] == ["asked", None]

    play(story)


def test_a_question_of_the_server_behind_survives_ours() -> None:
    capable: dict[str, Any] = {"_meta": {codec.META_CAPABILITIES: {"elicitation": {"url": {}}}}}
    inner = {"requestState": "theirs", "inputResponses": {"q": {"action": "accept"}}}
    message = Message("tools/call", 1, {"name": "x", **inner, **capable}, modern=True)
    who = Principal("default", "a", "r", "i", "s", 0, "Ann@example.com")
    invited = Asking("http://c", 1.0).of(message, who, Line(), "")
    assert invited is not None
    assert invited(ApprovalFact("a1", "default", "a", "s/t", "d", "g", "pending", person=ANN))
    result = msgspec.json.decode(invited.answer("s/t") or b"")["result"]
    sent = {"name": "x", **capable, "requestState": result["requestState"]}
    sent["inputResponses"] = {key: {"action": "accept"} for key in result["inputRequests"]}
    back, approval = restored(Message("tools/call", 2, sent, modern=True))
    assert (dict(back.params), approval) == ({"name": "x", **inner, **capable}, "a1")
    for state in ("theirs", "tenure.approval.!", "tenure.approval.e30=", 7, None):
        forged = Message("tools/call", 2, {"name": "x", "requestState": state}, modern=True)
        assert restored(forged) == (forged, "")
