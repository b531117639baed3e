"""``tenure agents boundary`` and ``tenure autonomy``: where agents' own decisions end, and what they did meanwhile."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from tenure.client.cli import connect, console, emit, group, handle_errors, table

commands = typer.Typer(
    name="autonomy", help="How far agents go alone: the floor, what they did on notify.", no_args_is_help=True
)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Reason = Annotated[str, typer.Option(help="Why; kept in the audit.")]

_VERDICTS = {"proceed": "may proceed", "approval": "needs approval", "stop": "must stop"}


class Level(StrEnum):
    """The four levels of oversight."""

    AUTONOMOUS = "autonomous"
    NOTIFY = "notify"
    APPROVE = "approve"
    HUMAN_ONLY = "human_only"


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    group(app, "agents").command("boundary")(boundary)
    app.add_typer(commands)


@handle_errors
def boundary(
    agent: Annotated[str, typer.Argument(help="Name of the agent.")],
    as_json: Json = False,
) -> None:
    """Where an agent's own decisions end: what may proceed, needs approval, must stop, and why."""
    with connect() as client:
        found = client.get(f"/v1/agents/{agent}/boundary", dict[str, Any])

    def render() -> None:
        head = f"{found['agent']} ({found['state']}), release {found['release'][:19] or 'none'}"
        console.print(f"{head}, policies {found['policy_version'][:19]}", markup=False)
        if not found["lines"]:
            console.print("Nothing was granted, so it must stop at everything.")
            return
        table(("what", "verdict", "level", "why"), [_row(line) for line in found["lines"]])
        for line in found["lines"]:
            for one in line["further"]:
                told = f"{line['resource']}: policy {one['policy']} may say {_VERDICTS[one['speaks']]}"
                looks = f" (looks at {', '.join(one['looks_at'])})"
                console.print(told + looks + (f": {one['reason']}" if one["reason"] else ""), markup=False)

    emit(found, as_json, render)


def _row(line: dict[str, Any]) -> tuple[str, ...]:
    level = line["level"]
    shown = f"{level['in_force']} ({', '.join(level['set_by'])})" if level and level["set_by"] else ""
    why = f"switched off: {line['off']}" if line["off"] else line["why"]
    return line["resource"], _VERDICTS[line["verdict"]], shown or (level["in_force"] if level else ""), why


@commands.command("show")
@handle_errors
def show(as_json: Json = False) -> None:
    """Show the floor of the workspace, and what agents did on the level notify that nobody has seen."""
    with connect() as client:
        floor = client.get("/v1/autonomy", dict[str, Any])
        told = client.get("/v1/notices", list[dict[str, Any]])

    def render() -> None:
        by = f", set by {floor['by']}: {floor['reason']}" if floor["by"] else ""
        console.print(f"The least oversight is {floor['level']} ({floor['words']}){by}", markup=False)
        if not told:
            console.print("Nothing waits to be seen.")
            return
        rows = [(one["agent"], one["resource"], str(one["calls"]), one["last_at"], one["call_id"]) for one in told]
        table(("agent", "called", "calls", "last at", "last call"), rows)

    emit({"floor": floor, "notices": told}, as_json, render)


@commands.command("set")
@handle_errors
def set_floor(
    level: Annotated[Level, typer.Argument(help="The least oversight that every tool of every agent has.")],
    reason: Reason,
    as_json: Json = False,
) -> None:
    """Set the floor of the workspace; of it, an agent's level and a tool's own, the strictest is in force."""
    with connect() as client:
        floor = client.put("/v1/autonomy", dict[str, Any], {"level": level.value, "reason": reason})
    emit(floor, as_json, lambda: console.print(f"set: at least {floor['level']}, {floor['words']}", markup=False))


@commands.command("seen")
@handle_errors
def see(
    agent: Annotated[str, typer.Argument(help="Name of the agent.")],
    resource: Annotated[str, typer.Argument(help="The tool or agent that it called.")],
    as_json: Json = False,
) -> None:
    """Say that what an agent did on the level notify was seen."""
    with connect() as client:
        told = client.get("/v1/notices", list[dict[str, Any]])
        one = next((item for item in told if (item["agent"], item["resource"]) == (agent, resource)), None)
        upto = one["last_at"] if one is not None else "1970-01-01T00:00:00Z"
        body = {"agent": agent, "resource": resource, "upto": upto}
        client.post("/v1/notices/seen", object, body)
    emit({"seen": body}, as_json, lambda: console.print(f"seen: {agent} {resource}", markup=False))


Agent = Annotated[str, typer.Argument(help="Name of the agent.")]
Tool = Annotated[str, typer.Argument(metavar="TOOL", help="The tool, as server/tool.")]


@commands.command("earned")
@handle_errors
def earned(as_json: Json = False) -> None:
    """List the evidence on tools whose level could be relaxed, and what a person is asked about."""
    with connect() as client:
        found = client.get("/v1/autonomy/earned", list[dict[str, Any]])

    def render() -> None:
        if not found:
            console.print("Nothing is on record yet: evidence comes from approved calls, and from calls on notify.")
            return
        rows = [
            (
                one["agent"],
                one["resource"],
                f"{one['declared']} to {one['level']}",
                one["state"],
                f"{one['good']} of {one['calls']}",
                f"{one['bound']:.3f} (wanted {one['wanted']} of {one['least']} calls or more)",
                one["reason"],
            )
            for one in found
        ]
        table(("agent", "tool", "level", "state", "good", "proved", "reason"), rows)

    emit(found, as_json, render)


@commands.command("accept")
@handle_errors
def accept(agent: Agent, tool: Tool, reason: Reason, as_json: Json = False) -> None:
    """Relax a tool's level, as is proposed on the evidence. It falls back by itself when the evidence turns."""
    _answer(agent, tool, "accept", reason, as_json)


@commands.command("decline")
@handle_errors
def decline(agent: Agent, tool: Tool, reason: Reason, as_json: Json = False) -> None:
    """Leave a tool's level as it is declared; it is not proposed again under this release."""
    _answer(agent, tool, "decline", reason, as_json)


@commands.command("end")
@handle_errors
def end(agent: Agent, tool: Tool, reason: Reason, as_json: Json = False) -> None:
    """Put the declared level of a tool in force again."""
    _answer(agent, tool, "end", reason, as_json)


def _answer(agent: str, tool: str, decision: str, reason: str, as_json: bool) -> None:
    with connect() as client:
        found = client.get("/v1/autonomy/earned", list[dict[str, Any]])
        one = next((item for item in found if (item["agent"], item["resource"]) == (agent, tool)), None)
        release = one["release"] if one is not None else ""
        body = {"agent": agent, "resource": tool, "release": release, "decision": decision, "reason": reason}
        item = client.post("/v1/autonomy/earned/decision", dict[str, Any], body)
    level = item["level"] if item["in_force"] else item["declared"]
    emit(item, as_json, lambda: console.print(f"{item['state']}: {agent} {tool} is on {level}", markup=False))
