"""A crew whose tools are decided on: ``python governed.py WAIT WORDS...`` gives the crew a task for each of the
words, and prints what it answered and what its tools did as JSON. Tenure is here as
``pip install --no-deps`` puts it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crewai import LLM, Agent, Crew, Task
from crewai.tools import tool

import tenure.sdk
from tenure.sdk import Door
from tenure.sdk.for_crewai import governing

RAN: list[str] = []


@tool("Refund")
def refund(amount: int) -> str:
    """Pays money back."""
    if amount == 13:
        raise ValueError("no luck")
    RAN.append(f"refund {amount}")
    return f"paid {amount}"


@tool("delete")
def delete(path: str) -> str:
    """Deletes a file."""
    RAN.append(f"delete {path}")
    return f"deleted {path}"


@tool("note")
def note(text: str) -> str:
    """Writes something down."""
    RAN.append(f"note {text}")
    return "noted"


@tool("look")
def look(path: str) -> str:
    """Looks at a file."""
    RAN.append(f"look {path}")
    return f"seen {path}"


def _reason(tool_name: str, given: Mapping[str, Any]) -> str:
    """What a call is for; there is one that it fails of."""
    if given == {"amount": 66}:
        raise KeyError(tool_name)
    return f"the customer asked for {dict(given)}"


def main(wait: str, *tasks: str) -> None:
    """Runs a crew for each task."""
    model = LLM(model="openai/governed", base_url=os.environ["OPENAI_BASE_URL"], api_key=os.environ["OPENAI_API_KEY"])
    answers = []
    door = Door.from_environment()
    words: dict[str, Any] = {"wait_s": float(wait), "confidence": 0.9, "reason": _reason}
    with governing(door, "local", only=("refund", "delete", "note"), **words):
        for asked in tasks:
            given = {"role": "clerk", "goal": "Do it.", "backstory": "Careful.", "tools": [refund, delete, note, look]}
            clerk = Agent(llm=model, **given)
            crew = Crew(agents=[clerk], tasks=[Task(description=asked, expected_output="It.", agent=clerk)])
            answers.append(str(crew.kickoff()))
    print(json.dumps({"answers": answers, "ran": RAN, "from": str(Path(tenure.sdk.__file__).parent)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
