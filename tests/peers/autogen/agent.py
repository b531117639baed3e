"""An AutoGen team of one clerk with two tools: ``python agent.py MODE INVOICE``; MODE is ``own`` for AutoGen's spans
with those of the model's client, ``openinference`` for those of the instrumentation."""

from __future__ import annotations

import asyncio
import os
import sys

from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.conditions import TextMentionTermination
from autogen_agentchat.teams import RoundRobinGroupChat
from autogen_ext.models.openai import OpenAIChatCompletionClient
from openinference.instrumentation.autogen_agentchat import AutogenAgentChatInstrumentor
from openinference.instrumentation.openai import OpenAIInstrumentor

from tests.peers.exporting import tracing


async def look_up(invoice: str) -> str:
    """What an invoice says."""
    return f"{invoice}: 5 cents"


async def refund(invoice: str, cents: int) -> str:
    """Pays money back."""
    if cents > 100:
        raise ValueError("too much")
    return f"refunded {cents} of {invoice}"


async def run(invoice: str) -> None:
    """Runs the team once."""
    at = {"base_url": os.environ["OPENAI_BASE_URL"], "api_key": os.environ["OPENAI_API_KEY"]}
    model = OpenAIChatCompletionClient(model="gpt-4o", **at)
    said = {"system_message": "Refund what is due.", "max_tool_iterations": 5}
    clerk = AssistantAgent("clerk", model_client=model, tools=[look_up, refund], **said)
    team = RoundRobinGroupChat([clerk], termination_condition=TextMentionTermination("Done."), max_turns=3)
    found = await team.run(task=f"Refund invoice {invoice}.")
    print(found.messages[-1].to_text())
    await model.close()


def main(mode: str, invoice: str) -> None:
    """Runs it under a tracer."""
    with tracing() as tracers:
        if mode == "own":
            OpenAIInstrumentor().instrument(tracer_provider=tracers)
        else:
            AutogenAgentChatInstrumentor().instrument(tracer_provider=tracers)
        asyncio.run(run(invoice))


if __name__ == "__main__":
    main(*sys.argv[1:])
