"""The invoice clerk: the ``openai`` SDK and the ``mcp`` client, in the loop that most agents are.

It takes its model from OPENAI_BASE_URL and OPENAI_API_KEY, which the SDK reads by itself, and its tools from the MCP
server named by TENURE_MCP_URL. There is no line for Tenure in it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from openai import AsyncOpenAI

INSTRUCTIONS = (
    "You are the invoice clerk. Read every invoice in the folder, record each in the ledger, delete what is done with, "
    "and pay the largest one. Amounts are integer cents."
)
REST_S = 1.0


async def work(model: AsyncOpenAI, name: str, tools: Client) -> str:
    """One batch: asks the model, does what it says, until it answers in words."""
    listing = await tools.list_tools()
    offered: list[Any] = [
        {
            "type": "function",
            "function": {"name": tool.name, "description": tool.description or "", "parameters": tool.input_schema},
        }
        for tool in listing.tools
    ]
    messages: list[Any] = [
        {"role": "system", "content": INSTRUCTIONS},
        {"role": "user", "content": "Please work through today's inbox."},
    ]
    while True:
        answer = await model.chat.completions.create(model=name, messages=messages, tools=offered)
        message = answer.choices[0].message
        messages.append(message.model_dump(exclude_none=True))
        if not message.tool_calls:
            return message.content or ""
        for call in message.tool_calls:
            if call.type != "function":
                continue
            result = await tools.call_tool(call.function.name, json.loads(call.function.arguments))
            text = "\n".join(part.text for part in result.content if part.type == "text")
            print(f"clerk: {call.function.name} -> {text[:110]!r}", flush=True)
            messages.append({"role": "tool", "tool_call_id": call.id, "content": text})


async def main(name: str) -> None:
    """Works through the inbox once, then looks for new files until it is ended."""
    headers = {"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=120) as http,
        Client(streamable_http_client(os.environ["TENURE_MCP_URL"], http_client=http)) as tools,
        AsyncOpenAI() as model,
    ):
        print(f"clerk: done. {await work(model, name, tools)}", flush=True)
        while True:
            await asyncio.sleep(REST_S)
            await tools.call_tool("files__list_files", {})


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
