"""``tenure notify``: who is told of what, what became of it, and trying it."""

from __future__ import annotations

import base64
import secrets
from enum import StrEnum
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

import typer

from tenure.client.cli import confirm, connect, console, emit, handle_errors, table
from tenure.kernel.errors import Refused

commands = typer.Typer(
    name="notify", help="Who is told of what: add, list, test, log, replay, remove.", no_args_is_help=True
)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(help="The destination's name.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


class Means(StrEnum):
    """How a destination is reached."""

    WEBHOOK = "webhook"
    EMAIL = "email"
    SLACK = "slack"
    TEAMS = "teams"


class Became(StrEnum):
    """What became of a delivery."""

    WAITING = "waiting"
    SENT = "sent"
    DEAD = "dead"
    STALE = "stale"
    ALL = "all"


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(commands)


def _at(name: str) -> str:
    return f"/v1/notify/destinations/{quote(name, safe='')}"


@commands.command()
@handle_errors
def add(
    name: Name,
    *,
    means: Annotated[Means, typer.Option("--by", help="How it is reached.")],
    topic: Annotated[list[str], typer.Option(help="What it is told; `tenure notify topics` lists them. Repeat it.")],
    url: Annotated[
        str, typer.Option(help="A webhook's address, or the mail server as smtps://user@smtp.example.com:465.")
    ] = "",
    secret: Annotated[
        str,
        typer.Option(
            help="Name of the secret: signing key, mail password, or the address that Slack or Teams gave. A webhook "
            "without one gets a new key, which is shown once."
        ),
    ] = "",
    to: Annotated[
        list[str] | None, typer.Option(help="An address of mail, or approvers, or owners. Repeat it.")
    ] = None,
    sender: Annotated[str, typer.Option("--from", help="The address that mail comes from.")] = "",
    person: Annotated[str, typer.Option(help="Whose own channel of Slack or Teams it is.")] = "",
    bundle: Annotated[
        int, typer.Option(help="Seconds for which further messages about held calls are told as one.")
    ] = 60,
    answers: Annotated[
        bool, typer.Option("--answers", help="Messages about held calls carry a link that answers.")
    ] = False,
    agents: Annotated[
        list[str] | None, typer.Option("--agents", help="Of these agents only; * stands for any text. Repeat it.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Tell somebody of something from now on, in place of a destination of that name."""
    made = ""
    body: dict[str, Any] = {"kind": means.value, "url": url, "secret": secret, "to": to or [], "sender": sender}
    body |= {"person": person, "answers": answers, "bundle_s": bundle, "topics": topic, "agents": agents or []}
    with connect() as client:
        if means is Means.WEBHOOK and not secret:
            made = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
            parts = urlsplit(url)
            host = parts.netloc.rpartition("@")[2]
            bounds = [f"http://{host}" if parts.scheme == "http" else host]
            body["secret"] = f"notify-{name}"[:63]
            client.put(f"/v1/secrets/{body['secret']}", dict[str, Any], {"value": made, "hosts": bounds})
        try:
            kept = client.put(_at(name), dict[str, Any], body)
        except Refused:
            if made:  # nothing is told with it
                client.delete(f"/v1/secrets/{body['secret']}", dict[str, Any])
            raise
    told = ", ".join(kept["topics"])

    def render() -> None:
        console.print(f"{name} is told of {told}. Try it: tenure notify test {name}", markup=False, soft_wrap=True)
        if made:
            console.print(f"Signing key (shown once, kept as secret {kept['secret']}): {made}", markup=False)

    emit(kept | ({"signing_key": made} if made else {}), as_json, render)


@commands.command("list")
@handle_errors
def find(as_json: Json = False) -> None:
    """List who is told of what, and how each fares."""
    with connect() as client:
        found = client.get("/v1/notify/destinations", list[dict[str, Any]])

    def render() -> None:
        if not found:
            console.print(
                "Nobody is told of anything. Begin: tenure notify add NAME --by webhook --url ... --topic ..."
            )
            return
        rows = [
            (
                one["name"],
                one["kind"],
                urlsplit(one["url"]).netloc.rpartition("@")[2] or ", ".join(one["to"]) or one["person"] or "-",
                ", ".join(one["topics"]),
                f"{one['waiting']} / {one['dead']}",
                one["problem"] or (f"arrived {one['sent_at'][:19]}" if one["sent_at"] else "nothing sent yet"),
            )
            for one in found
        ]
        table(("name", "by", "where", "topics", "waiting / dead", "last"), rows)

    emit(found, as_json, render)


@commands.command()
@handle_errors
def topics(as_json: Json = False) -> None:
    """List what can be told."""
    with connect() as client:
        found = client.get("/v1/notify/topics", list[dict[str, Any]])
    emit(found, as_json, lambda: table(("topic", "what happened"), [(one["topic"], one["words"]) for one in found]))


@commands.command("test")
@handle_errors
def try_out(name: Name, as_json: Json = False) -> None:
    """Send a test now."""
    with connect() as client:
        found = client.post(f"{_at(name)}/test", list[dict[str, Any]])

    def render() -> None:
        if not found:
            console.print("Nobody to tell: nobody has that role, or there is no agent whose owners it could be.")
        for one in found:
            whom = one["address"] or name
            text = "arrived" if one["state"] == "sent" else f"did not arrive: {one['problem']}"
            console.print(f"{whom}: {text}", markup=False, soft_wrap=True)

    emit(found, as_json, render)
    if any(one["state"] != "sent" for one in found):
        raise typer.Exit(1)


@commands.command("log")
@handle_errors
def deliveries(
    state: Annotated[Became, typer.Option(help="Which ones.")] = Became.ALL,
    destination: Annotated[str | None, typer.Option(help="To this destination only.")] = None,
    as_json: Json = False,
) -> None:
    """List what was told, newest first."""
    with connect() as client:
        found = client.get(
            "/v1/notify/deliveries",
            list[dict[str, Any]],
            state=None if state is Became.ALL else state.value,
            destination=destination,
        )

    def render() -> None:
        if not found:
            console.print("Nothing.")
            return
        rows = [
            (one["id"], one["destination"], one["state"], str(one["attempts"]), one["title"], one["problem"])
            for one in found
        ]
        table(("id", "to", "state", "attempts", "what", "problem"), rows)

    emit(found, as_json, render)


@commands.command()
@handle_errors
def replay(
    ident: Annotated[str, typer.Argument(help="The delivery's id, as `tenure notify log` shows it.")],
    as_json: Json = False,
) -> None:
    """Send again what was given up, or what arrived."""
    with connect() as client:
        item = client.post(f"/v1/notify/deliveries/{quote(ident, safe='')}/replay", dict[str, Any])
    emit(item, as_json, lambda: console.print(f"{item['id']} is on its way to {item['destination']}", markup=False))


@commands.command()
@handle_errors
def remove(name: Name, yes: Yes = False, as_json: Json = False) -> None:
    """Tell a destination nothing any more."""
    confirm(f"Tell {name} nothing any more, and drop what waits for it?", yes=yes)
    with connect() as client:
        gone = client.delete(_at(name), dict[str, Any])
    emit(gone, as_json, lambda: console.print(f"{name} is told nothing any more", markup=False))
