"""``tenure compare``."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from tenure.client.cli import connect, console, emit, handle_errors, table
from tenure.kernel.json import Json, JsonObject

_SHOWN = 100


@handle_errors
def compare(
    trace_id: Annotated[str, typer.Argument(help="A trace, as `traces list` prints it.")],
    other: Annotated[str, typer.Argument(help="The trace to lay beside it.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Lay two runs side by side: where they part for the first time, and why."""
    with connect() as client:
        answer = client.get(f"/v1/traces/{trace_id}/against/{other}", dict[str, Any])

    def render() -> None:
        pairs = answer["pairs"]
        rows = [
            (number + 1, "" if pair["same"] else "≠", _label(pair["left"]), _label(pair["right"]))
            for number, pair in enumerate(pairs)
        ]
        table(("step", "", "first run", "second run"), rows)
        for change in answer["context"]:
            console.print(f"{change['what']}: {change['left']} | {change['right']}", markup=False, style="dim")
        if answer["parting"] is None:
            console.print("The runs are the same, step for step.")
            return
        console.print(f"They part at step {answer['parting'] + 1}.", style="bold", markup=False)
        for sentence in answer["because"]:
            console.print(f"  {sentence}", markup=False)
        for change in pairs[answer["parting"]]["changes"]:
            for place in change["places"]:
                _print_place(change["what"], place)

    emit(answer, as_json, render)


def _label(step: JsonObject | None) -> str:
    return "–" if step is None else f"{step['label']}{' (refused)' if step['effect'] == 'deny' else ''}"


def _print_place(what: str, place: JsonObject) -> None:
    left, right = (_value(place[side], place[f"{side}_there"]) for side in ("left", "right"))
    console.print(f"  {what} {place['path'] or '(whole)'}: {left} | {right}", markup=False, highlight=False)


def _value(value: Json, there: bool) -> str:
    text = json.dumps(value, ensure_ascii=False) if there else "nothing"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(compare)
