"""A gateway, and an agent whose tools run in its own process and ask there."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tenure.kernel.snapshot import ServerFact, ToolFact
from tenure.sdk import Door
from tests.sim.control import ControlSim
from tests.sim.gateway import GatewayProcess, agent_fact

RULES = """
@id("no-large-refund")
@reason("Refunds end at 100.")
forbid (principal, action == Action::"call_tool", resource == Tool::"local/refund")
when { context.longs.hasTag("amount") && context.longs.getTag("amount") > 100 };
@id("ask-first")
@obligation("approve")
@reason("Deleting takes a person's word.")
forbid (principal, action == Action::"call_tool", resource == Tool::"local/delete")
unless { context.approved };
"""
TOOLS = tuple(
    ToolFact(server, name)
    for server, name in (("local", "refund"), ("local", "delete"), ("claude-code", "Bash"), ("codex", "Bash"))
)


@dataclass
class Site:
    """A gateway, and an agent whose tools run in its own process."""

    folder: Path
    control: ControlSim
    gateway: GatewayProcess

    def door(self, **more: Any) -> Door:
        return Door(self.gateway.url, self.control.token("clerk"), folder=self.folder / "client", **more)

    def calls(self, count: int = 1) -> list[dict[str, Any]]:
        def found(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
            calls = [event for event in events if event["type"].startswith("call.")]
            return calls if len(calls) >= count else []

        result: list[dict[str, Any]] = self.control.wait(found)
        return result

    def settle(self) -> None:
        end = time.monotonic() + 60
        while not self.gateway.acts_on(self.control.snapshot.version):
            assert time.monotonic() < end
            time.sleep(0.005)

    def fact(self, **more: Any) -> None:
        servers = tuple(ServerFact(name, in_process=True) for name in ("local", "claude-code", "codex"))
        self.control.agent(replace(agent_fact("http://127.0.0.1:1/v1", (), tools=TOOLS), servers=servers, **more))
        self.settle()
