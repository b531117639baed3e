"""``tenure stop``, ``tenure start`` and ``tenure breaker``: what is stopped, why, and by what it would be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote

import typer

from tenure.client.cli import confirm, connect, console, emit, group, handle_errors, table
from tenure.kernel.errors import Refused

commands = typer.Typer(name="breaker", help="Breakers: list, set, settings, unset.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Reason = Annotated[str, typer.Option(help="Why; kept in the audit.")]
Agent = Annotated[str, typer.Argument(help="The agent's name.")]
Tool = Annotated[str, typer.Option(help="SERVER/TOOL, by whichever agent.")]
Release = Annotated[str, typer.Option(help="The release with this digest, or the beginning of it.")]
Chain = Annotated[str, typer.Option(help="All work that this agent began, wherever it was handed on since.")]
WHILE_STOPPED = {
    "hold": "their calls of it are refused, and why is said",
    "tell": "their calls of it pass, and their owners are told",
    "allow": "their calls of it pass, and nobody is told",
}
Everything = Annotated[bool, typer.Option("--all", help="Everything in the workspace.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(stop)
    app.command()(start)
    group(app, "agents").command()(dependants)
    app.add_typer(commands)


def _place(agent: str, tool: str, release: str, chain: str, everything: bool) -> dict[str, str]:
    given = {"agent": agent, "tool": tool, "release": release, "chain": chain}
    named = [{"scope": scope, "name": name} for scope, name in given.items() if name]
    named += [{"scope": "workspace", "name": ""}] if everything else []
    if len(named) != 1:
        raise Refused("no_scope", "Which one?", fix="Name an agent, or give one of --tool, --release, --chain, --all.")
    return named[0]


def _words(place: Mapping[str, str]) -> str:
    scope, name = place["scope"], place["name"]
    if scope == "workspace":
        return "the whole workspace"
    return f"all work that {name} began" if scope == "chain" else f"{scope} {name}"


@handle_errors
def dependants(agent: Agent, as_json: Json = False) -> None:
    """Show who depends on an agent: what stopping it would come to for others."""
    with connect() as client:
        found = client.get(f"/v1/agents/{quote(agent, safe='')}/dependants", dict[str, Any])

    def render() -> None:
        if not found["dependants"]:
            console.print(f"Nobody depends on {agent}.", markup=False)
            return
        rows = [
            (
                one["agent"],
                one["state"],
                "itself" if one["steps"] == 1 else f"through {one['through']}",
                ", ".join(word for word, so in (("declared", one["declared"]), ("granted", one["granted"])) if so),
                "-" if one["calls"] is None else str(one["calls"]),
            )
            for one in found["dependants"]
        ]
        table(("agent", "state", "reaches it", "by", "calls, 7 days"), rows)
        console.print(f"While {agent} is stopped: {WHILE_STOPPED[found['while_stopped']]}.", markup=False)

    emit(found, as_json, render)


@handle_errors
def stop(
    agent: Agent = "",
    *,
    tool: Tool = "",
    release: Release = "",
    chain: Chain = "",
    everything: Everything = False,
    reason: Reason,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Stop an agent, a tool, a release, a chain or the whole workspace, at once."""
    place = _place(agent, tool, release, chain, everything)
    with connect() as client:
        if not yes:
            confirm(_told(client.get("/v1/breakers/reach", dict[str, Any], **place)), yes)
        done = client.post("/v1/breakers/stop", dict[str, Any], place | {"reason": reason})
    so = "stopped" if done["changed"] else "stopped already"
    emit(done, as_json, lambda: console.print(f"{so}: {_words(done['breaker'])}", markup=False))


def _told(reach: Mapping[str, Any]) -> str:
    agents, calls = reach["agents"], reach["calls_last_minute"]
    some = ", ".join(agents[:20]) + (f" and {len(agents) - 20} more" if len(agents) > 20 else "")
    agent_s = "agent" if len(agents) == 1 else "agents"
    instance_s = "instance" if reach["instances"] == 1 else "instances"
    recent = "calls of the last minute are not known" if calls is None else f"{calls} calls in the last minute"
    lines = (
        f"Stops {_words(reach)}: every further call is refused, and streams on their way end.",
        f"{len(agents)} {agent_s} at work: {some or 'none'}.",
        f"{reach['instances']} running {instance_s}, which stay up; {recent}; {reach['held']} wait for approval.",
        "Only a person lets it go on: tenure start.",
    )
    return "\n".join(lines)


@handle_errors
def start(
    agent: Agent = "",
    *,
    tool: Tool = "",
    release: Release = "",
    chain: Chain = "",
    everything: Everything = False,
    reason: Reason,
    trials: Annotated[int, typer.Option(help="Let so many calls pass first; -1: as many as is set.")] = -1,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Let go on what was stopped, by a person or by its breaker. A person's act."""
    place = _place(agent, tool, release, chain, everything)
    confirm(f"Calls of {_words(place)} pass again as policy decides, and what trips it is counted anew.", yes)
    with connect() as client:
        body = place | {"reason": reason, "trials": trials if trials >= 0 else None}
        item = client.post("/v1/breakers/reset", dict[str, Any], body)

    def render() -> None:
        on_trial = f"; {item['trials']} calls must go well first" if item["trials"] else ""
        console.print(f"started: {_words(item)}, epoch {item['epoch']}{on_trial}", markup=False)

    emit(item, as_json, render)


@commands.command("list")
@handle_errors
def find(as_json: Json = False) -> None:
    """List breakers: what is stopped first, and why."""
    with connect() as client:
        found = client.get("/v1/breakers", list[dict[str, Any]])

    def render() -> None:
        rows = [(item["scope"], item["name"], _state(item), _limits(item["limits"]), item["reason"]) for item in found]
        table(("of", "name", "state", "trips at", "reason"), rows)

    emit(found, as_json, render)


def _state(item: Mapping[str, Any]) -> str:
    if item["state"] == "half_open":
        return f"HALF OPEN, {item['good']} of {item['trials']} went well"
    return "TRIPPED" if item["tripped"] else "closed"


def _limits(limits: Mapping[str, Any]) -> str:
    parts = [
        f"{count['count']} {name} in {count['window_s']:g} s"
        for name in ("violations", "anomalies")
        if (count := limits[name])
    ]
    if errors := limits["errors"]:
        parts.append(f"{errors['share']:.0%} errors of {errors['least']} calls in {errors['window_s']:g} s")
    if spend := limits["spend"]:
        parts.append(f"{spend['usd']} USD in {spend['window_s']:g} s")
    if limits["trials"]:
        parts.append(f"{limits['trials']} trial calls after a reset")
    return "; ".join(parts) or "nothing"


Scope = Annotated[str, typer.Argument(help="agent, tool, release, chain or workspace.")]
Name = Annotated[str, typer.Argument(help="Which one; '*' for each of them, nothing for the workspace.")]


@commands.command("set")
@handle_errors
def set_limits(
    scope: Scope,
    name: Name = "",
    *,
    violations: Annotated[str, typer.Option(help="COUNT/SECONDS, as in 5/300.")] = "",
    anomalies: Annotated[str, typer.Option(help="COUNT/SECONDS.")] = "",
    errors: Annotated[str, typer.Option(help="SHARE/CALLS/SECONDS: half of 20 or more is 0.5/20/60.")] = "",
    spend: Annotated[str, typer.Option(help="USD/SECONDS, as in 10.00/3600.")] = "",
    trials: Annotated[int, typer.Option(help="Calls that must go well after a reset.")] = 0,
    as_json: Json = False,
) -> None:
    """Set what trips a breaker, in place of what was set for it before."""
    limits: dict[str, Any] = {"trials": trials}
    for option, text, names in (
        ("violations", violations, ("count", "window_s")),
        ("anomalies", anomalies, ("count", "window_s")),
        ("errors", errors, ("share", "least", "window_s")),
        ("spend", spend, ("usd", "window_s")),
    ):
        if text:
            limits[option] = _parts(option, text, names)
    with connect() as client:
        body = {"scope": scope, "name": name, "limits": limits}
        item = client.put("/v1/breakers/limits", dict[str, Any], body)
    emit(item, as_json, lambda: console.print(f"{_words(item)} trips at: {_limits(item['limits'])}", markup=False))


def _parts(option: str, text: str, names: tuple[str, ...]) -> dict[str, str]:
    parts = text.split("/")
    if len(parts) != len(names) or not all(re.fullmatch(r"\d+(\.\d+)?", part) for part in parts):
        wanted = "/".join(name.upper() for name in names)
        raise Refused("bad_limits", f"--{option} {text!r} is not {wanted}.", fix=f"Write --{option} {wanted}.")
    return dict(zip(names, parts, strict=True))


@commands.command("settings")
@handle_errors
def settings(as_json: Json = False) -> None:
    """List what is set."""
    with connect() as client:
        found = client.get("/v1/breakers/limits", list[dict[str, Any]])

    def render() -> None:
        if not found:
            console.print("Nothing is set: agents trip at the violations that their manifests name. tenure breaker set")
            return
        rows = [(one["scope"], one["name"], _limits(one["limits"]), one["set_by"]) for one in found]
        table(("of", "name", "trips at", "set by"), rows)

    emit(found, as_json, render)


@commands.command()
@handle_errors
def unset(scope: Scope, name: Name = "", *, yes: Yes = False, as_json: Json = False) -> None:
    """Forget what was set for a breaker."""
    confirm(f"{_words({'scope': scope, 'name': name})} is not stopped by these limits any more.", yes)
    with connect() as client:
        done = client.post("/v1/breakers/limits/drop", dict[str, Any], {"scope": scope, "name": name})
    emit(done, as_json, lambda: console.print("forgotten", markup=False))
