"""The ledger reconciler: a Pydantic AI agent. Its model and its tools come from the environment, as the clerk's do."""

from __future__ import annotations

import os
import sys

from pydantic_ai import Agent
from pydantic_ai.mcp import MCPToolset
from pydantic_ai.models.openai import OpenAIChatModel


def main(name: str, task: str) -> None:
    """Does one task and prints the answer."""
    toolset = MCPToolset(
        os.environ["TENURE_MCP_URL"],
        headers={"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"},
        tool_error_behavior="failed",
    )
    agent = Agent(
        OpenAIChatModel(name),
        instructions="You reconcile the ledger. Report the number of invoices and what is still to be paid.",
        toolsets=[toolset],
    )
    print(f"reconciler: {agent.run_sync(task).output}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
