"""The OpenAI Agents SDK: ``Agent(tools=[governed(tool, door, "local")])``."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from agents import FunctionTool
from agents.tool_context import ToolContext

from tenure.sdk.door import Denied, Door, Sure, Why


def governed(tool: FunctionTool, door: Door, server: str, *, reason: Why = "", confidence: Sure = None) -> FunctionTool:
    """The tool, decided as ``<server>/<name>`` before each call. The model is told of a denial in the tool's place.
    ``reason`` and ``confidence`` as of ``Door.governed``."""
    inner = tool.on_invoke_tool

    async def invoke(context: ToolContext[Any], text: str) -> Any:
        arguments = json.loads(text) if text else {}

        async def call(given: Any) -> Any:
            return await inner(context, json.dumps(dict(given)) if given != arguments else text)

        try:
            return await door.arun(f"{server}/{tool.name}", arguments, call, reason=reason, confidence=confidence)
        except Denied as denied:
            return f"{tool.name} was not called: {denied.ruling.reason}"

    return dataclasses.replace(tool, on_invoke_tool=invoke)
