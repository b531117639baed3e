"""What the control plane makes of a definition that a gateway has seen, for gateways under test."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tenure.kernel.fingerprint import fingerprint
from tenure.kernel.snapshot import AgentFact, ToolFact


def pinned(agent: AgentFact, seen: Mapping[str, Any]) -> AgentFact:
    """The agent as the control plane makes it of what a gateway has seen: pinned at first sight, else suspended."""

    def one(tool: ToolFact) -> ToolFact:
        if (tool.server, tool.name) != (seen["server"], seen["tool"]):
            return tool
        if tool.pin is not None:
            back = tool.pin.digest == seen["fingerprint"]
            return replace(tool, seen="" if back else seen["fingerprint"])
        return replace(tool, pin=fingerprint(json.loads(seen["definition"])))

    return replace(agent, tools=tuple(one(tool) for tool in agent.tools))
