"""``tenure audit``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tenure.client.cli import connect, console, emit, handle_errors, table

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_audit = typer.Typer(no_args_is_help=True, help="The chain of what was done and decided.")


def register(app: typer.Typer) -> None:
    """Adds audit's commands."""
    app.add_typer(_audit, name="audit")


def _short(facts: dict[str, Any]) -> str:
    hidden = {"release", "instance", "session", "trace_id", "span_id", "policy_version"}
    flat = {**facts, **facts.get("decision", {})}
    return " ".join(
        f"{name}={','.join(map(str, value)) if isinstance(value, list) else value}"
        for name, value in flat.items()
        if name not in hidden | {"decision"} and value != []
    )


@_audit.command("list")
@handle_errors
def list_entries(
    after: Annotated[int, typer.Option("--after", help="Begin after this number; the newest if not given.")] = -1,
    limit: Annotated[int, typer.Option("--limit", help="At most this many.", min=1, max=1000)] = 50,
    agent: Annotated[str, typer.Option("--agent", help="Of this agent only; from the beginning unless --after.")] = "",
    as_json: AsJson = False,
) -> None:
    """List entries, oldest first."""
    with connect() as client:
        begin = after
        if begin < 0:
            size = int(client.get("/v1/audit", dict[str, Any], limit=1)["size"])
            begin = 0 if agent else max(0, size - limit)
        found = client.get("/v1/audit", dict[str, Any], after=begin, limit=limit, agent=agent or None)
    rows = [
        (e["seq"], e["time"][:19], e["type"], e["agent"] or "", e["actor"], _short(e["facts"]))
        for e in found["entries"]
    ]
    emit(found, as_json, lambda: table(("seq", "time", "what", "agent", "who", "facts"), rows))


@_audit.command("verify")
@handle_errors
def verify(as_json: AsJson = False) -> None:
    """Check every entry, every link and the checkpoint. Exit status 1 when the chain does not hold."""
    with connect(timeout=3600.0) as client:  # a long chain takes its time
        verdict = client.get("/v1/audit/verify", dict[str, Any])

    def render() -> None:
        for problem in verdict["problems"]:
            console.print(f"{problem['kind']}: {problem['message']}", style="red", markup=False, soft_wrap=True)
        if verdict["ok"]:
            pinned = verdict["checkpoint"]
            until = f"checkpoint at entry {pinned['size']} ({pinned['time'][:19]})" if pinned else "no checkpoint yet"
            text = f"{verdict['entries']} entries hold; {until}; head {verdict['head'][:16]}"
            console.print(text, markup=False, soft_wrap=True)
        else:
            console.print(f"the chain of {verdict['entries']} entries does not hold", style="red", markup=False)

    emit(verdict, as_json, render)
    if not verdict["ok"]:
        raise typer.Exit(1)


@_audit.command("checkpoint")
@handle_errors
def checkpoint(as_json: AsJson = False) -> None:
    """Show the newest signed checkpoint. Keep one elsewhere: it proves later what the chain was today."""
    with connect() as client:
        pinned = client.get("/v1/audit/checkpoint", dict[str, Any])

    def render() -> None:
        for name in ("size", "head", "time", "signature"):
            console.print(f"{name:<10} {pinned[name]}", markup=False, soft_wrap=True)

    emit(pinned, as_json, render)
