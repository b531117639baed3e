"""``tenure run``: any process as an agent. ``tenure instances``: what runs."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from tenure.client.cli import connect, console, emit, handle_errors, table
from tenure.kernel.errors import Refused
from tenure.runtime.process import Group
from tenure.runtime.tend import Tender

# The person's own credential is no agent's business.
# The person's own credential, and what model clients would read before the variables that lead to the gateway.
_KEPT_BACK = frozenset(
    {"TENURE_TOKEN", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_PROFILE", "GOOGLE_API_KEY"}
    | {"GOOGLE_GENAI_USE_VERTEXAI", "GOOGLE_GENAI_USE_ENTERPRISE", "GOOGLE_GENAI_API_VERSION"}
)


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("run", context_settings={"allow_interspersed_args": False})(run)
    app.command("instances")(instances)


@handle_errors
def run(
    command: Annotated[list[str], typer.Argument(help="The program and its arguments.", metavar="-- COMMAND...")],
    agent: Annotated[str, typer.Option(help="Name of the agent that the process is.")],
    ttl: Annotated[int | None, typer.Option(help="Life of its token, in seconds; at most 86400.")] = None,
    on_behalf_of: Annotated[str | None, typer.Option(help="The person it works for.")] = None,
) -> None:
    """Start any process as an agent: with an identity of its own, and wired to the gateway by its environment.

    The variables that the clients of OpenAI, Anthropic and Gemini read for address and key, TENURE_MCP_URL,
    TENURE_AGENT_TOKEN, TENURE_SESSION, TRACEPARENT and the OTEL_ variables are set. The process ends when the agent is
    suspended or retired. The exit status is the command's own.
    """
    if shutil.which(command[0]) is None:
        raise Refused("no_such_command", f"There is no program {command[0]!r}.", fix="Give a path, or look at PATH.")
    wish = {"ttl_s": ttl, "on_behalf_of": on_behalf_of}
    with connect() as client:
        started = client.post(f"/v1/agents/{agent}/instances", dict[str, Any], wish)
    env = {name: value for name, value in os.environ.items() if name not in _KEPT_BACK}
    try:
        group = Group(command, env | started["env"])
    except OSError as error:
        with connect() as client:
            client.post(f"/v1/instances/{started['instance']}/end", dict[str, Any], {"exit_code": 126})
        raise Refused(
            "cannot_start", f"{command[0]} cannot be started: {error.strerror}.", fix="Check that it can be executed."
        ) from error

    def stop(reason: str) -> None:
        _say(f"ending {agent}: {reason}")
        group.end()

    tender = Tender(connect, started["instance"], stop, _say)
    tender.start()
    status = group.wait()
    group.end()  # what the command left behind has no business under this identity any more
    tender.finish(status)
    raise typer.Exit(status)


def _say(text: str) -> None:
    sys.stderr.write(f"tenure: {text}\n")
    sys.stderr.flush()


@handle_errors
def instances(
    agent: Annotated[str, typer.Argument(help="Name of the agent.")],
    everything: Annotated[bool, typer.Option("--all", help="Those that have ended, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List what runs as an agent."""
    with connect() as client:
        found = client.get(f"/v1/agents/{agent}/instances", list[dict[str, Any]], live=not everything)

    def render() -> None:
        if not found:
            console.print(f"Nothing runs. Start something: tenure run --agent {agent} -- COMMAND", markup=False)
            return
        rows = [
            (
                item["id"],
                item["started_at"][:19].replace("T", " "),
                item["started_by"],
                "live" if item["ended_at"] is None else _ended(item),
                item["session"],
            )
            for item in found
        ]
        table(("instance", "started (UTC)", "by", "state", "session"), rows)

    emit(found, as_json, render)


def _ended(item: Mapping[str, Any]) -> str:
    return str(item["end"]) if item["exit_code"] is None else f"{item['end']} {item['exit_code']}"
