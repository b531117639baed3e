"""Pydantic AI: a toolset whose calls are decided first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic_ai import RunContext
from pydantic_ai.exceptions import ModelRetry
from pydantic_ai.toolsets import AbstractToolset, ToolsetTool, WrapperToolset

from tenure.sdk.door import Denied, Door, Sure, Why


@dataclass
class Governed(WrapperToolset[Any]):
    """``Agent(toolsets=[Governed(toolset, door, "local")])``: tools are ``<server>/<name>`` in the agent's manifest.
    The model is told of a denial and goes on; a held call raises ``Held``, for whoever runs the agent to try again."""

    door: Door
    server: str
    reason: Why = ""
    confidence: Sure = None

    def __init__(
        self,
        wrapped: AbstractToolset[Any],
        door: Door,
        server: str,
        *,
        reason: Why = "",
        confidence: Sure = None,
    ) -> None:
        """``reason`` and ``confidence`` as of ``Door.governed``."""
        super().__init__(wrapped)
        self.door = door
        self.server = server
        self.reason = reason
        self.confidence = confidence

    async def call_tool(
        self, name: str, tool_args: dict[str, Any], ctx: RunContext[Any], tool: ToolsetTool[Any]
    ) -> Any:
        """As any toolset's."""

        async def call(arguments: Any) -> Any:
            return await self.wrapped.call_tool(name, dict(arguments), ctx, tool)

        try:
            said: dict[str, Any] = {"reason": self.reason, "confidence": self.confidence}
            return await self.door.arun(f"{self.server}/{name}", tool_args, call, **said)
        except Denied as denied:
            if denied.ruling.effect == "hold":
                raise
            raise ModelRetry(f"{name} was not called: {denied.ruling.reason}") from denied
