"""Secrets of MCP servers: in the environment of a command, and in a new process when they are replaced."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
import uvloop

from tenure.kernel.snapshot import SecretFact, ServerFact
from tests.sim import mcp_servers as sim
from tests.sim.mcp_gateway import Site, token
from tests.sim.ports import free_port

TOOLS = "files/whoami files/slow"


def _given(pid: int, name: str) -> str:
    """What a running process was started with."""
    pairs = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return next((pair.partition(b"=")[2].decode() for pair in pairs if pair.startswith(name.encode() + b"=")), "")


async def _call(site: Site, tool: str, **arguments: Any) -> dict[str, Any]:
    params = {"name": f"files__{tool}", "arguments": arguments}
    answer = await site.post({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
    for line in answer.text.splitlines():
        if line.startswith(("data: {", "{")):
            message = msgspec.json.decode(line.removeprefix("data: "))
            if "result" in message:
                found: dict[str, Any] = message["result"]
                return found
    raise AssertionError(answer.text)


@pytest.mark.req("R037", "R041")
def test_a_server_whose_secret_is_replaced_gets_a_new_process_and_no_call_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "of-somebody-else")
    (tmp_path / "files").mkdir()
    command = sim.files_command(tmp_path / "files")
    fact = ServerFact("files", command=command, env_secrets={"FILES_KEY": "files"})
    first = SecretFact(1, "m1", programs=(" ".join(command[:2]),))
    second = SecretFact(2, "m2", programs=first.programs, previous="m1")

    async def whole() -> None:
        site = Site(tmp_path)
        await site.start()
        try:
            site.secret({"default/files": first}, {"m1": "one"})
            site.agent("clerk", [fact], TOOLS)
            await site.known("clerk")
            before = (await _call(site, "whoami"))["structuredContent"]["pid"]
            assert _given(before, "FILES_KEY") == "one"
            assert _given(before, "OPENAI_API_KEY") == ""
            running = asyncio.create_task(_call(site, "slow", seconds=4.0))
            await site.busy("files")
            site.secret({"default/files": second}, {"m2": "two"})
            after = before
            while after == before:
                shown = await _call(site, "whoami")
                assert not shown.get("isError"), shown
                after = shown["structuredContent"]["pid"]
                await asyncio.sleep(0.02)
            assert _given(after, "FILES_KEY") == "two"
            assert (await running)["content"][0]["text"] == "done", "it ends in the process that it began in"
            while psutil.pid_exists(before):  # noqa: ASYNC110 (nobody tells when a process is gone)
                await asyncio.sleep(0.02)
            site.secret({"default/files": SecretFact(2, "m2", hosts=("api.example.com",))}, {})
            site.change("clerk", servers=(ServerFact("files", command=(*command, "x"), env_secrets=fact.env_secrets),))
            told = await _call(site, "whoami")
            assert "may not be handed to" in told["content"][0]["text"]
        finally:
            await site.stop()

    uvloop.run(whole())


@pytest.mark.req("R041", "R043")
def test_a_persons_token_serves_that_person_and_nobody_else(tmp_path: Path) -> None:
    async def whole(url: str) -> None:
        site = Site(tmp_path)
        await site.start()
        try:
            good, wrong = (SecretFact(1, mark, hosts=("127.0.0.1:*",)) for mark in ("m1", "m2"))
            facts = {"default/crm/ann@example.com": good, "default/crm/eve@example.com": wrong}
            site.secret(facts, {"m1": sim.TOKEN, "m2": "another"})
            site.agent("clerk", [ServerFact("database", url=url, connector="crm")], "database/query")

            async def ask(person: str | None) -> dict[str, Any]:
                params = {"name": "database__query", "arguments": {"customer": "ada"}}
                body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
                head = {"authorization": f"Bearer {token('clerk', person=person)}"}
                found: dict[str, Any] = (await site.post(body, accept="application/json", **head)).json()
                return found

            for person in ("ann@example.com", "Ann@example.com"):
                assert len((await ask(person))["result"]["structuredContent"]["result"]) == 2
            for other in ("bob@example.com", None):
                error = (await ask(other))["error"]
                assert error["code"] == -32042
                asked = error["data"]["elicitations"]
                assert [one["mode"] for one in asked] == (["url"] if other else [])
                if other:
                    assert asked[0]["url"] == "http://console.test/connectors?name=crm"
            assert "401" in (await ask("eve@example.com"))["result"]["content"][0]["text"], "she has her own, not ann's"
            site.secret({}, {})
            assert (await ask("ann@example.com"))["error"]["code"] == -32042
            calls = await site.calls()
            assert [event.data.get("error.type") for event in calls] == [
                *(None, None),
                *("not_connected", "not_connected", "upstream_unavailable", "not_connected"),
            ]
            assert sim.TOKEN not in str(calls)
        finally:
            await site.stop()

    with sim.database_server(tmp_path / "orders.db", free_port()) as url:
        uvloop.run(whole(url))
