"""``tenure tools``: what agents were granted, the definitions it was accepted under, and switching it off and on."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from tenure.client.cli import confirm, connect, console, emit, handle_errors, table
from tenure.kernel.errors import Refused

commands = typer.Typer(
    name="tools", help="Tools of agents: list, show, accept, reject, disable, enable.", no_args_is_help=True
)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Resource = Annotated[str, typer.Argument(help="SERVER/TOOL, or 'SERVER/*' for all of a server.")]
Tool = Annotated[str, typer.Argument(help="SERVER/TOOL.")]
Agent = Annotated[str, typer.Option(help="For this agent only.")]
Everyone = Annotated[bool, typer.Option("--all", help="For every agent that uses the server, by whatever name.")]
Reason = Annotated[str, typer.Option(help="Why; kept in the audit, and told to the agent.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


_STATES = {
    "changed": "described otherwise than accepted: tenure tools show {resource}",
    "held": "its definition was never accepted: tenure tools show {resource}",
    "rejected": "its definition was rejected by {rejected_by}",
    "unseen": "its server has not been asked yet",
}


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


@commands.command()
@handle_errors
def show(resource: Tool, *, agent: Agent = "", as_json: Json = False) -> None:
    """Show the definition of a tool that was accepted, the one that waits, and where they differ."""
    with connect() as client:
        whose = agent or _whose(client.get("/v1/tools", list[dict[str, Any]]), resource)
        found = client.get("/v1/tools/definition", dict[str, Any], agent=whose, resource=resource)
    emit(found, as_json, lambda: _print(found))


@commands.command()
@handle_errors
def accept(resource: Tool, reason: Reason, *, agent: Agent = "", yes: Yes = False, as_json: Json = False) -> None:
    """Accept the definition that waits: the tool may be called under it from now on."""
    _decide("accept", resource, agent, reason, yes=yes, as_json=as_json)


@commands.command()
@handle_errors
def reject(resource: Tool, reason: Reason, *, agent: Agent = "", yes: Yes = False, as_json: Json = False) -> None:
    """Reject the definition that waits: the tool stays suspended until its server gives the accepted one again."""
    _decide("reject", resource, agent, reason, yes=yes, as_json=as_json)


def _whose(tools: Sequence[Mapping[str, Any]], resource: str) -> str:
    """The agent whose definition is shown when none is named: one for whom it waits, if there is one."""
    found = sorted((item for item in tools if item["resource"] == resource), key=lambda item: item["seen"] is None)
    if not found:
        raise Refused(
            "unknown_tool", f"No agent was granted {resource}.", fix="`tenure tools list` shows what there is."
        )
    return str(found[0]["agent"])


def _decide(decision: str, resource: str, agent: str, reason: str, *, yes: bool, as_json: bool) -> None:
    with connect() as client:
        tools = client.get("/v1/tools", list[dict[str, Any]])
        waits = [
            item
            for item in tools
            if item["resource"] == resource and agent in ("", item["agent"]) and item["seen"] is not None
        ]
        marks = {item["seen"] for item in waits}
        if len(marks) != 1:
            text = f"{len(marks) or 'No'} definitions of {resource} wait{'' if agent else ' for agents'}."
            raise Refused("not_waiting", text, fix="`tenure tools list` shows them; name one with --agent.")
        found = client.get("/v1/tools/definition", dict[str, Any], agent=waits[0]["agent"], resource=resource)
        if not as_json:
            _print(found)
        what = "may be called under this definition" if decision == "accept" else "stays suspended"
        confirm(f"{resource} {what}, for {', '.join(item['agent'] for item in waits)}.", yes)
        body = {"resource": resource, "fingerprint": marks.pop(), "agent": agent, "decision": decision}
        done = client.post("/v1/tools/decision", dict[str, Any], body | {"reason": reason})
    emit(done, as_json, lambda: console.print(f"{decision}ed for {', '.join(done['agents'])}", markup=False))


def _print(found: Mapping[str, Any]) -> None:
    """A definition in words: what is accepted, and line by line what would change."""
    say = functools.partial(console.print, markup=False, soft_wrap=True)
    say(f"{found['resource']} of {found['agent']}")
    say(f"accepted: {found['fingerprint'] or 'never'}{_by(found)}")
    if found["seen_fingerprint"] is None:
        say(json.dumps(found["pinned"], indent=2, ensure_ascii=False) if found["pinned"] else "nothing was seen of it")
        return
    say(f"waiting:  {found['seen_fingerprint']}, seen {found['seen_at'][:19]}Z")
    if found["rejected_by"]:
        say(f"rejected by {found['rejected_by'].removeprefix('person:')}: {found['reason']}")
    if found["like"]:
        say(f"This is the definition that {found['like']} has or had.")
    if found["seen"] is None:
        say("It is too large to be shown.")
    for one in found["differences"]:
        say(f"\n{one['path'] or 'all of it'}")
        for sign, value in (("-", one["before"]), ("+", one["after"])):
            for line in value.splitlines() or [""] if value is not None else ():
                say(f"  {sign} {line}", style="red" if sign == "-" else "green")
        if one["characters"]:
            say(f"  ! new characters: {', '.join(one['characters'])}", style="yellow")


def _by(found: Mapping[str, Any]) -> str:
    if found["by_manifest"]:
        return ", by the manifest"
    words = {"system:tools": "at first sight in staging"}.get(found["pinned_by"])
    return f", {words or 'by ' + found['pinned_by'].removeprefix('person:')}" if found["fingerprint"] else ""


def _use(item: Mapping[str, Any]) -> str:
    return "-" if item["recent"] is None else str(item["recent"])


def _why(item: Mapping[str, Any]) -> str:
    if item["off"]:
        return "; ".join(f"{switch['reason']} ({_scope(switch)})" for switch in item["off"])
    return _STATES.get(item["state"], "").format(**item)


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
