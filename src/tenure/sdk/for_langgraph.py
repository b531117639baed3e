"""LangGraph: ``ToolNode(tools, wrap_tool_call=governing(door, "local"))``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from langchain_core.messages import ToolMessage
from langgraph.prebuilt.tool_node import ToolCallRequest

from tenure.sdk.door import Denied, Door, Sure, Why


def governing(
    door: Door, server: str, *, reason: Why = "", confidence: Sure = None
) -> Callable[[ToolCallRequest, Callable[[ToolCallRequest], Any]], Any]:
    """A wrapper of tool calls: each is decided as ``<server>/<name>`` first. The model is told of a denial, as the
    error of that call. ``reason`` and ``confidence`` as of ``Door.governed``."""

    def wrap(request: ToolCallRequest, execute: Callable[[ToolCallRequest], Any]) -> Any:
        call = request.tool_call

        def go(arguments: Any) -> Any:
            return execute(request.override(tool_call={**call, "args": dict(arguments)}))

        try:
            return door.run(f"{server}/{call['name']}", call["args"], go, reason=reason, confidence=confidence)
        except Denied as denied:
            text = f"{call['name']} was not called: {denied.ruling.reason}"
            return ToolMessage(text, tool_call_id=call["id"], name=call["name"], status="error")

    return wrap
