"""Plays recorded sessions through the live gateway as a governed agent, and compares the traces that come out.

The model's answers come from ``recorded_model`` and the tools' results from ``recorded_tools``, each its own process
spoken to over HTTP by the gateway, never by this driver. What the driver itself adds is what an agent's loop adds:
which messages go into which call, and which tool is called next.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2

from tenure.client.http import Client
from tenure.evaluation import recorded
from tenure.evaluation.formats import tau_bench
from tenure.evaluation.mcp_client import McpClient
from tenure.evaluation.model import Difference, Step, first_difference, normal_form
from tenure.kernel.errors import Failed, Refused
from tenure.kernel.ids import new_id, session_trace
from tenure.kernel.json import JsonObject
from tenure.kernel.values import LifecycleState

SERVER = "recording"
_ARRIVAL_S = 60.0
_PROVISIONING_S = 30.0
_REASON = "replay of recorded sessions"


@dataclass(frozen=True, slots=True)
class Agent:
    """The agent that a replay acts as: its name, its instance's credential, and where its gateway is."""

    name: str
    token: str
    gateway: str


@dataclass(frozen=True, slots=True)
class Played:
    """One session that went through the gateway under the name ``session``: how many calls it made, and what stopped
    it (empty when nothing did)."""

    recorded: tau_bench.Session
    session: str
    calls: int
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether one session's trace is the recorded one. ``problem`` is why it could not be played to its end."""

    session: str
    steps: int
    problem: str = ""
    difference: Difference | None = None

    @property
    def equal(self) -> bool:
        """Played to its end, and every step as recorded."""
        return not self.problem and self.difference is None


@dataclass(frozen=True, slots=True)
class Report:
    """What a replay found. ``seconds`` is the time the sessions took at the gateway, without set-up and comparison;
    ``calls`` counts calls found in the traces, ``decisions`` the same calls by the effect that was decided."""

    agent: str
    model: str
    sessions: int
    equal: int
    calls: int
    chats: int
    tools: int
    decisions: Mapping[str, int]
    seconds: float
    sessions_per_second: float
    concurrency: int
    verdicts: tuple[Verdict, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Upstreams:
    """What the agent of a replay may use, and nothing else: one model and one MCP server's tools."""

    model: str
    model_url: str
    tools_url: str
    tools: tuple[str, ...]
    instructions: str


def upstreams(model: str, model_url: str, tools_url: str, sessions: Sequence[tau_bench.Session]) -> Upstreams:
    """What ``sessions`` need; the instructions are the recorded system prompt."""
    prompts = (item["content"] for session in sessions for item in session.messages if item["role"] == "system")
    tools = tuple(tau_bench.tool_names(sessions))
    return Upstreams(model, model_url, tools_url, tools, next(prompts, None) or "As recorded.")


def manifest(name: str, responsible: str, given: Upstreams) -> JsonObject:
    """The manifest of a replay's agent. ``responsible`` is the e-mail address of its owner and sponsor."""
    return {
        "apiVersion": "tenure/v1",
        "kind": "Agent",
        "metadata": {"name": name},
        "spec": {
            "purpose": "Replays recorded sessions through the gateway, to compare the traces that come out.",
            "owner": responsible,
            "sponsor": responsible,
            "framework": "tenure-replay",
            "model": {"provider": "recorded", "name": given.model, "base_url": f"{given.model_url}/v1"},
            "instructions": given.instructions,
            "servers": {SERVER: {"url": f"{given.tools_url}/mcp"}},
            "tools": [{"name": f"{SERVER}/{tool}", "autonomy": "autonomous"} for tool in given.tools],
            "risk": {"data_sensitivity": 1, "decision_authority": 1, "blast_radius": 1, "regulatory_exposure": 1},
        },
    }


def workspace(client: Client) -> str:
    """The workspace that the client's person works in."""
    return str(client.get("/v1/me", dict[str, Any])["workspace"])


@contextmanager
def agent(client: Client, given: Upstreams) -> Iterator[Agent]:
    """Registers an agent of its own for this replay, brings it to staging by the steps that every agent takes, and
    retires it at the end."""
    name = f"replay-{new_id()[-12:]}"
    who = str(client.get("/v1/me", dict[str, Any])["name"]).rpartition(":")[2]
    responsible = who if "@" in who else "operator@localhost"
    client.put(f"/v1/agents/{name}", dict[str, Any], json=manifest(name, responsible, given))
    try:
        move(client, name, LifecycleState.APPROVED)
        _await_provisioning(client, name)
        move(client, name, LifecycleState.STAGING)
        started = client.post(f"/v1/agents/{name}/instances", dict[str, Any], json={})
        yield Agent(name, str(started["token"]), str(started["gateway_url"]).rstrip("/"))
    finally:
        _end(client, name)


def move(client: Client, name: str, to: LifecycleState) -> None:
    """One lifecycle transition. Raises Refused where the person may not make it."""
    client.post(f"/v1/agents/{name}/transitions", dict[str, Any], json={"to": to.value, "reason": _REASON})


def _state(client: Client, name: str) -> LifecycleState:
    return LifecycleState(client.get(f"/v1/agents/{name}", dict[str, Any])["state"])


def _await_provisioning(client: Client, name: str) -> None:
    """Tenure itself creates and provisions what was approved."""
    deadline = time.monotonic() + _PROVISIONING_S
    while (state := _state(client, name)) is not LifecycleState.PROVISIONED:
        if time.monotonic() > deadline:
            raise Failed("not_provisioned", f"{name} is still {state} after {_PROVISIONING_S:.0f} s.", retry=True)
        time.sleep(0.1)


def _end(client: Client, name: str) -> None:
    """Brings the agent to the end of its life, from wherever the replay left it."""
    state = _state(client, name)
    if state is LifecycleState.REQUESTED:
        move(client, name, LifecycleState.REJECTED)
        return
    if state is LifecycleState.STAGING:
        move(client, name, LifecycleState.SUSPENDED)
    move(client, name, LifecycleState.RETIRED)


async def play(
    agent: Agent,
    model: str,
    sessions: Sequence[tau_bench.Session],
    concurrency: int,
    advance: Callable[[int], Any],
) -> list[Played]:
    """Plays all sessions, ``concurrency`` at a time."""
    gate = asyncio.Semaphore(concurrency)

    async def one(session: tau_bench.Session) -> Played:
        async with gate:
            played = await _session(agent, model, session)
        advance(1)
        return played

    return list(await asyncio.gather(*map(one, sessions)))


async def _session(agent: Agent, model: str, session: tau_bench.Session) -> Played:
    name = f"{agent.name}-task{session.task}-trial{session.trial}"
    headers = {"Authorization": f"Bearer {agent.token}", "x-tenure-session": name}
    calls = 0
    async with httpx2.AsyncClient(headers=headers, timeout=60.0, trust_env=False) as http:
        try:
            async with McpClient(http, f"{agent.gateway}/mcp") as tools:
                known = {str(tool["name"]) for tool in await tools.tools()}
                for turn in session.turns:
                    calls += 1
                    await _chat(http, agent.gateway, model, session, turn)
                    for use in turn.tools:
                        calls += 1
                        await _tool(tools, known, session, use)
        except (Refused, httpx2.HTTPError) as error:
            return Played(session, name, calls, str(error) or type(error).__name__)
    return Played(session, name, calls)


async def _chat(
    http: httpx2.AsyncClient, gateway: str, model: str, session: tau_bench.Session, turn: tau_bench.Turn
) -> None:
    body = {
        "model": model,
        "messages": session.messages[: turn.upto],
        "metadata": {recorded.METADATA_KEY: session.key},
    }
    response = await http.post(f"{gateway}/v1/chat/completions", json=body)
    if response.status_code != 200:
        raise Refused("not_answered", f"step {turn.step}: status {response.status_code}: {response.text[:500]}")
    if response.json()["choices"][0]["message"] != turn.message:
        raise Refused("answer_changed", f"step {turn.step}: the agent was given another answer than the recorded one")


async def _tool(tools: McpClient, known: set[str], session: tau_bench.Session, use: tau_bench.ToolUse) -> None:
    name = f"{SERVER}__{use.name}"
    if name not in known:
        raise Refused("not_offered", f"step {use.step}: the gateway does not offer {name}")
    which = {"session": session.key, "step": use.step, "call": use.id}
    result = await tools.call(name, use.arguments, {recorded.META_KEY: which, "gen_ai.tool.call.id": use.id})
    text = "".join(str(block.get("text", "")) for block in result["content"])
    if result.get("isError"):
        raise Refused("not_answered", f"step {use.step}: {text[:500]}")
    if text != use.result:
        raise Refused("answer_changed", f"step {use.step}: the agent was given another result than the recorded one")


def steps_of(client: Client, workspace: str, session: str, expected: int) -> tuple[list[Step], Counter[str]]:
    """A session's trace in normal form, and its decisions by effect, as the control plane tells them. Waits for
    Events that are still on their way. Raises Failed when they do not come."""
    trace, _ = session_trace(workspace, session)
    deadline = time.monotonic() + _ARRIVAL_S
    while True:
        spans = _spans(client, trace)
        if len(spans) >= expected:
            break
        if time.monotonic() > deadline:
            raise Failed("trace_incomplete", f"{len(spans)} of {expected} calls of session {session} arrived")
        time.sleep(0.2)
    attributes = [span["attributes"] for span in spans]
    effects = Counter(str((item.get("tenure.decision") or {}).get("effect", "none")) for item in attributes)
    return [step for step in map(normal_form, attributes) if step], effects


def _spans(client: Client, trace: str) -> list[dict[str, Any]]:
    try:
        answer = client.get(f"/v1/traces/{trace}", dict[str, Any])
    except Refused as error:
        if error.status == 404:
            return []
        raise
    kinds = ("call.completed", "call.refused", "import.call")
    return [span for span in answer["spans"] if span.get("type") in kinds]


def compare(client: Client, workspace: str, played: Played) -> tuple[Verdict, list[Step], Counter[str]]:
    """The trace of a played session beside that of the imported one, both read back from the control plane."""
    total = sum(1 + len(turn.tools) for turn in played.recorded.turns)
    expected, _ = steps_of(client, workspace, played.recorded.name, total)
    actual, effects = steps_of(client, workspace, played.session, played.calls)
    difference = None if played.problem else first_difference(expected, actual)
    return Verdict(played.recorded.name, len(actual), played.problem, difference), actual, effects


def report(
    agent: str,
    model: str,
    outcome: Sequence[tuple[Verdict, list[Step], Counter[str]]],
    seconds: float,
    concurrency: int,
) -> Report:
    """All verdicts, counted."""
    kinds = Counter(step.kind for _, steps, _ in outcome for step in steps)
    decisions = sum((effects for _, _, effects in outcome), Counter[str]())
    return Report(
        agent=agent,
        model=model,
        sessions=len(outcome),
        equal=sum(verdict.equal for verdict, _, _ in outcome),
        calls=kinds.total(),
        chats=kinds["chat"],
        tools=kinds["tool"],
        decisions=dict(decisions),
        seconds=round(seconds, 3),
        sessions_per_second=round(len(outcome) / seconds, 2) if seconds else 0.0,
        concurrency=concurrency,
        verdicts=tuple(verdict for verdict, _, _ in outcome),
    )
