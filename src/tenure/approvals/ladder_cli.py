"""``tenure approvals ladder``: whom a held call is shown to next when nobody answers."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Any

import typer

from tenure.client.cli import connect, console, emit, handle_errors, table
from tenure.kernel.errors import Refused

commands = typer.Typer(name="ladder", help="Whom held calls are shown to when nobody answers.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(help="The ladder's name.")]
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class Default(StrEnum):
    """What becomes of a call that nobody answered."""

    DENY = "deny"
    ALLOW = "allow"


def seconds(text: str) -> int:
    """``30s``, ``5m``, ``2h`` or ``1d``. Raises Refused."""
    found = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if found is None:
        raise Refused("bad_time", f"{text[:30]!r} is no time.", fix="As in 30s, 5m, 2h, 1d.")
    return int(found[1]) * _UNITS[found[2]]


def _step(text: str) -> dict[str, Any]:
    after, _, ask = text.partition(":")
    return {"after_s": seconds(after), "ask": [one for one in ask.split(",") if one]}


@commands.command("list")
@handle_errors
def find(as_json: Json = False) -> None:
    """List the ladders in the order in which they are looked through."""
    with connect() as client:
        found = client.get("/v1/approvals/ladders", list[dict[str, Any]])

    def render() -> None:
        if not found:
            console.print("No ladder: a held call waits for its agent's hold_timeout_s and is then denied.")
            return
        rows = [
            (
                one["name"],
                ", ".join(one["agents"]) or "all",
                ", ".join(one["tools"]) or "all",
                ", ".join(one["policies"]) or "all",
                "; ".join(f"{step['after_s']} s: {', '.join(step['ask'])}" for step in one["steps"]),
                f"{one['deadline_s']} s: {one['at_deadline']}",
                one["set_by"],
            )
            for one in found
        ]
        table(("name", "agents", "tools", "policies", "asks after", "deadline", "set by"), rows)

    emit(found, as_json, render)


@commands.command()
@handle_errors
def put(
    name: Name,
    *,
    step: Annotated[list[str], typer.Option(help="TIME:WHO,WHO as in 5m:operator,ann@example.com; may be repeated.")],
    deadline: Annotated[str, typer.Option(help="When the default holds, as in 30m.")],
    reason: Annotated[str, typer.Option(help="Why; kept in the audit.")],
    default: Annotated[Default, typer.Option(help="What becomes of a call that nobody answered.")] = Default.DENY,
    agent: Annotated[list[str] | None, typer.Option(help="Only for agents like this (*); may be repeated.")] = None,
    tool: Annotated[list[str] | None, typer.Option(help="Only for tools like this (*); may be repeated.")] = None,
    policy: Annotated[list[str] | None, typer.Option(help="Only what this policy holds; may be repeated.")] = None,
    as_json: Json = False,
) -> None:
    """Set a ladder, for calls that are held from now on."""
    body = {
        "steps": [_step(one) for one in step],
        "deadline_s": seconds(deadline),
        "reason": reason,
        "at_deadline": default.value,
        "agents": agent or [],
        "tools": tool or [],
        "policies": policy or [],
    }
    with connect() as client:
        made = client.put(f"/v1/approvals/ladders/{name}", dict[str, Any], body)
    said = f"{made['name']}: {len(made['steps'])} steps, then {made['at_deadline']}"
    emit(made, as_json, lambda: console.print(said, markup=False))


@commands.command()
@handle_errors
def remove(
    name: Name, reason: Annotated[str, typer.Option(help="Why; kept in the audit.")], as_json: Json = False
) -> None:
    """Remove a ladder; what is under way by it goes on."""
    with connect() as client:
        left = client.post(f"/v1/approvals/ladders/{name}/remove", list[dict[str, Any]], {"reason": reason})
    emit(left, as_json, lambda: console.print(f"{name} is removed", markup=False))
