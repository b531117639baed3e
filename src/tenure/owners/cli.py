"""``tenure owners``: who answers for which agent, handing agents over, and agents that nobody answers for."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from tenure.client.cli import confirm, connect, console, emit, handle_errors, table

commands = typer.Typer(
    name="owners", help="Who answers for agents: hand over, accept, confirm, take over.", no_args_is_help=True
)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Reason = Annotated[str, typer.Option(help="Why; kept in the audit.")]
Offer = Annotated[str, typer.Argument(metavar="OFFER", help="The offer's id, as `tenure owners offers` shows it.")]
Agent = Annotated[str, typer.Argument(help="The agent's name.")]


class As(StrEnum):
    """As what."""

    OWNER = "owner"
    SPONSOR = "sponsor"


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(commands)


@commands.command("list")
@handle_errors
def find(as_json: Json = False) -> None:
    """List every agent with who answers for it, and what is of concern about that."""
    with connect() as client:
        agents = client.get("/v1/agents", list[dict[str, Any]])
        concerns = client.get("/v1/concerns", list[dict[str, Any]])
    rows = [
        {"agent": one["name"], "state": one["state"], "owner": one["owner"], "sponsor": one["sponsor"]}
        | {"pending_owner": one["pending_owner"], "concerns": [c for c in concerns if c["agent"] == one["name"]]}
        for one in agents
    ]

    def render() -> None:
        if not rows:
            console.print("There is no agent yet. Register one: tenure apply -f agent.yaml")
            return
        shown = [(r["agent"], r["state"], r["owner"], r["sponsor"], "; ".join(map(_said, r["concerns"]))) for r in rows]
        table(("agent", "state", "owner", "sponsor", "of concern"), shown)

    emit(rows, as_json, render)


def _said(concern: dict[str, Any]) -> str:
    if concern["suspended_at"]:
        return f"{concern['words']}: suspended"
    return f"{concern['words']}: suspended on {_day(concern['due'])}" if concern["due"] else str(concern["words"])


def _day(moment: str) -> str:
    return moment[:16].replace("T", " ") + " UTC"


@commands.command()
@handle_errors
def offers(
    mine: Annotated[bool, typer.Option("--mine", help="Those to you or by you only.")] = False,
    every: Annotated[bool, typer.Option("--all", help="Those that were answered as well.")] = False,
    as_json: Json = False,
) -> None:
    """List offers of agents that wait for an answer."""
    with connect() as client:
        state = None if every else "open"
        found = client.get("/v1/handovers", list[dict[str, Any]], state=state, mine=mine)

    def render() -> None:
        if not found:
            console.print("No agent is offered. Offer one: tenure owners offer AGENT --to EMAIL")
            return
        rows = [
            (o["id"], o["agent"], o["role"], o["giver"], o["receiver"], o["state"], _day(o["expires_at"]))
            for o in found
        ]
        table(("offer", "agent", "as", "from", "to", "state", "good until"), rows)

    emit(found, as_json, render)


@commands.command()
@handle_errors
def offer(  # noqa: PLR0917 (the parts of one offer)
    to: Annotated[str, typer.Option(help="Who is to answer for them: an address that logs in here.")],
    agents: Annotated[list[str] | None, typer.Argument(help="The agents' names.")] = None,
    all_of: Annotated[str, typer.Option(help="Instead of names: every agent of this person.")] = "",
    place: Annotated[As, typer.Option("--as", help="As what they are to answer for it.")] = As.OWNER,
    note: Annotated[str, typer.Option(help="What they should know.")] = "",
    days: Annotated[int, typer.Option(help="For how long the offer is good.")] = 14,
    as_json: Json = False,
) -> None:
    """Offer agents to somebody else, who has to accept."""
    body = {"to": to, "agents": agents or [], "all_of": all_of, "role": place.value, "note": note, "days": days}
    with connect() as client:
        made = client.post("/v1/handovers", list[dict[str, Any]], body)

    def render() -> None:
        for one in made:
            console.print(f"offered: {one['agent']} to {one['receiver']}, until {_day(one['expires_at'])}: {one['id']}")

    emit(made, as_json, render)


@commands.command()
@handle_errors
def show(ident: Offer, as_json: Json = False) -> None:
    """Show an offer with all that comes with the agent."""
    with connect() as client:
        found = client.get(f"/v1/handovers/{ident}", dict[str, Any])
    emit(found, as_json, lambda: console.print("\n".join(_told(found)), markup=False))


def _told(found: dict[str, Any]) -> list[str]:
    declared, now = found["checklist"]["declared"], found["checklist"]["now"]
    lines = [f"{found['agent']}, as {found['role']}, from {found['giver']} to {found['receiver']}: {found['state']}"]
    lines += [f"note: {found['note']}"] if found["note"] else []
    lines += [f"purpose: {declared['purpose']}", f"release: {declared['release']}; risk tier {declared['risk_tier']}"]
    lines += [f"data: {', '.join(declared['data_classes']) or 'none'}; models: {', '.join(declared['models'])}"]
    lines += [f"tool: {one['name']} ({one['autonomy']})" for one in declared["tools"]]
    lines += [f"agent it calls: {one['name']} ({one['autonomy']})" for one in declared["agents"]]
    lines += [f"{one['kind']}: {one['name']} ({one['where']})" for one in declared["credentials"]]
    lines += [f"limit: {_limit(one)}" for one in declared["limits"]]
    lines += [f"waits for approval: {one['resource']}, {one['id']}" for one in now["open_approvals"]]
    lines += [f"now: {now['state']} ({now['state_reason']}), {now['running']} running"]
    lines += [f"relied on by: {', '.join(now['relied_on_by'])}"] if now["relied_on_by"] else []
    return lines


def _limit(one: dict[str, Any]) -> str:
    only = f", only {one['only']}" if one["only"] else ""
    return f"{one['amount']} {one['of']} per {one['per']}, each {one['each']}{only}"


@commands.command()
@handle_errors
def accept(
    ident: Offer,
    note: Annotated[str, typer.Option(help="What you have to say to it.")] = "",
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Take on an agent that you were offered: from then on you answer for it."""
    with connect() as client:
        found = client.get(f"/v1/handovers/{ident}", dict[str, Any])
        if not as_json or not yes:
            confirm("\n".join(_told(found)), yes)
        body = {"checklist": found["checklist"]["digest"], "note": note}
        done = client.post(f"/v1/handovers/{ident}/accept", dict[str, Any], body)
    emit(done, as_json, lambda: console.print(f"accepted: {done['receiver']} is the {done['role']} of {done['agent']}"))


def _answer(ident: str, verb: str, reason: str, as_json: bool) -> None:
    with connect() as client:
        done = client.post(f"/v1/handovers/{ident}/{verb}", dict[str, Any], {"reason": reason})
    emit(done, as_json, lambda: console.print(f"{done['state']}: {done['giver']} stays the {done['role']}"))


@commands.command()
@handle_errors
def decline(ident: Offer, reason: Reason, as_json: Json = False) -> None:
    """Turn down an agent that you were offered."""
    _answer(ident, "decline", reason, as_json)


@commands.command()
@handle_errors
def withdraw(ident: Offer, reason: Reason, as_json: Json = False) -> None:
    """Take an offer back."""
    _answer(ident, "withdraw", reason, as_json)


@commands.command("confirm")
@handle_errors
def confirm_ownership(agent: Agent, as_json: Json = False) -> None:
    """Say that you answer for an agent, and that it is needed."""
    with connect() as client:
        done = client.post(f"/v1/agents/{agent}/confirm", dict[str, Any])
    until = f", again by {_day(done['confirm_by'])}" if done["confirm_by"] else ""
    emit(done, as_json, lambda: console.print(f"confirmed: {agent}{until}"))


@commands.command()
@handle_errors
def take(agent: Agent, reason: Reason, as_json: Json = False) -> None:
    """Take over an agent whose owner has left, as its sponsor or an operator."""
    with connect() as client:
        done = client.post(f"/v1/agents/{agent}/take", dict[str, Any], {"reason": reason})
    emit(done, as_json, lambda: console.print(f"taken over: {done['owner']} is the owner of {agent}"))
