"""``tenure discover``: agents that nobody registered. What looks at a machine looks at the one it runs on, and reports
what it saw over the API; secrets stay where they are."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

import httpx2
import pydantic_core
import typer

from tenure.client.cli import connect, console, emit, handle_errors, table
from tenure.discovery import configs, machine, signs, source
from tenure.discovery.model import MAX_SIGHTINGS, Channel, Sighting, name_mark

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Only = Annotated[bool, typer.Option("--dry-run", help="Say what was seen and report nothing.")]
Finding = Annotated[str, typer.Argument(help="Its id, from `tenure discover list`; the beginning will do.")]
_CARDS = ("/.well-known/agent-card.json", "/.well-known/agent.json")
_CARD_BYTES = 256 * 1024

_discover = typer.Typer(no_args_is_help=True, help="Agents that nobody registered.")


def register(app: typer.Typer) -> None:
    """Adds the commands of discovery."""
    app.add_typer(_discover, name="discover")


# -- looking
def _report(sightings: Sequence[Sighting], only: bool, as_json: bool) -> None:
    """Reports what is sure enough, or may belong to what was found before."""
    if only:
        shown = [one for one in sightings if one.confidence >= signs.SURE_ENOUGH]
        rows = [(one.name, f"{one.confidence} %", one.where, one.what) for one in shown]
        told = pydantic_core.to_jsonable_python([{**_body(one), "confidence": one.confidence} for one in shown])
        emit(told, as_json, lambda: _seen(rows, len(sightings)))
        return
    done: dict[str, Any] = {"found": [], "seen": [], "registered": 0, "weak": 0, "full": 0}
    with connect() as client:
        for start in range(0, len(sightings), MAX_SIGHTINGS):
            part = [_body(one) for one in sightings[start : start + MAX_SIGHTINGS]]
            answer = client.post("/v1/discovery/sightings", dict[str, Any], {"sightings": part})
            done = {name: done[name] + answer[name] for name in done}

    def render() -> None:
        for one in done["found"]:
            text = f"new: {one['name']}, {one['confidence']} % sure, {one['id']}"
            console.print(text, markup=False)
        text = f"{len(done['found'])} found, {len(done['seen'])} seen again, {done['registered']} registered"
        console.print(f"{text}, {done['weak']} too little to go by" + (", no room for more" if done["full"] else ""))
        if done["found"]:
            console.print("What to do: tenure discover show ID, then claim, register, block or ignore.")

    emit(done, as_json, render)


def _seen(rows: Sequence[Sequence[str]], of: int) -> None:
    if rows:
        table(("agent", "sure", "where", "what"), rows)
    console.print(f"{len(rows)} of {of} things that were looked at are sure enough; nothing was reported.")


def _body(one: Sighting) -> dict[str, Any]:
    facts = {name: getattr(one, name) for name in ("name", "where", "what", "count", "hints")}
    facts |= {"channel": str(one.channel), "marks": list(one.marks), "signs": list(one.signs)}
    return {**facts, "at": one.at.isoformat()}


def _here() -> tuple[str, datetime]:
    return socket.gethostname().partition(".")[0] or "this-machine", datetime.now(UTC)


@_discover.command("processes")
@handle_errors
def processes(only: Only = False, as_json: AsJson = False) -> None:
    """Look at the processes and containers of this machine: command lines and names of variables, no values."""
    host, at = _here()
    seen = [machine.sighting(one, host, at) for one in machine.processes()]
    for path in machine.sockets(os.environ):
        seen += [machine.container_sighting(one, host, at) for one in machine.containers(path)]
    _report([one for one in seen if one is not None], only, as_json)


@_discover.command("configs")
@handle_errors
def look_at_configs(
    path: Annotated[list[Path] | None, typer.Argument(help="Homes and projects to look in; your home if none.")] = None,
    gateway: Annotated[list[str] | None, typer.Option("--gateway", help="Address of a gateway's MCP; repeat.")] = None,
    only: Only = False,
    as_json: AsJson = False,
) -> None:
    """Look at how people's assistants are set up with MCP servers (Claude, Cursor, VS Code, Codex and others)."""
    host, at = _here()
    own = os.environ.get("TENURE_GATEWAY_URL") or "http://127.0.0.1:7701"
    governed = [*(gateway or ()), f"{own.rstrip('/')}/mcp"]
    folders = path or [Path.home()]
    _report(configs.look(folders, host, getpass.getuser(), at, governed), only, as_json)


@_discover.command("source")
@handle_errors
def look_at_source(
    path: Annotated[Path, typer.Argument(help="Folder with one project or many.", exists=True)],
    only: Only = False,
    as_json: AsJson = False,
) -> None:
    """Look for agents in source code: frameworks, models with tools, provider keys. Keys are never told."""
    host, at = _here()
    _report(source.look(path, host, at), only, as_json)


@_discover.command("cards")
@handle_errors
def look_at_cards(
    address: Annotated[list[str], typer.Argument(help="Addresses to ask for an agent card, as https://host:port.")],
    only: Only = False,
    as_json: AsJson = False,
) -> None:
    """Ask addresses for their A2A agent card."""
    _, at = _here()
    found = [_card(one.rstrip("/"), at) for one in address]
    _report([one for one in found if one is not None], only, as_json)


def _card(address: str, at: datetime) -> Sighting | None:
    for path in _CARDS:
        url = address if address.endswith(".json") else f"{address}{path}"
        try:
            answer = httpx2.get(url, timeout=10, follow_redirects=False)
            read = answer.json() if answer.status_code == 200 and len(answer.content) <= _CARD_BYTES else None
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError):
            continue
        if isinstance(read, dict) and isinstance(read.get("name"), str) and read["name"].strip():
            name, host = read["name"][:200], urlsplit(url).netloc
            marks = (*name_mark(name), f"card:{host}"[:300])
            what = f"an A2A agent card: {str(read.get('description', ''))[:300]}"
            return Sighting(Channel.A2A, name, url[:500], what, marks, ("agent-card",), at)
    return None


# -- findings
@_discover.command("list")
@handle_errors
def find(
    state: Annotated[str | None, typer.Option("--state", help="open, claimed, registered, blocked or ignored.")] = None,
    as_json: AsJson = False,
) -> None:
    """List agents that were found, the surest first."""
    with connect() as client:
        found = client.get("/v1/discovery/findings", dict[str, Any], state=state)["findings"]

    def render() -> None:
        rows = [
            (f["id"], f["name"], f"{f['confidence']} %", " ".join(f["channels"]), f["state"], f["last_seen"][:16])
            for f in found
        ]
        if rows:
            table(("id", "agent", "sure", "found by", "state", "last seen"), rows)
        else:
            console.print("No agent was found that is not registered. Look here: tenure discover processes")

    emit(found, as_json, render)


def _whole(client: Any, beginning: str) -> str:
    """The id that begins so, if there is one such finding; else what was given, for the API to refuse."""
    found = client.get("/v1/discovery/findings", dict[str, Any])["findings"] if len(beginning) < 32 else []
    fitting = [one["id"] for one in found if one["id"].startswith(beginning)]
    return fitting[0] if len(fitting) == 1 else beginning


@_discover.command("show")
@handle_errors
def show(ident: Finding, as_json: AsJson = False) -> None:
    """Show what is known of a finding, and the manifest that registering it asks for."""
    with connect() as client:
        found = client.get(_at(_whole(client, ident)), dict[str, Any])

    def render() -> None:
        console.print(f"{found['name']}: {found['state']}, {found['confidence']} % sure", markup=False)
        console.print(f"Why: {found['reason']}", markup=False)
        rows = [(e["channel_words"], e["where"], e["what"], e["count"], e["last_seen"][:16]) for e in found["evidence"]]
        table(("found by", "where", "what", "times", "last seen"), rows)
        for line in found["how_to_block"]:
            console.print(f"To block it: {line}", markup=False)

    emit(found, as_json, render)


def _at(ident: str, verb: str = "") -> str:
    return f"/v1/discovery/findings/{quote(ident, safe='')}" + (f"/{verb}" if verb else "")


def _decide(ident: str, verb: str, body: dict[str, Any], as_json: bool, said: str) -> None:
    with connect() as client:
        done = client.post(_at(_whole(client, ident), verb), dict[str, Any], body)
    emit(done, as_json, lambda: console.print(said.format(**done), markup=False))


@_discover.command("claim")
@handle_errors
def claim(ident: Finding, note: Annotated[str, typer.Option("--note")] = "", as_json: AsJson = False) -> None:
    """Say that you answer for it."""
    _decide(ident, "claim", {"note": note}, as_json, "{owner} answers for {name}. Next: tenure discover register {id}")


@_discover.command("register")
@handle_errors
def register_it(
    ident: Finding,
    name: Annotated[str, typer.Option("--name", help="What to register it as.")] = "",
    file: Annotated[Path | None, typer.Option("--fields", help="JSON file: fields of the manifest's spec.")] = None,
    as_json: AsJson = False,
) -> None:
    """Ask for it as an agent, with a manifest drafted from what is known. An approver decides."""
    fields = pydantic_core.from_json(file.read_bytes()) if file else {}
    _decide(
        ident, "register", {"name": name, "fields": fields}, as_json, "{agent} is asked for and waits for an approver"
    )


@_discover.command("block")
@handle_errors
def block(ident: Finding, reason: Annotated[str, typer.Option("--reason")], as_json: AsJson = False) -> None:
    """Have gateways refuse it, and see what else it takes."""
    with connect() as client:
        whole = _whole(client, ident)
        done = client.post(_at(whole, "block"), dict[str, Any], {"note": reason})
        found = client.get(_at(whole), dict[str, Any])
    emit(done, as_json, lambda: console.print("\n".join(found["how_to_block"]), markup=False))


@_discover.command("ignore")
@handle_errors
def ignore(ident: Finding, reason: Annotated[str, typer.Option("--reason")], as_json: AsJson = False) -> None:
    """Say that it is of no concern."""
    _decide(ident, "ignore", {"note": reason}, as_json, "{name} is ignored from now on")


@_discover.command("reopen")
@handle_errors
def reopen(ident: Finding, reason: Annotated[str, typer.Option("--reason")], as_json: AsJson = False) -> None:
    """Take back what was decided about it."""
    _decide(ident, "reopen", {"note": reason}, as_json, "{name} is open again")
