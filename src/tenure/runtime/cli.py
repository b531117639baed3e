"""``tenure run``: any process as an agent. ``tenure instances``: what runs."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from tenure.base.box.confined import Confinement
from tenure.client.cli import connect, console, emit, handle_errors, table
from tenure.kernel.errors import Refused
from tenure.runtime.confine import Wires, open_ways
from tenure.runtime.confine import confine as confined
from tenure.runtime.door import Door
from tenure.runtime.process import Group
from tenure.runtime.renew import Renewer
from tenure.runtime.tend import Tender
from tenure.runtime.terms import MUST_BE_CONFINED

# The person's own credential, where Tenure keeps things, and what model clients would read before the variables that
# lead to the gateway: none of it is an agent's business.
_KEPT_BACK = frozenset(
    {"TENURE_TOKEN", "TENURE_DATABASE_URL", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_PROFILE", "GOOGLE_API_KEY"}
    | {"GOOGLE_GENAI_USE_VERTEXAI", "GOOGLE_GENAI_USE_ENTERPRISE", "GOOGLE_GENAI_API_VERSION"}
)
_NOT_STARTED = 126


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("run", context_settings={"allow_interspersed_args": False})(run)
    app.command("instances")(instances)


@handle_errors
def run(  # noqa: PLR0917 (Typer's: each is an option by its name)
    command: Annotated[list[str], typer.Argument(help="The program and its arguments.", metavar="-- COMMAND...")],
    agent: Annotated[str, typer.Option(help="Name of the agent that the process is.")],
    ttl: Annotated[int | None, typer.Option(help="Life of each token, in seconds; at most 86400.")] = None,
    on_behalf_of: Annotated[str | None, typer.Option(help="The person it works for.")] = None,
    confine: Annotated[bool, typer.Option("--confine", help="It reaches the gateway and nothing else.")] = False,
    write: Annotated[
        list[Path] | None, typer.Option(help="Confined: a further file or folder that it may write to.")
    ] = None,
    own_token: Annotated[
        bool, typer.Option("--own-token", help="Hand it a token of its own, which nobody can renew.")
    ] = False,
) -> None:
    """Start any process as an agent: with an identity of its own, and wired to the gateway by its environment.

    The variables that the clients of OpenAI, Anthropic and Gemini read for address and key, TENURE_MCP_URL,
    TENURE_AGENT_TOKEN, TENURE_SESSION, TRACEPARENT and the OTEL_ variables are set. The process ends when the agent is
    suspended or retired. The exit status is the command's own.

    The addresses lead to a door on this machine's loopback that attaches the agent's token and keeps it fresh; the keys
    are a pass that is good at this door only. --own-token is for a process that cannot use the door: one in a container
    of its own, or one that follows the addresses in cards of agents.

    With --confine it reaches no network but the gateway (and where its spans go), no other process and no socket of
    this machine, and writes only to the folder it starts in, to a /tmp of its own and to what --write names. It is
    confined without being asked where the agent's manifest or the workspace demands it.
    """
    if shutil.which(command[0]) is None:
        raise Refused("no_such_command", f"There is no program {command[0]!r}.", fix="Give a path, or look at PATH.")
    wish = {"ttl_s": ttl, "on_behalf_of": on_behalf_of, "renewed": not own_token}
    started, confinement = _start(agent, command, wish, confine, write or [])
    wires, door = started["env"], None
    if not own_token:
        door = Door(started["gateway_url"], started["control_url"], started["token"])
        wires = door.wired(wires, started["gateway_url"], started["control_url"], started["token"])
    env = {name: value for name, value in os.environ.items() if name not in _KEPT_BACK} | wires
    try:
        group = _spawn(command, env, confinement, door.gateway if door else started["gateway_url"])
    except Refused:
        with connect() as client:
            client.post(f"/v1/instances/{started['instance']}/end", dict[str, Any], {"exit_code": _NOT_STARTED})
        raise

    def stop(reason: str) -> None:
        _say(f"ending {agent}: {reason}")
        group.end()

    renewer = _renewer(door, started, ttl) if door else None
    tender = Tender(connect, started["instance"], stop, _say, renewer.renew if renewer else lambda _before: None)
    tender.start()
    status = group.wait()
    group.end()  # what the command left behind has no business under this identity any more
    if renewer:
        renewer.stop()
    tender.finish(status)
    raise typer.Exit(status)


def _renewer(door: Door, started: Mapping[str, Any], ttl: int | None) -> Renewer:
    def take(token: str) -> None:
        door.token = token

    issued, expires = (datetime.fromisoformat(started[name]).timestamp() for name in ("issued_at", "expires_at"))
    renewer = Renewer(connect, started["instance"], ttl, issued, expires, take)
    renewer.start()
    return renewer


def _start(
    agent: str, command: Sequence[str], wish: Mapping[str, Any], asked: bool, write: Sequence[Path]
) -> tuple[dict[str, Any], Confinement | None]:
    """A new instance, and how it is confined if it is. What cannot be confined here does not become an instance."""
    path = f"/v1/agents/{agent}/instances"
    if not asked:
        try:
            with connect() as client:
                return client.post(path, dict[str, Any], dict(wish)), None
        except Refused as error:
            if error.code != MUST_BE_CONFINED:
                raise
            _say(error.message)
    hidden = [Path(os.environ.get("TENURE_DATA") or ".tenure")]
    hidden += [Path(os.environ[name]) for name in ("TENURE_OIDC",) if os.environ.get(name)]
    confinement = confined(command, write, hidden)
    with connect() as client:
        return client.post(path, dict[str, Any], {**wish, "confined": True}), confinement


def _spawn(command: Sequence[str], env: Mapping[str, str], confinement: Confinement | None, gateway: str) -> Group:
    """Raises Refused for what does not start."""
    try:
        if confinement is None:
            return Group(command, env)
        wires = Wires.of(gateway, env["OTEL_EXPORTER_OTLP_ENDPOINT"])
        group = Group(confinement.command, wires.inside(env), confinement.fds)
    except OSError as error:
        raise Refused(
            "cannot_start", f"{command[0]} cannot be started: {error.strerror}.", fix="Check that it can be executed."
        ) from error
    if not open_ways(confinement, wires):
        group.end()
        group.wait()
        raise Refused("cannot_confine", f"{command[0]} could not be confined.", fix="See what it says above.")
    return group


def _say(text: str) -> None:
    sys.stderr.write(f"tenure: {text}\n")
    sys.stderr.flush()


@handle_errors
def instances(
    agent: Annotated[str, typer.Argument(help="Name of the agent.")],
    everything: Annotated[bool, typer.Option("--all", help="Those that have ended, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List what runs as an agent."""
    with connect() as client:
        found = client.get(f"/v1/agents/{agent}/instances", list[dict[str, Any]], live=not everything)

    def render() -> None:
        if not found:
            console.print(f"Nothing runs. Start something: tenure run --agent {agent} -- COMMAND", markup=False)
            return
        rows = [
            (
                item["id"],
                item["started_at"][:19].replace("T", " "),
                item["started_by"],
                "live" if item["ended_at"] is None else _ended(item),
                "yes" if item["confined"] else "",
                item["session"],
            )
            for item in found
        ]
        table(("instance", "started (UTC)", "by", "state", "confined", "session"), rows)

    emit(found, as_json, render)


def _ended(item: Mapping[str, Any]) -> str:
    return str(item["end"]) if item["exit_code"] is None else f"{item['end']} {item['exit_code']}"
