"""An AutoGen agent whose tools are decided on: ``python governed.py WORDS...`` prints what it answered to each of the
words and what its tools did as JSON."""

from __future__ import annotations

import asyncio
import json
import os
import sys

from autogen_agentchat.agents import AssistantAgent
from autogen_ext.models.openai import OpenAIChatCompletionClient

from tenure.sdk import Door

RAN: list[str] = []
door = Door.from_environment()


@door.governed("local/refund", wait_s=0)
async def refund(amount: int) -> str:
    """Pays money back."""
    RAN.append(f"refund {amount}")
    return f"paid {amount}"


async def run(words: str) -> str:
    """The agent's answer."""
    at = {"base_url": os.environ["OPENAI_BASE_URL"], "api_key": os.environ["OPENAI_API_KEY"]}
    info = {"function_calling": True, "vision": False, "json_output": False, "family": "unknown"}
    model = OpenAIChatCompletionClient(model="governed", model_info={**info, "structured_output": False}, **at)
    clerk = AssistantAgent("clerk", model_client=model, tools=[refund], reflect_on_tool_use=True)
    found = await clerk.run(task=words)
    await model.close()
    return str(found.messages[-1].to_text())


if __name__ == "__main__":
    print(json.dumps({"answers": [asyncio.run(run(words)) for words in sys.argv[1:]], "ran": RAN}))
