"""The recorded servers as real processes: they answer what equals the record, and nothing else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client as OfficialClient
from mcp import MCPError

from tenure.evaluation import recorded
from tenure.evaluation.formats import tau_bench
from tenure.evaluation.mcp_client import McpClient
from tenure.kernel.errors import Failed, Refused


def _traj() -> list[dict[str, Any]]:
    def call(ident: str, amount: int) -> dict[str, Any]:
        arguments = json.dumps({"amount": amount})
        return {"id": ident, "type": "function", "function": {"name": "refund", "arguments": arguments}}

    return [
        {"role": "user", "content": "refund me, twice – please"},
        {"role": "assistant", "content": None, "tool_calls": [call("same", 1)]},
        {"role": "tool", "tool_call_id": "same", "name": "refund", "content": "Error: too little"},
        {"role": "assistant", "content": "again", "tool_calls": [call("same", 2)]},
        {"role": "tool", "tool_call_id": "same", "name": "refund", "content": ""},
        {"role": "assistant", "content": "done"},
    ]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One recorded session, in which one call id is used twice."""
    path = tmp_path_factory.mktemp("recorded") / "gpt-4o-airline.json"
    path.write_text(json.dumps([{"task_id": 3, "trial": 1, "reward": 0.0, "info": {}, "traj": _traj()}]))
    return path


@pytest.fixture(scope="module")
def model(file: Path) -> Iterator[str]:
    """URL of a running recorded model."""
    with recorded.running("tenure.evaluation.recorded_model", file) as url:
        yield url


@pytest.fixture(scope="module")
def tools(file: Path) -> Iterator[str]:
    """URL of running recorded tools."""
    with recorded.running("tenure.evaluation.recorded_tools", file) as url:
        yield f"{url}/mcp"


def _ask(url: str, messages: list[Any], session: str = "3/1", **more: Any) -> httpx2.Response:
    body = {"model": "gpt-4o", "messages": messages, "metadata": {recorded.METADATA_KEY: session}, **more}
    return httpx2.post(f"{url}/v1/chat/completions", json=body, trust_env=False)


def test_the_model_answers_each_turn_as_recorded(model: str) -> None:
    for upto, reason in ((1, "tool_calls"), (3, "tool_calls"), (5, "stop")):
        answer = _ask(model, _traj()[:upto]).json()
        assert answer["choices"][0]["message"] == _traj()[upto]
        assert answer["choices"][0]["finish_reason"] == reason
        assert "usage" not in answer  # none is recorded


@pytest.mark.parametrize(
    ("messages", "session", "problem"),
    [
        (_traj()[:1], "9/9", "no session '9/9'"),
        (_traj()[:2], "3/1", "did not answer after 2 messages"),
        ([*_traj()[:2], {**_traj()[2], "content": "fine"}], "3/1", "message 2 of session 3/1 differs"),
    ],
)
def test_the_model_refuses_what_is_not_as_recorded(model: str, messages: list[Any], session: str, problem: str) -> None:
    response = _ask(model, messages, session)
    assert response.status_code == 409
    assert problem in response.json()["error"]["message"]
    assert _ask(model, _traj()[:1], stream=True).status_code == 400


def _which(step: int, call: str = "same", session: str = "3/1") -> dict[str, Any]:
    return {recorded.META_KEY: {"session": session, "step": step, "call": call}}


def test_the_tools_tell_two_calls_of_one_id_apart(tools: str) -> None:
    async def talk() -> None:
        async with httpx2.AsyncClient(trust_env=False) as http, McpClient(http, tools) as client:
            assert [tool["name"] for tool in await client.tools()] == ["refund"]
            first = await client.call("refund", {"amount": 1}, _which(1))
            second = await client.call("refund", {"amount": 2}, _which(3))
            assert first["content"] == [{"type": "text", "text": "Error: too little"}]
            assert second["content"] == [{"type": "text", "text": ""}]
            for arguments, meta, problem in (
                ({"amount": 3}, _which(1), "arguments of step 1"),
                ({"amount": 1}, _which(3), "arguments of step 3"),
                ({"amount": 1}, _which(0), "is not the call"),
                ({"amount": 1}, _which(1, call="other"), "is not the call"),
                ({"amount": 1}, _which(1, session="1/1"), "no session"),
                ({"amount": 1}, {}, "no session"),
            ):
                with pytest.raises(Refused, match=problem):
                    await client.call("refund", arguments, meta)
            with pytest.raises(Refused, match="calls refund, not keep"):
                await client.call("keep", {"amount": 1}, _which(1))

    asyncio.run(talk())


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
def test_the_tools_speak_with_the_official_client_at_both_revisions(tools: str, mode: str) -> None:
    async def talk() -> None:
        async with OfficialClient(tools, mode=mode) as client:
            await client.list_tools()
            meta: Any = _which(1)
            result = await client.call_tool("refund", {"amount": 1}, meta=meta)
            assert getattr(result.content[0], "text", None) == "Error: too little"
            with pytest.raises(MCPError, match="arguments of step 1"):
                await client.call_tool("refund", {"amount": 9}, meta=meta)

    asyncio.run(talk())


def test_a_server_that_cannot_start_is_told_of(tmp_path: Path) -> None:
    missing = tmp_path / "none.json"
    with (
        pytest.raises(Failed, match="ended before it listened"),
        recorded.running("tenure.evaluation.nothing", missing),
    ):
        pass


def test_every_recorded_turn_is_found_by_the_number_of_its_messages(shared_data: Path) -> None:
    sessions = tau_bench.parse((shared_data / "tau-bench" / "gpt-4o-airline.json.xz").read_bytes())
    for session in sessions:
        assert len({turn.upto for turn in session.turns}) == len(session.turns)
        steps = [step for turn in session.turns for step in (turn.step, *(use.step for use in turn.tools))]
        assert steps == list(range(len(steps)))
