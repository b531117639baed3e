"""Peers that cannot live in the project's environment, each in one of its own that ``make peers`` makes; and the Tenure
that they meet."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from demo.processes import Process, free_port, until
from tests.sim.installation import Installation, clean_environment
from tests.sim.manifests import manifest

ROOT = Path(__file__).resolve().parents[2]
IBAN = "DE89370400440532013000"
DEFAULTS = ROOT / "src" / "tenure" / "policy" / "defaults"
QUIET = {
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_TRACING_ENABLED": "false",
    "ANONYMIZED_TELEMETRY": "false",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "PHOENIX_TELEMETRY_ENABLED": "false",
}
"""They reach for nobody but us."""


def _used(prompt: int, completion: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _asks(tool: str, arguments: dict[str, Any], used: tuple[int, int], **when: str) -> dict[str, Any]:
    """The model asks for a tool."""
    call = {"id": f"call-{tool}".lower(), "name": tool, "arguments": arguments}
    return {"model": "gpt-4o", **when, "tool_calls": [call], "usage": _used(*used)}


RULES: list[dict[str, Any]] = [
    {"model": "gpt-4o", "after_tool": "refund", "content": "Done.", "usage": _used(30, 2)},
    _asks("refund", {"invoice": "I-7", "cents": 5}, (20, 4), after_tool="look_up"),
    _asks("refund", {"invoice": "I-9", "cents": 500}, (10, 3), contains="I-9"),
    _asks("look_up", {"invoice": "I-7"}, (10, 3)),
    *(_asks("refund", {"amount": n}, (10, 3), model="governed", contains=f"Pay {n}.") for n in (5, 500, 13, 66)),
    _asks("note", {"text": f"to {IBAN}"}, (10, 3), model="governed", contains="note it"),
    *(_asks(verb, {"path": "a"}, (10, 3), model="governed", contains=f"{verb} a") for verb in ("delete", "look")),
]
"""The model looks I-7 up, refunds it and says that it is done; of I-9 it refunds too much at once. The other one does
what it is told with one tool, and says what it heard of it."""
POLICIES = """
@id("no-large-refund")
@reason("Refunds end at 100.")
forbid (principal, action == Action::"call_tool", resource == Tool::"local/refund")
when { context.longs.hasTag("amount") && context.longs.getTag("amount") > 100 };
@id("cut")
@obligation("redact:personal")
permit (principal, action == Action::"call_tool", resource == Tool::"local/note")
when { context.findings.contains("personal") };
@id("goes-on")
@fail_mode("open")
permit (principal, action, resource == Tool::"local/refund");
"""


def python_of(peer: str) -> Path:
    """The Python of a peer's environment."""
    return ROOT / ".peers" / peer / "bin" / "python"


def _is_here(peer: str) -> bool:
    made, lock = (folder / peer / "requirements.lock" for folder in (ROOT / ".peers", ROOT / "tests" / "peers"))
    return "TENURE_PEERS" in os.environ and made.exists() and made.read_bytes() == lock.read_bytes()


def needs(peer: str) -> pytest.MarkDecorator:
    """Skips where the peer's environment is not there as its lock has it, and in a run that is to be quick."""
    return pytest.mark.skipif(not _is_here(peer), reason=f"{peer} has an environment of its own: run `make peers`")


@dataclass
class Ran:
    """What an agent printed, and the trace that it was started in."""

    said: str
    trace: str


@dataclass
class House:
    """A running Tenure with the agent ``clerk``, whose model is scripted."""

    tenure: Installation
    otlp: int
    home: Path
    folder: Path

    def run(
        self, peer: str, *words: str, env: Mapping[str, str], agent: str = "clerk", script: str = "agent.py"
    ) -> Ran:
        """Starts an instance of ``agent`` and runs the peer's script as that instance, until it ends."""
        python = python_of(peer)
        wired = self.tenure.instance(agent)["env"]
        path = {"PATH": f"{python.parent}:/usr/bin:/bin", "HOME": str(self.home), "PYTHONPATH": str(ROOT)}
        command = [str(python), str(ROOT / "tests" / "peers" / peer / script), *words]
        done = subprocess.run(
            command,
            env={**path, **QUIET, **wired, **env},
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-6000:]}"
        return Ran(done.stdout.strip(), wired["TRACEPARENT"].split("-")[1])

    def over(self, transport: str) -> dict[str, str]:
        """What an exporter reads to send over gRPC or HTTP; ``tenure run`` sets the latter."""
        if transport == "http":
            return {}
        place = f"http://127.0.0.1:{self.otlp}"
        return {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_ENDPOINT": place}

    def trace(self, ident: str, calls: int) -> list[dict[str, Any]]:
        """The spans of a trace, once the gateway has told of so many calls in it."""
        found: list[dict[str, Any]] = []

        def there() -> bool:
            with self.tenure.client() as client:
                found[:] = client.get(f"/v1/traces/{ident}", dict[str, Any])["spans"]
            return len([span for span in found if span["type"].startswith("call.")]) >= calls

        until(there, f"{calls} calls in the trace", 120)
        return found


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder, otlp = tmp_path_factory.mktemp("peers"), free_port(0)
    rules = folder / "rules.json"
    rules.write_text(json.dumps(RULES))
    model = Process((sys.executable, "-m", "tests.sim.model_provider", "--rules", str(rules)), clean_environment())
    until(lambda: any("ready" in line for line in model.lines), "the model provider")
    address = model.lines[0].split()[-1]
    (folder / "home").mkdir()
    try:
        settings = {"TENURE_OTLP_PORT": str(otlp), "TENURE_EXPORT_PRIVATE": "127.0.0.1"}
        with Installation(folder / "data", settings) as tenure:
            tenure.employ(
                manifest("clerk", address, model={"provider": "openai", "name": "gpt-4o", "base_url": address})
            )
            tools: list[dict[str, Any]] = [{"name": "local/refund"}, {"name": "local/note"}]
            tools.append({"name": "local/delete", "autonomy": "approve"})
            model_of = {"provider": "openai", "name": "governed", "base_url": address}
            servers = {"local": {"in_process": True}}
            tenure.employ(manifest("teller", address, model=model_of, servers=servers, tools=tools))
            policies = folder / "policies"
            shutil.copytree(DEFAULTS, policies)
            (policies / "tests.cedar").write_text(POLICIES)
            tenure.run("policy", "publish", str(policies), "--reason", "a test needs it", "--yes")
            yield House(tenure, otlp, folder / "home", folder)
    finally:
        model.stop()
