"""An ADK agent with two tools: ``python agent.py MODE INVOICE``; MODE is ``own`` for ADK's spans, ``openinference`` for
those of the instrumentation."""

from __future__ import annotations

import asyncio
import os
import sys

from google.adk.agents import LlmAgent
from google.adk.models.lite_llm import LiteLlm
from google.adk.runners import InMemoryRunner
from openinference.instrumentation.google_adk import GoogleADKInstrumentor

from tests.peers.exporting import tracing


def look_up(invoice: str) -> str:
    """What an invoice says."""
    return f"{invoice}: 5 cents"


def refund(invoice: str, cents: int) -> str:
    """Pays money back."""
    if cents > 100:
        raise ValueError("too much")
    return f"refunded {cents} of {invoice}"


async def run(invoice: str) -> None:
    """Runs the agent once. What a tool raises ends the run: ADK passes it on."""
    at = {"api_base": os.environ["OPENAI_BASE_URL"], "api_key": os.environ["OPENAI_API_KEY"]}
    model = LiteLlm(model="openai/gpt-4o", **at)
    clerk = LlmAgent(name="clerk", model=model, instruction="Refund what is due.", tools=[look_up, refund])
    runner = InMemoryRunner(agent=clerk, app_name="refunds")
    try:
        events = await runner.run_debug(f"Refund invoice {invoice}.", quiet=True)
    except ValueError as error:
        print(error)
    else:
        print(events[-1].content.parts[0].text)


def main(mode: str, invoice: str) -> None:
    """Runs it under a tracer."""
    with tracing() as tracers:
        if mode == "openinference":
            GoogleADKInstrumentor().instrument(tracer_provider=tracers)
        asyncio.run(run(invoice))


if __name__ == "__main__":
    main(*sys.argv[1:])
