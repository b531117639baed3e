"""``tenure approvals``: held calls and what to do with them."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated, Any

import typer

from tenure.approvals import ladder_cli, standin_cli
from tenure.client.cli import confirm, connect, console, emit, handle_errors, table
from tenure.kernel.errors import Refused

commands = typer.Typer(name="approvals", help="Held calls: list, show, approve, reject.", no_args_is_help=True)
commands.add_typer(standin_cli.commands)
commands.add_typer(ladder_cli.commands)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
For = Annotated[str, typer.Option("--for", help="For whom you stand in; left out, your own right goes first.")]
Ident = Annotated[str, typer.Argument(help="The approval's id, as `tenure approvals list` shows it.")]


class Decision(StrEnum):
    """What a person says."""

    APPROVE = "approve"
    REJECT = "reject"


class Wanted(StrEnum):
    """Which approvals to list."""

    PENDING = "pending"
    GRANTED = "granted"
    REJECTED = "rejected"
    EXPIRED = "expired"
    CLAIMED = "claimed"
    ALL = "all"


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(commands)


@commands.command("list")
@handle_errors
def find(
    state: Annotated[Wanted, typer.Option(help="Which ones.")] = Wanted.PENDING,
    agent: Annotated[str | None, typer.Option(help="Of this agent only.")] = None,
    as_json: Json = False,
) -> None:
    """List held calls, newest first; those that wait for a decision unless told otherwise."""
    with connect() as client:
        found = client.get(
            "/v1/approvals", list[dict[str, Any]], state=None if state is Wanted.ALL else state.value, agent=agent
        )

    def render() -> None:
        if not found:
            console.print("Nothing waits." if state is Wanted.PENDING else "None.")
            return
        rows = [
            (
                item["id"],
                item["state"],
                item["agent"],
                item["resource"],
                json.dumps(item["arguments"])[:60],
                item["why"],
            )
            for item in found
        ]
        table(("id", "state", "agent", "resource", "arguments", "why"), rows)

    emit(found, as_json, render)


@commands.command()
@handle_errors
def show(ident: Ident, as_json: Json = False) -> None:
    """Show one held call: what exactly, by whom, for what purpose, and why it was held."""
    with connect() as client:
        item = client.get(f"/v1/approvals/{ident}", dict[str, Any])
    emit(item, as_json, lambda: _render(item))


def _render(item: dict[str, Any]) -> None:
    for label, key in (
        ("state", "state"),
        ("agent", "agent"),
        ("purpose", "purpose"),
        ("resource", "resource"),
        ("held because", "why"),
        ("asked at", "requested_at"),
        ("runs out at", "expires_at"),
        ("made for", "on_behalf_of"),
        ("task", "task"),
        ("decided by", "decided_by"),
        ("in place of", "decided_for"),
        ("reason", "reason"),
        ("used by call", "claim"),
        ("trace", "trace_id"),
        ("digest", "covers"),
        ("withheld", "withheld"),
    ):
        if item[key]:
            console.print(f"{label:<13} {item[key]}", markup=False, soft_wrap=True)
    _render_people(item)
    console.print(f"{'policies':<13} {', '.join(item['policies'])}", markup=False, soft_wrap=True)
    if item["justification"]:
        console.print(f"{'agent says':<13} {item['justification']}", markup=False, soft_wrap=True)
    for note in item["notes"]:
        console.print(f"{'note':<13} {note}", markup=False, soft_wrap=True)
    for label, key in (("arguments", "arguments"), ("changed to", "edited")):
        if item[key] is not None:
            console.print(label)
            console.print(json.dumps(item[key], indent=2, ensure_ascii=False), markup=False, soft_wrap=True)


def _render_people(item: dict[str, Any]) -> None:
    """Who asked, who answered, who is waited for."""
    for one in item["given"]:
        who = one["by"] if one["by"] == one["holder"] else f"{one['by']} for {one['holder']}"
        said = f": {one['reason']}" if one["reason"] else ""
        console.print(f"{'approved by':<13} {who}, {one['at']}{said}", markup=False, soft_wrap=True)
    if ladder := item["escalation"]:
        done = f"{item['step']} of {len(ladder['steps'])} steps taken"
        said = f"{ladder['ladder']}, {done}; unanswered at the deadline: {ladder['at_deadline']}"
        console.print(f"{'ladder':<13} {said}", markup=False, soft_wrap=True)
    if len(item["chain"]) > 1:
        console.print(f"{'handed on':<13} {' -> '.join(item['chain'])}", markup=False, soft_wrap=True)
    for one in item["against"]:
        console.print(f"{'against it':<13} {one}", markup=False, soft_wrap=True)
    if item["recommended"]:
        said = f"{item['recommended']}{', and it was approved all the same' if item['overruled'] else ''}"
        console.print(f"{'recommended':<13} {said}", markup=False, soft_wrap=True)
    if item["refusal"]:
        console.print(f"{'not by you':<13} {item['refusal']}", markup=False, soft_wrap=True)
    for one in item["missing"]:
        console.print(f"{'waits for':<13} {one}", markup=False, soft_wrap=True)


@commands.command()
@handle_errors
def approve(  # noqa: PLR0917 (the options of one command)
    ident: Ident,
    reason: Annotated[str, typer.Option(help="Why; kept in the audit. Needed with other arguments.")] = "",
    for_: For = "",
    arguments: Annotated[str, typer.Option(help="Make it with these arguments (a JSON object) instead.")] = "",
    digest: Annotated[str, typer.Option(help="The digest that you were shown, where somebody changed the call.")] = "",
    as_json: Json = False,
) -> None:
    """Approve a held call: exactly this one, once; or with other arguments, which the agent is told."""
    _decide(ident, "approve", reason, for_, as_json, {"digest": digest, "arguments": _object(arguments)})


def _object(text: str) -> Any:
    try:
        found = json.loads(text) if text else None
    except ValueError as error:
        raise Refused("bad_arguments", f"These arguments are no JSON: {error}") from error
    if found is not None and not isinstance(found, dict):
        raise Refused("bad_arguments", "Arguments are a JSON object.", fix='As in {"amount": 5}.')
    return found


@commands.command()
@handle_errors
def reject(
    ident: Ident,
    reason: Annotated[str, typer.Option(help="Why; the agent is told it.")],
    for_: For = "",
    as_json: Json = False,
) -> None:
    """Reject a held call."""
    _decide(ident, "reject", reason, for_, as_json, {})


def _decide(  # noqa: PLR0917 (one answer: to what, which, why, for whom)
    ident: str, decision: str, reason: str, for_: str, as_json: bool, more: dict[str, Any]
) -> None:
    with connect() as client:
        body = {"decision": decision, "reason": reason, "for": for_, **more}
        item = client.post(f"/v1/approvals/{ident}/decision", dict[str, Any], body)
    waits = f", and waits for {' and '.join(item['missing'])}" if item["missing"] else ""
    state = "approved by you" if waits else item["state"]
    done = f"{state}: {item['agent']} {item['resource']}{waits}"
    emit(item, as_json, lambda: console.print(done, markup=False))


@commands.command()
@handle_errors
def batches(
    agent: Annotated[str | None, typer.Option(help="Of this agent only.")] = None, as_json: Json = False
) -> None:
    """List the calls that wait, alike ones together, with the arguments that differ between them."""
    with connect() as client:
        found = client.get("/v1/approvals/batches", list[dict[str, Any]], agent=agent)

    def render() -> None:
        if not found:
            console.print("Nothing waits.")
        for batch in found:
            _batch(batch, [call["id"] for call in batch["calls"]])

    emit(found, as_json, render)


def _batch(batch: dict[str, Any], chosen: list[str]) -> None:
    count = len(batch["calls"])
    what = f"{batch['agent']} {batch['resource']}: {count} {'call' if count == 1 else 'alike calls'}"
    console.print(f"batch {batch['id']}  {what}", markup=False, soft_wrap=True)
    console.print(f"  held because {batch['why']} ({', '.join(batch['policies'])})", markup=False, soft_wrap=True)
    for path, value in batch["same"].items():
        console.print(f"  {path} = {value}", markup=False, soft_wrap=True)
    rows = [
        (call["id"], *row, call["expires_at"] or "")
        for call, row in zip(batch["calls"], batch["rows"], strict=True)
        if call["id"] in chosen
    ]
    table(("id", *batch["differs"], "runs out at"), rows)


@commands.command()
@handle_errors
def answer(
    batch: Annotated[str, typer.Argument(help="The batch, as `tenure approvals batches` shows it.")],
    decision: Annotated[Decision, typer.Argument(help="What to say to its calls.")],
    *,
    only: Annotated[list[str] | None, typer.Option(help="Only to the call of this approval; may be repeated.")] = None,
    reason: Annotated[str, typer.Option(help="Why; kept in the audit, and told to the agent by a rejection.")] = "",
    for_: For = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Give one answer to alike calls: each of those that were shown, once; none that is held from now on."""
    with connect() as client:
        found = client.get("/v1/approvals/batches", list[dict[str, Any]])
        shown = next((one for one in found if one["id"] == batch), None)
        if shown is None:
            raise Refused("unknown_batch", f"No batch {batch} waits.", fix="`tenure approvals batches` lists them.")
        chosen = [call for call in shown["calls"] if not only or call["id"] in only]
        if not as_json and not yes:
            _batch(shown, [call["id"] for call in chosen])
        confirm(f"{decision.value.capitalize()} {len(chosen)} of these {len(shown['calls'])} calls.", yes)
        body = {
            "decision": decision.value,
            "chosen": [{"id": call["id"], "digest": call["covers"]} for call in chosen],
            "reason": reason,
            "for": for_,
        }
        answered = client.post("/v1/approvals/answer", list[dict[str, Any]], body)

    def render() -> None:
        for one in answered:
            console.print(f"{one['id']}  {one['message'] or one['state']}", markup=False, soft_wrap=True)

    emit(answered, as_json, render)
    if any(one["code"] for one in answered):
        raise typer.Exit(1)


@commands.command()
@handle_errors
def load(
    days: Annotated[float, typer.Option(help="How far to look back.")] = 30,
    quick: Annotated[float, typer.Option(help="An approval within so many seconds is quick.")] = 5,
    as_json: Json = False,
) -> None:
    """Show who decides how many held calls, how long these wait, and who approves faster than one can read."""
    with connect() as client:
        found = client.get("/v1/approvals/load", dict[str, Any], days=days, quick_s=quick)

    def render() -> None:
        console.print(f"{found['open']} wait now" + (f", since {found['oldest']}" if found["oldest"] else ""))
        rows = [
            (one["by"], one["calls"], one["answers"], f"{one['approved'] / one['calls']:.0%}",
             f"{one['wait_p50_s']:.0f} s", f"{one['wait_p90_s']:.0f} s", f"{one['look_p50_s']:.0f} s",
             f"{one['quick']:.0%}")
            for one in found["people"]
        ]  # fmt: skip
        if rows:
            heads = (
                "who",
                "calls",
                "answers",
                "approved",
                "waited p50",
                "p90",
                "looked at most p50",
                f"under {quick:g} s",
            )
            table(heads, rows)

    emit(found, as_json, render)
