"""``tenure blame``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tenure.client.cli import connect, console, emit, handle_errors
from tenure.kernel.money import dollars


@handle_errors
def blame(
    trace_id: Annotated[str, typer.Argument(help="As `traces list` prints it.")],
    limit: Annotated[int, typer.Option("--limit", min=1, max=50, help="At most so many steps.")] = 3,
    ask_judge: Annotated[
        bool,
        typer.Option("--ask-judge", help="First send what was said, redacted, to TENURE_BLAME_JUDGE."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say which step and which agent most likely failed a run, and what in its record says so.

    What a model said that was asked as well stands below it."""
    with connect() as client:
        if ask_judge:
            client.post(f"/v1/traces/{trace_id}/blame/opinions", dict[str, Any])
        answer = client.get(f"/v1/traces/{trace_id}/blame", dict[str, Any], limit=limit)

    def render() -> None:
        if not answer["judged"]:
            console.print("Nobody has judged this run. If it failed, then most likely here:", style="dim")
        agents = ", ".join(f"{each['agent'] or '–'} {each['share']:.0%}" for each in answer["agents"][:4])
        console.print(f"Agents: {agents}", markup=False)
        for one in answer["suspects"]:
            console.print(
                f"Step {one['step'] + 1}, {one['agent'] or '–'}, {one['share']:.0%} "
                f"({one['name']}, span {one['span_id']})",
                style="bold",
                markup=False,
                highlight=False,
            )
            for each in one["evidence"]:
                console.print(f"  {each['words']}", markup=False, highlight=False)
        for one in answer["opinions"]:
            _opinion(one)

    emit(answer, as_json, render)


def _opinion(one: dict[str, Any]) -> None:
    """What a model said, never without saying that one did."""
    who = f"{one['answered_by'] or one['model']} ({one['prompt']}), asked by {one['by']}"
    spent = f"{one['input_tokens']} tokens in, {one['output_tokens']} out"
    spent += f", {dollars(one['cost_usd'])}" if one["cost_usd"] else ", no price known"
    if one["state"] == "failed":
        said = f"gave no opinion: {one['detail']}."
    elif one["state"] == "unreadable":
        said = f"gave no opinion that can be read: {one['detail']} ({spent})."
    elif one["state"] == "asked":
        said = "has not answered yet."
    elif one["step"] is None:
        said = f"named a step; what it said is {one['gone'] or 'gone'}."
    else:
        said = f"names step {one['step'] + 1}, {one['agent'] or '–'}: {one['reason']} ({spent})"
    console.print(f"A model's opinion, {who}: {said}", markup=False, highlight=False)


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(blame)
