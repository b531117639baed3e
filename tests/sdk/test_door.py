"""Tools of an agent's own process, decided at real gateways: by hand, by decorator, by real frameworks and by hooks."""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest
from agents import Agent as OpenAIAgent
from agents import FunctionTool, Runner, function_tool
from agents.items import ModelResponse
from agents.models.interface import Model
from agents.run import RunConfig
from agents.usage import Usage
from langchain_core.messages import AIMessage
from langchain_core.tools import tool as langchain_tool
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage
from pydantic_ai import Agent, FunctionToolset
from pydantic_ai.messages import ModelMessage, TextPart, ToolCallPart
from pydantic_ai.messages import ModelResponse as AiResponse
from pydantic_ai.models.function import AgentInfo, FunctionModel

from tenure.kernel.snapshot import BreakerFact, WorkspaceFact
from tenure.policy.model import bundle_version
from tenure.sdk import Denied, Door, Held, Unreachable
from tenure.sdk.for_langgraph import governing
from tenure.sdk.for_openai_agents import governed
from tenure.sdk.for_pydantic_ai import Governed
from tenure.sdk.spool import Spool
from tests.sim.gateway import GatewayProcess
from tests.sim.in_process import Site


@pytest.mark.req("R048", "R054")
def test_a_governed_function_runs_when_it_may_and_the_record_says_so(site: Site) -> None:
    ran: list[int] = []
    door = site.door()

    @door.governed("local/refund")
    def refund(amount: int, why: str = "") -> str:
        ran.append(amount)
        return f"paid {amount}{why}"

    assert refund(50, why="!") == "paid 50!"
    with pytest.raises(Denied, match="Refunds end at 100") as denied:
        refund(amount=500)
    assert denied.value.ruling.policies == ("no-large-refund",)
    assert ran == [50]
    allowed, refused = site.calls(2)
    assert (allowed["type"], allowed["data"]["tenure.resource"]) == ("call.completed", "local/refund")
    assert allowed["data"]["gen_ai.tool.call.arguments"] == {"amount": 50, "why": "!"}
    assert allowed["data"]["gen_ai.tool.call.result"] == "paid 50!"
    assert (refused["type"], refused["data"]["tenure.violation"]) == ("call.refused", True)
    with pytest.raises(TypeError, match="has a name"):
        door.governed("local/refund")(lambda *amounts: amounts)


def test_what_a_tool_raises_is_raised_and_told(site: Site) -> None:
    @site.door().governed("local/refund")
    async def refund(amount: int) -> str:
        raise ValueError(f"no {amount}")

    with pytest.raises(ValueError, match="no 5"):
        asyncio.run(refund(5))
    [event] = site.calls()
    assert (event["data"]["error.type"], event["data"]["error.message"]) == ("tool_error", "ValueError('no 5')")


@pytest.mark.req("R063")
def test_a_held_call_waits_for_its_approval_and_uses_it_once(site: Site) -> None:
    door = site.door()
    with pytest.raises(Held) as held:
        door.decide("local/delete", {"path": "a"}, wait_s=0)
    approval = held.value.ruling.approval
    assert approval
    site.control.wait(lambda _: approval in site.control.snapshot.approvals)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(door.decide, "local/delete", {"path": "a"}, 20)
        site.control.approval(approval, "granted", decided_by="person:a")
        assert waiting.result(60).effect == "allow"
    with pytest.raises(Held):
        door.decide("local/delete", {"path": "a"}, wait_s=0)
    with pytest.raises(Held):
        door.decide("local/delete", {"path": "b"}, wait_s=0)


@pytest.mark.req("R055")
def test_the_breaker_stops_what_runs_in_process(site: Site) -> None:
    site.fact(breaker=BreakerFact(threshold=1))
    door = site.door()
    with pytest.raises(Denied, match="Refunds end"):
        door.decide("local/refund", {"amount": 500})
    with pytest.raises(Denied, match="breaker"):
        door.decide("local/refund", {"amount": 1})


@pytest.mark.req("R063")
def test_a_gateway_killed_during_a_hold_makes_no_call_run_twice_or_without_its_approval(site: Site) -> None:
    ran: list[str] = []
    door = site.door()

    @door.governed("local/delete", wait_s=20)
    def delete(path: str) -> None:
        ran.append(path)

    def again(path: str) -> str:
        """As an agent that does not give up: asks anew whenever its gateway is gone."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                delete(path)
            except Held:
                return "held"
            except Unreachable:
                time.sleep(0.02)
            else:
                return "done"
        return "gave up"

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(again, path) for path in ("a", "a", "b", "c")]
        for _ in range(2):  # each asks, and loses the gateway that it waits at
            asked = len(site.control.of_type("approval.requested"))
            site.control.wait(lambda _: len({fact.digest for fact in site.control.snapshot.approvals.values()}) == 3)
            site.gateway.kill()
            site.gateway = GatewayProcess(site.folder / "g", site.control.port, gateway_port=_port(site.gateway.url))
            site.settle()
        assert asked >= 3
        facts = sorted(site.control.snapshot.approvals.values(), key=lambda fact: fact.id)
        first = {fact.digest: fact.id for fact in facts if fact.state == "pending"}
        keys = sorted(first)
        site.control.approval(first[keys[0]], "granted", decided_by="person:a")
        site.control.approval(first[keys[1]], "rejected", decided_by="person:a", reason="no")
        outcomes = []
        for one in waiting:
            try:
                outcomes.append(one.result(60))
            except Denied as denied:
                outcomes.append(denied.ruling.effect)
    assert len(ran) == outcomes.count("done") == 1, "one approval, one call: not by two who asked, nor by two gateways"
    assert set(outcomes) <= {"done", "deny", "held"}
    granted = next(fact for fact in site.control.snapshot.approvals.values() if fact.state == "claimed")
    assert granted.id == first[keys[0]]


def _port(url: str) -> int:
    return int(url.rpartition(":")[2])


def test_without_a_gateway_the_declared_fail_mode_holds_and_is_told_later(site: Site) -> None:
    workspace = site.control.snapshot.workspaces["default"]
    goes_on = '@fail_mode("open") permit(principal, action, resource == Tool::"local/refund");'
    policies = (*workspace.policies, ("goes-on.cedar", goes_on))
    site.control.change(workspaces={"default": WorkspaceFact("default", bundle_version(policies), policies)})
    site.settle()
    door = site.door()
    door.record(door.decide("local/refund", {"amount": 1}), result="paid")
    with pytest.raises(Held):
        door.decide("local/delete", {}, wait_s=0)
    site.gateway.kill()
    again = site.door()  # another process: what was heard is on disk
    alone = again.decide("local/refund", {"amount": 2})
    assert (alone.effect, alone.alone) == ("allow", True)
    again.record(alone, result="paid")
    with pytest.raises(Unreachable, match="may not go on"):
        again.decide("local/delete", {})
    with pytest.raises(Unreachable, match="may not go on"):
        again.decide("local/never-heard-of", {})
    site.gateway = GatewayProcess(site.folder / "g", site.control.port)
    site.settle()
    site.door().decide("local/refund", {"amount": 3})

    def told(_: Any) -> list[dict[str, Any]]:
        found = [e for e in site.control.events if e["data"].get("tenure.alone")]
        return found if len(found) >= 3 else []

    events = site.control.wait(told)
    assert [(e["type"], e["data"]["tenure.resource"]) for e in events] == [
        ("call.completed", "local/refund"),
        ("call.refused", "local/delete"),
        ("call.refused", "local/never-heard-of"),
    ]
    assert events[0]["data"]["tenure.decision"]["policies"] == ["client/alone"]
    assert events[0]["status"] == "flagged"
    assert not (site.folder / "client" / "alone.jsonl").exists()


def test_a_call_whose_gateway_was_killed_is_recorded_by_the_next(site: Site) -> None:
    door = site.door()
    ruling = door.decide("local/refund", {"amount": 7})
    site.gateway.kill()
    door.record(ruling, result="paid 7")
    site.gateway = GatewayProcess(site.folder / "g", site.control.port)
    site.settle()
    later = site.door()
    later.decide("local/refund", {"amount": 8})
    [event] = site.control.wait(lambda es: [e for e in es if e["data"].get("gen_ai.tool.call.result") == "paid 7"])
    assert event["data"]["tenure.decision"]["policies"] == ["client/told"]


def test_a_full_or_missing_disk_lets_nothing_pass_unrecorded(site: Site, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s", max_bytes=100)
    assert spool.add({"a": "x" * 50})
    assert not spool.add({"a": "x" * 50})
    spool.learn("local/refund", "open")
    site.gateway.kill()
    door = Door(site.gateway.url, "t", folder=tmp_path / "s")
    (tmp_path / "s" / "alone.jsonl").write_bytes(b"x" * (4 << 20))
    with pytest.raises(Unreachable, match="no room to record"):
        door.decide("local/refund", {})


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/decide", {"tool": "refund"}, 400),
        ("/v1/decide", {"tool": "local/refund", "arguments": []}, 400),
        ("/v1/decide", {"tool": "local/refund", "wait_s": -1}, 400),
        ("/v1/decide", [], 400),
        ("/v1/record", {"tool": "local/refund"}, 400),
        ("/v1/record", {"call": "x" * 65, "tool": "local/refund"}, 400),
    ],
)
def test_bad_input_is_refused(site: Site, path: str, body: Any, status: int) -> None:
    door = site.door()
    request = httpx2.post(site.gateway.url + path, json=body, headers=door._headers, trust_env=False)
    assert request.status_code == status, request.text
    assert request.json()["error"]["message"]


SAID: dict[str, Any] = {"reason": lambda tool, given: f"{tool} of {given['amount']}", "confidence": 0.75}
TOLD = [("local/refund of 5", 75), ("local/refund of 500", 75)]


def _said(site: Site) -> list[tuple[str, int]]:
    """What both calls say of themselves on the record."""
    return sorted((one["data"]["tenure.justification"], one["data"]["tenure.confidence"]) for one in site.calls(2))


# --- real frameworks --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("loop")
def test_pydantic_ai_is_governed(site: Site) -> None:
    ran: list[int] = []

    def refund(amount: int) -> str:
        ran.append(amount)
        return "paid"

    def script(messages: list[ModelMessage], _info: AgentInfo) -> AiResponse:
        amounts = [500, 5]
        turn = sum(isinstance(message, AiResponse) for message in messages)
        if turn < len(amounts):
            return AiResponse([ToolCallPart("refund", {"amount": amounts[turn]})])
        return AiResponse([TextPart("done")])

    toolset = Governed(FunctionToolset([refund], max_retries=2), site.door(), "local", **SAID)
    result = Agent(FunctionModel(script), toolsets=[toolset]).run_sync("go")
    assert (result.output, ran) == ("done", [5])
    assert "Refunds end at 100" in str(result.all_messages())
    assert [event["type"] for event in site.calls(2)] == ["call.refused", "call.completed"]
    assert _said(site) == TOLD


def test_langgraph_is_governed(site: Site) -> None:
    ran: list[int] = []

    @langchain_tool
    def refund(amount: int) -> str:
        """Pays money back."""
        ran.append(amount)
        return "paid"

    node = ToolNode([refund], wrap_tool_call=governing(site.door(), "local", **SAID))
    graph = StateGraph(MessagesState).add_node("tools", node).add_edge(START, "tools").add_edge("tools", END).compile()
    calls: Any = [{"name": "refund", "args": {"amount": amount}, "id": str(amount)} for amount in (500, 5)]
    out = graph.invoke({"messages": [AIMessage("", tool_calls=calls)]})
    texts = {message.tool_call_id: message.content for message in out["messages"][1:]}
    assert ran == [5]
    assert texts["5"] == "paid"
    assert "Refunds end at 100" in texts["500"]
    assert _said(site) == TOLD


class _Scripted(Model):
    """A model of the SDK that asks for two refunds and is done."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    async def get_response(self, *_: Any, **given: Any) -> ModelResponse:
        self.seen = given["input"] if isinstance(given["input"], list) else [given["input"]]
        asked = sum(isinstance(item, dict) and item.get("type") == "function_call" for item in self.seen)
        amounts = [500, 5]
        if asked < len(amounts):
            call = ResponseFunctionToolCall(
                arguments=json.dumps({"amount": amounts[asked]}),
                call_id=f"c{asked}",
                name="refund",
                type="function_call",
            )
            return ModelResponse(output=[call], usage=Usage(), response_id=None)
        message: Any = ResponseOutputMessage(
            id="m",
            role="assistant",
            status="completed",
            type="message",
            content=[{"type": "output_text", "text": "done", "annotations": []}],
        )
        return ModelResponse(output=[message], usage=Usage(), response_id=None)

    def stream_response(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("nobody asked for a stream")


@pytest.mark.usefixtures("loop")
def test_the_openai_agents_sdk_is_governed(site: Site) -> None:
    ran: list[int] = []

    @function_tool
    def refund(amount: int) -> str:
        """Pays money back."""
        ran.append(amount)
        return "paid"

    assert isinstance(refund, FunctionTool)
    model = _Scripted()
    agent = OpenAIAgent(name="clerk", model=model, tools=[governed(refund, site.door(), "local", **SAID)])
    result = Runner.run_sync(agent, "go", run_config=RunConfig(tracing_disabled=True))
    assert (result.final_output, ran) == ("done", [5]), model.seen
    assert "Refunds end at 100" in str(model.seen)
    assert _said(site) == TOLD


# --- hooks of coding agents -------------------------------------------------------------------------------------------


def _hook(site: Site, agent: str, event: Any, **env: str) -> subprocess.CompletedProcess[str]:
    variables = {
        **os.environ,
        "TENURE_MCP_URL": f"{site.gateway.url}/mcp",
        "TENURE_AGENT_TOKEN": site.control.token("clerk"),
        "TENURE_SPOOL": str(site.folder / "hooks"),
        **env,
    }
    text = event if isinstance(event, str) else json.dumps(event)
    command = [sys.executable, "-m", "tenure.app.main", "hook", agent]
    return subprocess.run(command, input=text, env=variables, capture_output=True, text=True, timeout=60, check=False)


def _event(kind: str, tool: str, **more: Any) -> dict[str, Any]:
    # The fields that both agents send; Codex adds turn_id and model.
    common = {"session_id": "s", "transcript_path": "/t", "cwd": "/w", "permission_mode": "default", "turn_id": "1"}
    return {**common, "hook_event_name": kind, "tool_name": tool, "tool_use_id": "toolu_1", **more}


@pytest.mark.parametrize("agent", ["claude-code", "codex"])
def test_a_coding_agents_hook_decides_and_records(site: Site, agent: str) -> None:
    bash = {"command": "ls", "description": "look"}
    done = _hook(site, agent, _event("PreToolUse", "Bash", tool_input=bash))
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    done = _hook(site, agent, _event("PreToolUse", "mcp__local__refund", tool_input={"amount": 500}))
    said = json.loads(done.stdout)["hookSpecificOutput"]
    assert (done.returncode, said["hookEventName"], said["permissionDecision"]) == (0, "PreToolUse", "deny")
    assert "Refunds end at 100" in said["permissionDecisionReason"]
    done = _hook(site, agent, _event("PostToolUse", "Bash", tool_input=bash, tool_response={"stdout": "a"}))
    assert done.returncode == 0, done.stderr
    [told] = site.control.wait(lambda es: [e for e in es if e["data"].get("gen_ai.tool.call.result")])
    assert (told["data"]["tenure.resource"], told["data"]["gen_ai.tool.call.result"]) == (
        f"{agent}/Bash",
        {"stdout": "a"},
    )
    assert _hook(site, agent, _event("Stop", "")).returncode == 0


def test_whatever_goes_wrong_in_a_hook_blocks(site: Site) -> None:
    bash = _event("PreToolUse", "Bash", tool_input={"command": "ls"})
    assert _hook(site, "codex", "nonsense").returncode == 2
    assert _hook(site, "codex", bash, TENURE_AGENT_TOKEN="").returncode == 2
    site.gateway.kill()
    done = _hook(site, "codex", bash)
    assert json.loads(done.stdout)["hookSpecificOutput"]["permissionDecision"] == "deny"


def test_the_client_costs_no_server(site: Site) -> None:
    heavy = ("pydantic", "fastapi", "sqlalchemy", "httpx2")
    code = f"import sys, tenure.sdk; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert site.gateway.health()[0] == 200
