"""Traces in a real Phoenix, as its own API tells of them: each once, whoever is killed in between."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import httpx2
import pytest

from demo.processes import Process, free_port, listening, until
from tenure.sdk import Denied, Door
from tests.peers.conftest import IBAN, QUIET, House, needs, python_of

pytestmark = [pytest.mark.timeout(900), needs("phoenix")]

PROJECT = "tellers"


class Phoenix:
    """A Phoenix server with its database in ``folder``, which can be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port(0)
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self.process = self.start()

    def start(self) -> Process:
        """Starts it and waits until it serves."""
        place = {
            "PHOENIX_HOST": "127.0.0.1",
            "PHOENIX_PORT": str(self.port),
            "PHOENIX_GRPC_PORT": str(free_port(0)),
            "PHOENIX_WORKING_DIR": str(self._folder),
            "HOME": str(self._folder),
            "PATH": os.environ["PATH"],
        }
        process = Process((str(python_of("phoenix").parent / "phoenix"), "serve"), {**QUIET, **place})
        until(lambda: listening(self.port) or process.status() is not None, "Phoenix", 300)
        assert process.status() is None, "\n".join(process.lines[-40:])
        self.process = process
        return process

    def spans(self) -> list[dict[str, Any]]:
        """All that it has of the project."""
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            asked = {"limit": "1000"} | ({"cursor": cursor} if cursor else {})
            answer = httpx2.get(f"{self.url}/v1/projects/{PROJECT}/spans", params=asked, timeout=60, trust_env=False)
            if answer.status_code == 404:  # it makes the project when the first span comes
                return found
            page = answer.raise_for_status().json()
            found += page["data"]
            cursor = page["next_cursor"]
            if not cursor:
                return found


def _works(house: House, wired: dict[str, str], amount: int) -> None:
    """A model call and a tool call of the teller, both allowed or the latter refused."""
    body = {"model": "governed", "messages": [{"role": "user", "content": f"From {IBAN}. Pay {amount}."}]}
    tools = [{"type": "function", "function": {"name": "refund", "parameters": {"type": "object"}}}]
    headers = {"authorization": f"Bearer {wired['OPENAI_API_KEY']}", "x-tenure-session": wired["TENURE_SESSION"]}
    url = f"{wired['OPENAI_BASE_URL']}/chat/completions"
    answer = httpx2.post(url, json={**body, "tools": tools}, headers=headers, timeout=60, trust_env=False)
    assert answer.status_code == 200, answer.text
    door = Door.from_environment(wired | {"TENURE_SPOOL": str(house.home / "out")})
    try:
        door.run("local/refund", {"amount": amount, "note": f"from {IBAN}"}, lambda given: f"paid {given['amount']}")
    except Denied:
        assert amount > 100


def _kill(house: House) -> None:
    """SIGKILL for the control plane; returns when its successor serves."""
    before = house.tenure.pid("control")
    house.tenure.child("control").kill()
    back = lambda: house.tenure.pid("control") not in (0, before) and listening(house.tenure.control_port)  # noqa: E731 (one expression)
    until(back, "another control plane", 120)


def _ours(house: House, trace: str) -> list[dict[str, Any]]:
    with house.tenure.client() as client:
        found: list[dict[str, Any]] = client.get(f"/v1/traces/{trace}", dict[str, Any])["spans"]
    return found


@pytest.mark.req("R086", "R094")
def test_phoenix_has_each_span_once_with_its_kind_its_tokens_and_what_may_be_known(
    house: House, tmp_path: Path
) -> None:
    phoenix = Phoenix(tmp_path)
    wired = house.tenure.instance("teller")["env"]
    trace = wired["TRACEPARENT"].split("-")[1]
    try:
        words = ("--to", "phoenix", "--url", phoenix.url, "--project", PROJECT, "--content")
        house.tenure.run("exports", "put", "phoenix", *words)
        _works(house, wired, 5)
        until(lambda: len(phoenix.spans()) > 0, "the first spans to be there", 120)
        _works(house, wired, 500)
        _kill(house)  # as likely as not between what Phoenix has and what was noted
        _works(house, wired, 5)
        phoenix.process.stop()
        _works(house, wired, 5)
        _kill(house)
        phoenix.start()

        def calls() -> int:
            kinds = Counter(span["span_kind"] for span in phoenix.spans() if span["context"]["trace_id"] == trace)
            return kinds["LLM"] + kinds["TOOL"]

        until(lambda: calls() >= 8, "every call to be there", 300)
        # A trace is shown with what was done meanwhile, such as the start of its instance, which is no span of it.
        ours = {s["span_id"] for s in _ours(house, trace) if s["type"].startswith("call.") or s["type"] == "decision"}

        def there() -> Counter[str]:
            mine = (span["context"] for span in phoenix.spans() if span["context"]["trace_id"] == trace)
            return Counter(str(context["span_id"]) for context in mine)

        until(lambda: set(there()) >= ours, "every span to be there", 300)
        assert set(there()) == ours
        assert set(there().values()) == {1}
        found = [span for span in phoenix.spans() if span["context"]["trace_id"] == trace]
        _holds(found)
        assert IBAN not in str(found)
        with house.tenure.client() as client:
            (standing,) = client.get("/v1/exports", dict[str, Any])["exports"]
        assert standing["dropped"] == 0
        house.tenure.run("exports", "remove", "phoenix")
    finally:
        phoenix.process.stop()


def _holds(found: list[dict[str, Any]]) -> None:
    """Four model calls, four tool calls of which one was refused, and a decision for each."""
    kinds = Counter(span["span_kind"] for span in found)
    assert (kinds["LLM"], kinds["TOOL"], kinds["GUARDRAIL"]) == (4, 4, 8)
    for span in found:
        said = span["attributes"]
        if span["span_kind"] == "LLM":
            assert said["llm.model_name"] == "governed"
            assert (said["llm.token_count.prompt"], said["llm.token_count.completion"]) == (10, 3)
            assert said["llm.input_messages.0.message.content"].startswith("From [")
    tools = [span for span in found if span["span_kind"] == "TOOL"]
    assert {span["attributes"]["tool.name"] for span in tools} == {"refund"}
    results = Counter(str(span["attributes"].get("output.value")) for span in tools)
    assert results == {"paid 5": 3, "None": 1}
