"""``tenure tools``: what agents were granted, and switching it off and on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from tenure.client.cli import confirm, connect, console, emit, handle_errors, table
from tenure.kernel.errors import Refused

commands = typer.Typer(name="tools", help="Tools of agents: list, disable, enable.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Resource = Annotated[str, typer.Argument(help="SERVER/TOOL, or 'SERVER/*' for all of a server.")]
Agent = Annotated[str, typer.Option(help="For this agent only.")]
Everyone = Annotated[bool, typer.Option("--all", help="For every agent that uses the server, by whatever name.")]
Reason = Annotated[str, typer.Option(help="Why; kept in the audit, and told to the agent.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(commands)


@commands.command("list")
@handle_errors
def find(
    agent: Annotated[str, typer.Option(help="Of this agent only.")] = "",
    state: Annotated[str, typer.Option(help="In this state only, as in disabled.")] = "",
    as_json: Json = False,
) -> None:
    """List the tools that agents were granted and how they stand."""
    with connect() as client:
        found = client.get("/v1/tools", list[dict[str, Any]])
    found = [item for item in found if agent in ("", item["agent"]) and state in ("", item["state"])]

    def render() -> None:
        if not found:
            console.print("No tool was granted to anybody: an agent's manifest lists them under spec.tools.")
            return
        rows = [
            (item["agent"], item["resource"], item["state"], item["autonomy"], _use(item), _why(item)) for item in found
        ]
        table(("agent", "tool", "state", "autonomy", "last hour", "why"), rows)

    emit(found, as_json, render)


def _use(item: Mapping[str, Any]) -> str:
    return "-" if item["recent"] is None else str(item["recent"])


def _why(item: Mapping[str, Any]) -> str:
    return "; ".join(f"{switch['reason']} ({_scope(switch)})" for switch in item["off"])


def _scope(switch: Mapping[str, Any]) -> str:
    what = "the whole server" if switch["tool"] == "*" else "the tool"
    return f"{what}, for {switch['agent'] or 'all agents'}"


@commands.command()
@handle_errors
def disable(
    resource: Resource,
    *,
    reason: Reason,
    agent: Agent = "",
    everyone: Everyone = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Switch a tool or a whole server off: within a second no call of it passes any more."""
    _one_scope(agent, everyone)
    if not yes:
        with connect() as client:
            reached = client.get("/v1/tools/reach", list[dict[str, Any]], resource=resource, agent=agent)
        confirm(_told(resource, reached, agent), yes)
    _change("disable", resource, agent, reason, as_json)


@commands.command()
@handle_errors
def enable(
    resource: Resource,
    *,
    reason: Reason,
    agent: Agent = "",
    everyone: Everyone = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Take a switch back, exactly as it was set."""
    _one_scope(agent, everyone)
    confirm(f"{resource} can be called again by {agent or 'all agents'} that were granted it, as policy decides.", yes)
    _change("enable", resource, agent, reason, as_json)


def _one_scope(agent: str, everyone: bool) -> None:
    if bool(agent) == everyone:
        raise Refused("no_scope", "For one agent or for all?", fix="Give --agent NAME or --all.")


def _told(resource: str, reached: Sequence[Mapping[str, Any]], agent: str) -> str:
    names, server = sorted({item["agent"] for item in reached}), resource.partition("/")[0]
    calls = sum(item["recent"] or 0 for item in reached)
    unknown = any(item["recent"] is None for item in reached)
    other = sorted({f"{item['agent']} ({item['resource']})" for item in reached if item["server"] != server})
    lines = [
        f"Every further call of {resource} by {agent or 'any agent'} is refused, also calls that wait for approval.",
        f"It was granted to {len(names)} {'agent' if len(names) == 1 else 'agents'}: {', '.join(names) or 'none'}.",
        *([f"The same server under another name: {', '.join(other)}."] if other else []),
        "How much they used it is not known." if unknown else f"They called it {calls} times in the last hour.",
    ]
    return "\n".join(lines)


def _change(verb: str, resource: str, agent: str, reason: str, as_json: bool) -> None:
    with connect() as client:
        body = {"resource": resource, "agent": agent, "reason": reason}
        done = client.post(f"/v1/tools/{verb}", dict[str, Any], body)

    def render() -> None:
        so = "" if done["changed"] else " already"
        whom = agent or "all agents"
        reached = f"; granted to {', '.join(done['agents'])}" if done["agents"] else ""
        console.print(f"{resource} is{so} {verb}d for {whom}{reached}", markup=False)

    emit(done, as_json, render)
