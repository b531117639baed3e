"""``tenure agents behaviour``, ``tenure agents signals`` and ``tenure traces deviations``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tenure.client.cli import connect, console, emit, group, handle_errors, table

Agent = Annotated[str, typer.Argument(help="Name of the agent.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_SHOWN = 12


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    group(app, "agents").command()(behaviour)
    group(app, "agents").command()(signals)
    group(app, "traces").command()(deviations)


@handle_errors
def behaviour(
    agent: Agent,
    hours: Annotated[int, typer.Option(min=1, max=720, help="What is held against the time before.")] = 24,
    days: Annotated[int, typer.Option(min=1, max=366, help="How long before that is learned from.")] = 30,
    release: Annotated[
        str | None, typer.Option(help="Hold what was done under this release against what was before it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Hold what an agent did of late against what is usual of it. Exits with 1 where it surely deviates."""
    with connect() as client:
        path = f"/v1/agents/{agent}/behaviour"
        found = client.get(path, dict[str, Any], hours=hours, days=days, release=release)
    emit(found, as_json, lambda: _show(found))
    if found["state"] == "deviates":
        raise typer.Exit(1)


def _show(found: dict[str, Any]) -> None:
    if found["state"] == "learning":
        console.print(f"Still learning: {found['learned']} of {found['needed']} tool calls.", style="bold")
        console.print("What it does is held against that as soon as there are enough.", style="dim")
        return
    if found["state"] == "quiet":
        console.print("It called no tool in that time. `--hours` looks further back.")
        return
    surely = [one for one in found["deviations"] if one["sure"]]
    said = f"{len(surely)} deviations" if len(surely) > 1 else "1 deviation" if surely else "As usual"
    console.print(f"{said}: {found['calls']} tool calls in {found['runs']} runs", style="bold", highlight=False)
    console.print(f"Held against {found['against']}: {found['learned']} in {found['learned_runs']} runs", style="dim")
    handed, coherent = (f"{one:.0%}" if one is not None else "–" for one in (found["handoff_rate"], found["coherence"]))
    console.print(
        f"Runs with a person brought in: {handed}; calls that repeated none in vain: {coherent}", highlight=False
    )
    for one in found["deviations"]:
        mark = "!" if one["sure"] else " "
        trace = f"  (trace {one['trace_id']})" if one["trace_id"] else ""
        console.print(f"{mark} {one['words']}{trace}", markup=False, highlight=False)
    tools = [(one["name"], f"{one['expected']:.1%}", f"{one['seen']:.1%}", one["now"]) for one in found["tools"]]
    table(("tool", "usually", "now", "calls"), tools[:_SHOWN])
    medians = [(f"{m['name']}, {m['unit']}", _amount(m["expected"]), _amount(m["seen"])) for m in found["figures"]]
    table(("median of", "usually", "now"), medians)


def _amount(value: float | None) -> str:
    return "–" if value is None else f"{value:,.4g}" if value < 1000 else f"{value:,.0f}"


@handle_errors
def signals(agent: Agent, as_json: AsJson = False) -> None:
    """Show which signals are seen of an agent, which are not, and what to do about those."""
    with connect() as client:
        found = client.get(f"/v1/agents/{agent}/signals", list[dict[str, Any]])

    def render() -> None:
        rows = [
            (
                place,
                one["title"],
                one["state"],
                f"{one['count']:,}" if one["count"] else "–",
                one["todo"] or one["what"],
            )
            for place, one in enumerate(found, 1)
        ]
        table(("", "signal", "state", "in 30 days", "what to do, or what it tells"), rows)

    emit(found, as_json, render)


@handle_errors
def deviations(
    trace_id: Annotated[str, typer.Argument(help="As `traces list` prints it.")], as_json: AsJson = False
) -> None:
    """Show what the calls of a trace do that their agents never did before it."""
    with connect() as client:
        found = client.get(f"/v1/traces/{trace_id}/deviations", list[dict[str, Any]])

    def render() -> None:
        if not found:
            console.print("Nothing in it is unlike what its agents did before, or too little is known of them.")
        for one in found:
            mark = "!" if one["sure"] else " "
            console.print(f"{mark} {one['words']}  (span {one['span_id']})", markup=False, highlight=False)

    emit(found, as_json, render)
