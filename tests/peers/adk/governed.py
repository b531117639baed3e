"""An ADK agent whose tools are decided on: ``python governed.py WORDS...`` prints what it answered to each of the words
and what its tools did as JSON."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

from google.adk.agents import LlmAgent
from google.adk.models.lite_llm import LiteLlm
from google.adk.runners import InMemoryRunner

from tenure.sdk import Denied, Door

RAN: list[str] = []
door = Door.from_environment()


@door.governed("local/refund", wait_s=0)
def refund(amount: int) -> str:
    """Pays money back."""
    RAN.append(f"refund {amount}")
    return f"paid {amount}"


def told(tool: Any, args: dict[str, Any], tool_context: Any, error: Exception) -> dict[str, str] | None:
    """What the model hears instead of what a tool raised; None for what is no denial, which ends the run."""
    del args, tool_context
    return {"error": f"{tool.name} was not called: {error}"} if isinstance(error, Denied) else None


async def run(words: str) -> str:
    """The agent's answer."""
    at = {"api_base": os.environ["OPENAI_BASE_URL"], "api_key": os.environ["OPENAI_API_KEY"]}
    model = LiteLlm(model="openai/governed", **at)
    clerk = LlmAgent(name="clerk", model=model, tools=[refund], on_tool_error_callback=told)
    events = await InMemoryRunner(agent=clerk, app_name="refunds").run_debug(words, quiet=True)
    return str(events[-1].content.parts[0].text)


if __name__ == "__main__":
    print(json.dumps({"answers": [asyncio.run(run(words)) for words in sys.argv[1:]], "ran": RAN}))
