"""``tenure apply``, ``tenure agents`` and ``tenure lifecycle``."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from tenure.base.documents import Document, read_documents
from tenure.base.faults import Fault
from tenure.client import Client
from tenure.client.cli import confirm, connect, console, emit, handle_errors, table
from tenure.kernel.errors import Refused
from tenure.kernel.values import LifecycleState
from tenure.registry import directory_cli
from tenure.registry.faults import refuse

Agent = dict[str, Any]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(help="Name of the agent.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it is kept in the history and the audit.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it without asking.")]

_NEXT = {
    "requested": "An approver decides: tenure agents approve {name} --reason ...",
    "rejected": "Ask again: tenure agents transition {name} requested --reason ...",
    "provisioned": "Try it: tenure agents transition {name} staging --reason ...",
    "staging": "Run it: tenure run --agent {name} -- COMMAND. Promote it: tenure agents promote {name} --reason ...",
    "production": "Run it: tenure run --agent {name} -- COMMAND",
    "suspended": "Let it go on: tenure agents resume {name} --reason ...",
}

_UNDER_WAY = (LifecycleState.APPROVED, LifecycleState.CREATED)
_PROVISIONED_WITHIN_S = 10.0

agents = typer.Typer(name="agents", help="Agents: list, show, approve, suspend, retire, ...", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("apply")(apply)
    directory_cli.register(agents)
    app.add_typer(agents)
    app.command("lifecycle")(lifecycle)


# -- apply ----------------------------------------------------------------------------------------------------------


@handle_errors
def apply(
    files: Annotated[
        list[Path], typer.Option("-f", "--file", help="YAML or JSON file, a folder of them, or - for standard input.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen and change nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Register agents from manifests, or change their declaration. All are applied, or none.

    A small manifest: apiVersion tenure/v1, kind Agent, metadata.name, and under spec purpose, owner, sponsor,
    framework, model, instructions and risk. Its whole shape: GET /v1/schemas/agent.json.
    """
    documents = _read(files)
    body = {"manifests": [document.value for document in documents], "dry_run": dry_run}
    try:
        with connect() as client:
            results = client.post("/v1/apply", list[Agent], body)
    except Refused as error:
        raise _with_lines(error, documents) from error

    def render() -> None:
        for result in results:
            agent = result["agent"]
            console.print(f"{agent['name']}: {_outcome(result, dry_run)}", markup=False, soft_wrap=True)
            if hint := _next(agent):
                console.print(f"  {hint}", markup=False, soft_wrap=True)

    emit(results, as_json, render)


def _outcome(result: Mapping[str, Any], dry_run: bool) -> str:
    agent = result["agent"]
    if not result["changed"]:
        return f"unchanged, {agent['state']}"
    would = "would be " if dry_run else ""
    if result["created"]:
        return f"{would}registered, {agent['state']}, risk tier {agent['risk_tier']}"
    pending = f", release {agent['pending_release']} waits for an approver" if agent["pending_release"] else ""
    return f"{would}changed, {agent['state']}{pending}"


def _next(agent: Mapping[str, Any]) -> str:
    if agent["pending_release"]:
        return f"An approver decides: tenure agents approve {agent['name']} --reason ..."
    return _NEXT.get(agent["state"], "").format(name=agent["name"])


def _read(files: Sequence[Path]) -> list[Document]:
    """Every document of every file; all files are read before a fault is told, so that one run tells all."""
    documents: list[Document] = []
    faults: list[Mapping[str, Any]] = []
    for path in files:
        for file in _manifest_files(path):
            try:
                documents += read_documents(_text(file), str(file))
            except Refused as error:
                faults += error.details["faults"]
    if faults:
        many = "1 thing is" if len(faults) == 1 else f"{len(faults)} things are"
        raise Refused(
            "invalid_yaml",
            f"{many} wrong with what was read; nothing was applied.",
            fix="Mend it and apply again.",
            details={"faults": faults},
        )
    return documents


def _manifest_files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.iterdir() if file.suffix in (".yaml", ".yml", ".json"))
    if not found:
        raise Refused("no_manifests", f"{path} holds no YAML or JSON file.", fix="Give a file, or another folder.")
    return found


def _text(file: Path) -> str:
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except OSError as error:
        raise refuse([Fault("", f"cannot be read: {error.strerror}", file=str(file))]) from error
    except UnicodeDecodeError as error:
        raise refuse([Fault("", "is not UTF-8 text", "save it as UTF-8", file=str(file))]) from error


def _with_lines(error: Refused, documents: Sequence[Document]) -> Refused:
    """The control plane's faults, with the file and the line each is in."""
    if not isinstance(error.details.get("faults"), list):
        return error
    faults = []
    for fault in error.details["faults"]:
        document = documents[min(int(fault.get("document") or 0), len(documents) - 1)]
        file = "standard input" if document.file == "-" else document.file
        faults.append({**fault, "file": file, "line": document.line_of(str(fault.get("path") or ""))})
    faults.sort(key=lambda fault: (fault["document"], fault["line"]))
    many = "1 thing is" if len(faults) == 1 else f"{len(faults)} things are"
    message = f"{many} wrong with the manifest; nothing was applied."
    return Refused(error.code, message, fix=error.fix, status=error.status, details={"faults": faults})


# -- agents ---------------------------------------------------------------------------------------------------------


@agents.command("list")
@handle_errors
def list_(
    state: Annotated[LifecycleState | None, typer.Option(help="In this state only.")] = None, as_json: Json = False
) -> None:
    """List the agents of the workspace."""
    with connect() as client:
        found = client.get("/v1/agents", list[Agent], state=state.value if state else None)

    def render() -> None:
        if not found:
            console.print(
                f"No agent is {state}." if state else "No agents yet. Register one: tenure apply -f agent.yaml"
            )
            return
        rows = [
            (a["name"], _state(a), a["risk_tier"], a["owner"], a["framework"], a["state_since"][:16].replace("T", " "))
            for a in found
        ]
        table(("agent", "state", "risk", "owner", "framework", "since (UTC)"), rows)

    emit(found, as_json, render)


def _state(agent: Mapping[str, Any]) -> str:
    return f"{agent['state']} (release waits)" if agent["pending_release"] else str(agent["state"])


@agents.command()
@handle_errors
def show(name: Name, as_json: Json = False) -> None:
    """Show one agent: what it is, where it stands, what it may do."""
    with connect() as client:
        agent = _get(client, name)
    emit(agent, as_json, lambda: _render(agent))


def _render(agent: Agent) -> None:
    spec = agent["manifest"]["spec"]
    tools = [f"{tool['name']} ({tool['autonomy']})" for tool in spec.get("tools", ())]
    facts = {
        "name": agent["name"],
        "purpose": agent["purpose"],
        "state": f"{agent['state']} since {agent['state_since'][:16].replace('T', ' ')}: {agent['state_reason']}",
        "owner": f"{agent['owner']}, sponsor {agent['sponsor']}",
        "risk tier": f"{agent['risk_tier']} (highest of "
        + ", ".join(f"{k} {v}" for k, v in spec["risk"].items())
        + ")",
        "framework": agent["framework"],
        "models": ", ".join(model["name"] for model in (spec["model"], *spec.get("models", ()))),
        "tools": ", ".join(tools) or "none",
        "agents": ", ".join(f"{peer['name']} ({peer['autonomy']})" for peer in spec.get("agents", ())),
        "data": ", ".join(spec.get("data_classes", ())),
        "budgets": ", ".join(f"{key} {value}" for key, value in spec.get("budgets", {}).items()),
        "depends on": ", ".join(item.get("agent") or item["system"] for item in spec.get("dependencies", ())),
        "dependants": ", ".join(agent["dependants"]),
        "release": agent["release"],
        "waiting": agent["pending_release"],
        "next": _next(agent),
    }
    for label, value in facts.items():
        if value:
            console.print(f"{label:<11} {value}", markup=False, soft_wrap=True)


@agents.command()
@handle_errors
def history(name: Name, as_json: Json = False) -> None:
    """Show every step of an agent's life: who, when, why."""
    with connect() as client:
        changes = client.get(f"/v1/agents/{name}/transitions", list[Agent])

    def render() -> None:
        rows = [(c["time"][:19].replace("T", " "), c["from"] or "", c["to"], c["actor"], c["reason"]) for c in changes]
        table(("time (UTC)", "from", "to", "actor", "reason"), rows)

    emit(changes, as_json, render)


@agents.command()
@handle_errors
def transition(
    name: Name,
    to: Annotated[LifecycleState, typer.Argument(help="State to go to; `tenure lifecycle` prints the table.")],
    reason: Reason,
    as_json: Json = False,
) -> None:
    """Move an agent one step along its life."""
    with connect() as client:
        _move(client, name, to, reason, as_json)


@agents.command()
@handle_errors
def approve(name: Name, reason: Reason, as_json: Json = False) -> None:
    """Approve a requested agent, or the changed release of one that is approved already."""
    with connect() as client:
        _decide(client, name, "approve", reason, as_json)


@agents.command()
@handle_errors
def reject(name: Name, reason: Reason, as_json: Json = False) -> None:
    """Turn down a requested agent, or the changed release of one that is approved already."""
    with connect() as client:
        _decide(client, name, "reject", reason, as_json)


@agents.command()
@handle_errors
def promote(name: Name, reason: Reason, as_json: Json = False) -> None:
    """Move an agent from provisioned to staging, or from staging to production."""
    with connect() as client:
        provisioned = _get(client, name)["state"] == LifecycleState.PROVISIONED
        to = LifecycleState.STAGING if provisioned else LifecycleState.PRODUCTION
        _move(client, name, to, reason, as_json)


@agents.command()
@handle_errors
def suspend(name: Name, reason: Reason, as_json: Json = False) -> None:
    """Stop an agent at once: its next call is refused, its credentials are dead, its processes end."""
    with connect() as client:
        _move(client, name, LifecycleState.SUSPENDED, reason, as_json)


@agents.command()
@handle_errors
def resume(name: Name, reason: Reason, as_json: Json = False) -> None:
    """Let a suspended agent go on where it stood: production if it was there, otherwise staging."""
    with connect() as client:
        past = client.get(f"/v1/agents/{name}/transitions", list[Agent])
        to = LifecycleState.PRODUCTION if past[-1]["from"] == "production" else LifecycleState.STAGING
        _move(client, name, to, reason, as_json)


@agents.command()
@handle_errors
def retire(  # noqa: PLR0917 (Typer makes options of them; nobody calls it by position)
    name: Name,
    reason: Reason,
    drain: Annotated[int, typer.Option(help="Seconds that what runs may finish.")] = 15,
    force: Annotated[bool, typer.Option("--force", help="Even if other agents depend on it.")] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """End an agent for good: what runs may finish for a while, then it is retired. This cannot be undone."""
    with connect() as client:
        agent = _get(client, name)
        running = agent["state"] in (LifecycleState.STAGING, LifecycleState.PRODUCTION)
        to = LifecycleState.DRAINING if running else LifecycleState.RETIRED
        how = f"It may finish what it is doing for {drain} s; then every" if running else "Every"
        plan = f"{name} ({agent['state']}) will be retired. {how} credential of it is dead and its processes end."
        plan += " What it was and did is kept. It cannot be undone."
        if agent["dependants"]:
            plan += f" Agents that depend on it: {', '.join(agent['dependants'])}."
        confirm(plan, yes)
        _move(client, name, to, reason, as_json, force=force, drain_s=drain)


@agents.command("import-card")
@handle_errors
def import_card(
    source: Annotated[str, typer.Argument(help="Where the agent card is: an address, or a file.")],
    name: Annotated[str | None, typer.Option(help="What the agent is called here.")] = None,
    credential_env: Annotated[
        str | None, typer.Option(help="Variable of the gateway's environment with the token that the agent asks for.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Take in the card of an agent elsewhere, so that agents here can be granted to call it (A2A)."""
    body: dict[str, Any] = {"name": name, "credential_env": credential_env}
    if source.startswith(("http://", "https://")):
        body["url"] = source
    else:
        body["card"] = _card(Path(source))
    with connect() as client:
        found = client.post("/v1/external-agents", Agent, body)

    def render() -> None:
        told = "is not signed: nothing says who made it"
        if found["signature"] == "verified":
            told = f"is signed, and the signature holds (key {found['kid']} of {found['jku']})"
        console.print(f"{found['name']}: imported; the card {told}", markup=False, soft_wrap=True)
        console.print("  Grant it in a manifest: spec.agents: [{name: " + found["name"] + "}]", markup=False)

    emit(found, as_json, render)


def _card(file: Path) -> Any:
    try:
        return json.loads(_text(file))
    except ValueError as error:
        raise Refused("bad_card", f"{file} is not JSON: {error}", fix="Give the agent card as JSON.") from error


@agents.command()
@handle_errors
def external(as_json: Json = False) -> None:
    """List the agents elsewhere whose cards were imported."""
    with connect() as client:
        found = client.get("/v1/external-agents", list[Agent])

    def render() -> None:
        if not found:
            console.print("No agent elsewhere is known. Import one: tenure agents import-card URL")
            return
        rows = [(a["name"], a["signature"], a["protocol"], a["url"] or a["rest_url"], a["source"]) for a in found]
        table(("agent", "signature", "A2A", "address", "card from"), rows)

    emit(found, as_json, render)


@agents.command("remove-card")
@handle_errors
def remove_card(name: Name, yes: Yes = False) -> None:
    """Forget an agent elsewhere: no further call of it passes."""
    with connect() as client:
        confirm(f"{name} will be forgotten; agents that may call it cannot any more.", yes)
        client.request("DELETE", f"/v1/external-agents/{name}", Agent)
    console.print(f"{name}: removed", markup=False)


def _get(client: Client, name: str) -> Agent:
    return client.get(f"/v1/agents/{name}", Agent)


def _move(client: Client, name: str, to: LifecycleState, reason: str, as_json: bool, **more: Any) -> None:
    body = {"to": to.value, "reason": reason, **more}
    _told(client.post(f"/v1/agents/{name}/transitions", Agent, body), as_json)


def _decide(client: Client, name: str, word: str, reason: str, as_json: bool) -> None:
    """An agent that nobody has decided about yet, or else its candidate release."""
    agent = _get(client, name)
    if agent["pending_release"]:
        path = f"/v1/agents/{name}/releases/{agent['pending_release']}/{word}"
        _told(client.post(path, Agent, {"reason": reason}), as_json)
    elif word == "approve":
        client.post(f"/v1/agents/{name}/transitions", Agent, {"to": "approved", "reason": reason})
        _told(_provisioned(client, name), as_json)
    else:
        _move(client, name, LifecycleState.REJECTED, reason, as_json)


def _provisioned(client: Client, name: str) -> Agent:
    """The agent, once the control plane has provisioned it, so that the next command can begin there."""
    deadline = time.monotonic() + _PROVISIONED_WITHIN_S
    while (agent := _get(client, name))["state"] in _UNDER_WAY and time.monotonic() < deadline:
        time.sleep(0.1)
    return agent


def _told(agent: Agent, as_json: bool) -> None:
    def render() -> None:
        until = f" until {agent['drain_until'][:19].replace('T', ' ')} UTC" if agent["drain_until"] else ""
        console.print(f"{agent['name']}: {agent['state']}{until}", markup=False)
        if hint := _next(agent):
            console.print(f"  {hint}", markup=False, soft_wrap=True)

    emit(agent, as_json, render)


# -- lifecycle ------------------------------------------------------------------------------------------------------


@handle_errors
def lifecycle(as_json: Json = False) -> None:
    """Print the lifecycle table: every step there is, who may make it, and what must hold."""
    with connect() as client:
        rows = client.get("/v1/lifecycle", list[Agent])

    def render() -> None:
        cells = [
            (
                r["from"],
                r["to"],
                ", ".join([*r["roles"], *(f"{role} (own)" for role in r["own_roles"])]),
                "; ".join(r["needs"]),
                r["description"],
            )
            for r in rows
        ]
        table(("from", "to", "who may", "must hold", "what it means"), cells)

    emit(rows, as_json, render)
