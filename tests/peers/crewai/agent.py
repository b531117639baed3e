"""A crew of one clerk with two tools: ``python agent.py MODE INVOICE``; MODE is ``calls`` or ``events``, which are the
two ways of the instrumentation."""

from __future__ import annotations

import os
import sys

from crewai import LLM, Agent, Crew, Task
from crewai.tools import tool
from openinference.instrumentation.crewai import CrewAIInstrumentor
from openinference.instrumentation.openai import OpenAIInstrumentor

from tests.peers.exporting import tracing


@tool("look_up")
def look_up(invoice: str) -> str:
    """What an invoice says."""
    return f"{invoice}: 5 cents"


@tool("refund")
def refund(invoice: str, cents: int) -> str:
    """Pays money back."""
    if cents > 100:
        raise ValueError("too much")
    return f"refunded {cents} of {invoice}"


def main(mode: str, invoice: str) -> None:
    """Runs the crew once."""
    with tracing() as tracers:
        CrewAIInstrumentor().instrument(tracer_provider=tracers, use_event_listener=mode == "events")
        if mode == "calls":
            OpenAIInstrumentor().instrument(tracer_provider=tracers)
        model = LLM(model="openai/gpt-4o", base_url=os.environ["OPENAI_BASE_URL"], api_key=os.environ["OPENAI_API_KEY"])
        clerk = Agent(
            role="clerk", goal="Refund what is due.", backstory="Careful.", llm=model, tools=[look_up, refund]
        )
        task = Task(description=f"Refund invoice {invoice}.", expected_output="What was paid back.", agent=clerk)
        print(Crew(agents=[clerk], tasks=[task]).kickoff())


if __name__ == "__main__":
    main(*sys.argv[1:])
