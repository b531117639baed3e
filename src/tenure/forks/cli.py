"""``tenure runs``: recorded runs by their steps, and played again."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from tenure.client.cli import connect, console, emit, handle_errors, table
from tenure.client.http import Client
from tenure.kernel.errors import Failed, Refused

commands = typer.Typer(name="runs", help="Recorded runs: their steps, and playing them again.", no_args_is_help=True)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Trace = Annotated[str, typer.Argument(help="A trace, as `traces list` prints it.")]
_LOOK_S = 0.3
_TAILS = (".cedar", ".links.json", ".sequence.yaml", ".test.yaml")


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(commands)


@commands.command()
@handle_errors
def steps(trace_id: Trace, as_json: AsJson = False) -> None:
    """List the steps of a run by their numbers."""
    with connect() as client:
        found = client.get(f"/v1/traces/{trace_id}/steps", list[dict[str, Any]])
    rows = [(one["number"], one["label"], one["agent"], one["effect"], one["error"]) for one in found]
    emit(found, as_json, lambda: table(("step", "", "agent", "decided", "error"), rows))


@commands.command()
@handle_errors
def fork(  # noqa: PLR0917 (one option each for what may be otherwise)
    trace_id: Trace,
    from_step: Annotated[int, typer.Option(min=1, help="The step to begin with, as `runs steps` numbers it.")],
    model: Annotated[str | None, typer.Option(help="Another model of the agent's release.")] = None,
    system: Annotated[Path | None, typer.Option(help="A file with other instructions.")] = None,
    prompt: Annotated[Path | None, typer.Option(help="A file with other last words of the person.")] = None,
    policy: Annotated[Path | None, typer.Option(help="A folder of policies to decide by; they need not run.")] = None,
    agent: Annotated[str | None, typer.Option(help="Whose model is called; needed for an imported run.")] = None,
    stand_in: Annotated[str | None, typer.Option(help="What is answered where the record has no answer.")] = None,
    go_on: Annotated[bool, typer.Option(help="Say what people said later again, whatever the model answers.")] = False,
    wait: Annotated[bool, typer.Option(help="Wait until it has ended.")] = True,
    as_json: AsJson = False,
) -> None:
    """Play a run again from a step with another prompt, model or policy; tools are answered from the record.

    Nothing is done: no tool is called. With --policy alone no model is called either."""
    body = {
        "step": from_step,
        "model": model,
        "system": _text(system),
        "prompt": _text(prompt),
        "policy": _folder(policy),
        "agent": agent,
        "stand_in": stand_in,
        "go_on": go_on,
    }
    with connect() as client:
        made = client.post(f"/v1/traces/{trace_id}/forks", dict[str, Any], body)
        if wait:
            made = _ended(client, made)
    emit(made, as_json, lambda: _print(made))


@commands.command()
@handle_errors
def forks(
    trace_id: Annotated[str | None, typer.Argument(help="Of this run only.")] = None, as_json: AsJson = False
) -> None:
    """List runs that were played again, the newest first."""
    with connect() as client:
        found = client.get("/v1/forks", list[dict[str, Any]], trace=trace_id)

    def render() -> None:
        if not found:
            console.print("None. `tenure runs fork TRACE --from-step N` plays a run again.")
            return
        rows = [
            (one["asked_at"][:16], one["trace_id"], one["of"], one["step"], ", ".join(one["changed"]), one["state"])
            for one in found
        ]
        table(("at", "trace", "of", "step", "otherwise", "came to"), rows)

    emit(found, as_json, render)


def _text(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Refused("cannot_read", f"Cannot read {path}: {error}.", fix="Give a file of text.") from error


def _folder(path: Path | None) -> list[dict[str, str]]:
    if path is None:
        return []
    files = [one for one in sorted(path.glob("*")) if one.name.endswith(_TAILS)]
    if not files:
        raise Refused("no_policy_files", f"There are no policies in {path}.", fix="Name a folder of .cedar files.")
    return [{"name": one.name, "text": _text(one) or ""} for one in files]


def _ended(client: Client, made: dict[str, Any]) -> dict[str, Any]:
    while made["state"] == "running":
        time.sleep(_LOOK_S)
        made = client.get(f"/v1/forks/{made['id']}", dict[str, Any])
    if made["state"] == "failed":
        raise Failed("fork_failed", f"{made['detail']} (trace {made['trace_id']})")
    return made


def _print(made: dict[str, Any]) -> None:
    otherwise = ", ".join(made["changed"]) or "nothing"
    console.print(f"fork {made['id']} of {made['of']} at step {made['step']}, otherwise: {otherwise}", markup=False)
    console.print(f"{made['state']} after {made['turns']} calls of the model. {made['detail']}", markup=False)
    console.print(f"compare: tenure compare {made['of']} {made['trace_id']}", markup=False, style="dim")
