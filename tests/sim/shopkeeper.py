"""An agent whose run is recorded: its model is scripted, its tools are a server that counts their calls."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx2

from tenure.evaluation.mcp_client import McpClient
from tests.sim.installation import Installation
from tests.sim.manifests import manifest
from tests.sim.tool_server import tool

NAME = "shopkeeper"
MODELS = ("scripted-keen", "scripted-slow")
SYSTEM = "You keep a shop."
ASKED = "a refund please"
TOOLS = [tool("look_up", "Looks an order up."), tool("refund", "Pays an order back.")]


def _calls(name: str, text: str) -> list[dict[str, Any]]:
    return [{"name": f"shop__{name}", "arguments": {"text": text}}]


def rules(path: Path) -> Path:
    """What the models say: the keen one pays what it has looked up back, the slow one does not."""
    said = [
        {"contains": "another order", "tool_calls": _calls("look_up", "B-2")},
        {"contains": ASKED, "tool_calls": _calls("look_up", "A-1")},
        {"model": MODELS[0], "after_tool": "shop__look_up", "tool_calls": _calls("refund", "A-1")},
        {"model": MODELS[1], "after_tool": "shop__look_up", "content": "It is too old."},
        {"after_tool": "shop__refund", "content": "Paid back."},
    ]
    path.write_text(json.dumps(said))
    return path


def employ(tenure: Installation, models_url: str, tools_url: str) -> None:
    """Registers the agent, and brings it to staging."""
    more = [{"provider": "openai", "name": MODELS[1], "base_url": models_url}]
    granted = [{"name": f"shop/{one['name']}", "autonomy": "autonomous"} for one in TOOLS]
    body = manifest(NAME, models_url, models=more, servers={"shop": {"url": tools_url}}, tools=granted)
    body["spec"]["model"]["name"] = MODELS[0]
    tenure.employ(body)


def run(tenure: Installation, session: str) -> int:
    """Lets the agent work once, through the gateway; returns how many calls it made."""
    started = tenure.instance(NAME)
    return asyncio.run(_run(str(started["gateway_url"]).rstrip("/"), str(started["token"]), session))


async def _run(gateway: str, token: str, session: str) -> int:
    headers = {"Authorization": f"Bearer {token}", "x-tenure-session": session}
    functions = [
        {"type": "function", "function": {"name": f"shop__{one['name']}", "parameters": one["inputSchema"]}}
        for one in TOOLS
    ]
    messages: list[dict[str, Any]] = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": ASKED}]
    made = 0
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60.0, trust_env=False) as http,
        McpClient(http, f"{gateway}/mcp") as tools,
    ):
        while True:
            body = {"model": MODELS[0], "messages": messages, "tools": functions}
            reply = await http.post(f"{gateway}/v1/chat/completions", json=body)
            assert reply.status_code == 200, reply.text
            said, made = reply.json()["choices"][0]["message"], made + 1
            messages.append(said)
            if not said.get("tool_calls"):
                return made
            for call in said["tool_calls"]:
                given = json.loads(call["function"]["arguments"])
                result = await tools.call(call["function"]["name"], given, {})
                text = "".join(block["text"] for block in result["content"])
                messages.append({"role": "tool", "tool_call_id": call["id"], "content": text})
                made += 1
