"""``tenure policy``: what runs and ran, whether files are good and their tests pass, publish them, go back."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from tenure.client import Client
from tenure.client.cli import confirm, connect, console, emit, fault_line, handle_errors, table
from tenure.kernel.errors import Refused
from tenure.policy.sources import read_source

commands = typer.Typer(name="policy", help="Policies: show, test, publish, roll back.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_AT = "; FOLDER@REVISION for what git has of it"
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(commands)


@commands.command()
@handle_errors
def show(
    name: Annotated[str, typer.Argument(help="A file to print, or `schema` for the words policies may use.")] = "",
    as_json: Json = False,
) -> None:
    """Show the running policies: version, files, and why the folder was refused if it was."""
    with connect() as client:
        if name == "schema":
            words = client.get("/v1/policies/schema", dict[str, Any])
            emit(words, as_json, lambda: print(words["cedar"], end=""))
            return
        policies = client.get("/v1/policies", dict[str, Any])
    if name:
        file = next((file for file in policies["files"] if file["name"] == name), None)
        if file is None:
            names = ", ".join(file["name"] for file in policies["files"])
            raise Refused("unknown_policy_file", f"No running policy file is named {name}.", fix=f"There are: {names}.")
        emit(file, as_json, lambda: print(file["text"], end=""))
        return
    emit(policies, as_json, lambda: _render(policies))


def _render(policies: dict[str, Any]) -> None:
    if policies["version"] is None:
        console.print("No policies run: every call is refused.")
    else:
        by = f"{policies['loaded_at']} by {policies['loaded_by']}"
        console.print(f"version {policies['version']}, loaded {by}", markup=False, soft_wrap=True)
        table(("file", "lines"), [(file["name"], file["text"].count("\n")) for file in policies["files"]])
    if problem := policies["last_problem"]:
        console.print(f"The folder was refused at {problem['at']}; the version above stays:", style="red")
        for fault in problem["faults"]:
            console.print(f"  {fault_line(fault)}", markup=False, soft_wrap=True)


def _faults(verdict: dict[str, Any]) -> None:
    for fault in verdict["faults"]:
        console.print(fault_line(fault), style="red", markup=False, soft_wrap=True)


@commands.command()
@handle_errors
def history(limit: Annotated[int, typer.Option(help="How many.")] = 20, as_json: Json = False) -> None:
    """Show which version ran from when on, who wanted it and why; the newest first."""
    with connect() as client:
        loads = client.get("/v1/policies/history", list[dict[str, Any]], limit=limit)

    def render() -> None:
        if not loads:
            console.print("No policies ever ran here. Publish some: tenure policy publish PATH --reason TEXT")
            return
        rows = [(load["at"], load["version"], load["how"], load["actor"], load["reason"]) for load in loads]
        table(("at", "version", "how", "by", "reason"), rows)

    emit(loads, as_json, render)


@commands.command()
@handle_errors
def validate(
    path: Annotated[str, typer.Argument(help=f"A Cedar file or a folder of them{_AT}.")], as_json: Json = False
) -> None:
    """Check files without publishing them; exit status 1 and file and line of every fault when they are broken."""
    with connect() as client:
        verdict = client.post("/v1/policies/validate", dict[str, Any], {"files": read_source(path).files})

    def render() -> None:
        _faults(verdict)
        if verdict["valid"]:
            rows = [(_named(rule), rule["effect"], rule["obligation"], rule["reason"]) for rule in verdict["policies"]]
            table(("policy", "effect", "obligation", "reason"), rows)
            for template in verdict["templates"]:
                made = f"{template['links']} policies are made of it" if template["links"] else "no link fills it"
                where = f"{template['file']}:{template['line']}"
                console.print(f"template {template['id']} ({where}): {made}", markup=False, soft_wrap=True)
            console.print(f"valid, version {verdict['version']}", soft_wrap=True)

    emit(verdict, as_json, render)
    if not verdict["valid"]:
        raise typer.Exit(1)


@commands.command("test")
@handle_errors
def run_tests(
    path: Annotated[str, typer.Argument(help=f"A folder of policies with NAME.test.yaml files beside them{_AT}.")],
    as_json: Json = False,
) -> None:
    """Run the tests beside policies without publishing; exit status 1 when one fails. Lists what no test decides by."""
    with connect() as client:
        verdict = client.post("/v1/policies/validate", dict[str, Any], {"files": read_source(path).files})

    def render() -> None:
        _faults(verdict)
        tests = verdict["tests"]
        failed = sum(1 for item in tests if item["problem"])
        if not tests and verdict["valid"]:
            console.print("There are no tests. Put them beside the policies, in files named NAME.test.yaml.")
        elif tests:
            console.print(f"{len(tests) - failed} of {len(tests)} tests pass")
        for rule in verdict["untested"]:
            console.print(f"no test decides by {rule}", style="yellow", markup=False)

    emit(verdict, as_json, render)
    if not verdict["valid"]:
        raise typer.Exit(1)


@commands.command()
@handle_errors
def publish(
    path: Annotated[str, typer.Argument(help=f"A folder of policies, with their tests{_AT}.")],
    reason: Annotated[str, typer.Option(help="Why; kept in the history and the audit.")],
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Run these policies from now on, when they compile and their tests pass. The history names the commit."""
    source = read_source(path)
    files = source.files
    with connect() as client:
        running = client.get("/v1/policies", dict[str, Any])["version"]
        verdict = client.post("/v1/policies/validate", dict[str, Any], {"files": files})
        if not verdict["valid"]:
            _faults(verdict)
            raise typer.Exit(1)
        untested = f", {len(verdict['untested'])} policies untested" if verdict["untested"] else ""
        text = (
            f"Version {verdict['version']} will run instead of {running or 'none'} "
            f"({len(verdict['policies'])} policies, {len(verdict['tests'])} tests pass{untested}), "
            "for every call from now on. `tenure policy diff` says what agents gain and lose by it."
        )
        if verdict["version"] != running:
            confirm(text, yes)
        why = f"{reason} ({source.origin})" if source.origin else reason
        body = {"files": files, "reason": why, "expected": running}
        loaded = client.post("/v1/policies/publish", dict[str, Any], body)
    _loaded(loaded, as_json)


@commands.command()
@handle_errors
def rollback(
    reason: Annotated[str, typer.Option(help="Why; kept in the history and the audit.")],
    version: Annotated[str, typer.Option("--to", help="The version; left out, the one before what runs now.")] = "",
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Run a version again that ran before. The folder stays as it is; what is saved there next runs then."""
    with connect() as client:
        if not version:
            newest = client.get("/v1/policies/history", list[dict[str, Any]], limit=1)
            version = newest[0]["before"] or "" if newest else ""
        if not version:
            raise Refused("no_earlier_version", "No other version ran before.", fix="Publish one instead.")
        confirm(f"Version {version} will run again, for every call from now on.", yes)
        loaded = client.post("/v1/policies/rollback", dict[str, Any], {"version": version, "reason": reason})
    _loaded(loaded, as_json)


def _loaded(loaded: dict[str, Any], as_json: bool) -> None:
    word = "running" if loaded["changed"] else "unchanged"

    def render() -> None:
        console.print(f"{word}: version {loaded['version']}", soft_wrap=True)
        for rule in loaded["untested"]:
            console.print(f"no test decides by {rule}", style="yellow", markup=False)

    emit(loaded, as_json, render)


@commands.command()
@handle_errors
def reload(as_json: Json = False) -> None:
    """Load the policies folder now, without waiting for the watcher."""
    with connect() as client:
        loaded = client.post("/v1/policies/reload", dict[str, Any])
    _loaded(loaded, as_json)


@commands.command()
@handle_errors
def replay(
    path: Annotated[str, typer.Argument(help=f"A Cedar file or a folder of them, which need not run{_AT}.")],
    days: Annotated[float, typer.Option(help="How far to look back.")] = 7,
    agent: Annotated[str, typer.Option(help="Only the calls of this agent.")] = "",
    as_json: Json = False,
) -> None:
    """Decide the calls that really happened by these policies: which would have come out otherwise."""
    body = {"files": read_source(path).files, "days": days, "agent": agent or None}
    with connect(timeout=600) as client:
        found = client.post("/v1/policies/replay", dict[str, Any], body)
    emit(found, as_json, lambda: _replayed(found, days))


@commands.command()
@handle_errors
def diff(
    first: Annotated[str, typer.Argument(metavar="A", help=f"A version, `running`, a Cedar file or a folder{_AT}.")],
    second: Annotated[str, typer.Argument(metavar="B", help="The same; left out, A is held against what runs.")] = "",
    as_json: Json = False,
) -> None:
    """Say what agents gain and lose when policies B take the place of A: which agents, on which resources, when."""
    with connect(timeout=600) as client:
        before, after = (first, second) if second else ("running", first)
        body = {"before": _side(client, before), "after": _side(client, after)}
        found = client.post("/v1/policies/diff", dict[str, Any], body)
    emit(found, as_json, lambda: _compared(found))


def _side(client: Client, place: str) -> dict[str, Any]:
    if place == "running":
        return {}
    if not place.startswith("sha256:"):
        return {"files": read_source(place).files}
    loads = client.get("/v1/policies/history", list[dict[str, Any]], limit=1_000)
    known = {load["version"] for load in loads if load["version"].startswith(place)}
    if len(known) > 1:
        raise Refused("ambiguous_version", f"{len(known)} versions begin with {place}.", fix="Say more of it.")
    return {"version": next(iter(known), place)}


_WRITTEN = {"added": "+", "removed": "-", "rewritten": "~", "": " "}


def _gap(gap: str, link: dict[str, Any]) -> str:
    before, after = link["before"].get(gap), link["after"].get(gap)
    return f"{gap} {before} -> {after}" if before and after and before != after else f"{gap} {after or before}"


def _named(rule: dict[str, Any]) -> str:
    """A policy by its id, and where it is made of a template by that and what stands in its gaps."""
    filled = ", ".join(rule["filled"].values())
    return f"{rule['id']} of template {rule['template']} ({filled})" if rule["template"] else str(rule["id"])


_SIGNS = {"gained": ("GAINED", "green"), "lost": ("LOST", "red"), "duties": ("DUTIES", "yellow")}


def _written(found: dict[str, Any]) -> None:
    """What is written otherwise: policies, and what is made of templates by their templates."""
    for word, rules in (("+", found["added"]), ("-", found["removed"]), ("~", found["rewritten"])):
        for rule in rules:
            if not rule["template"]:
                console.print(f"{word} {rule['effect']} {rule['id']} ({rule['file']}:{rule['line']})", markup=False)
    for template in found["templates"]:
        where = f"{template['file']}:{template['line']}; {template['made']} policies are made of it"
        word = _WRITTEN[template["what"]]
        console.print(f"{word} template {template['id']} ({where})", markup=False, soft_wrap=True)
        for link in template["links"]:
            gaps = ", ".join(_gap(gap, link) for gap in sorted({**link["before"], **link["after"]}))
            console.print(f"  {_WRITTEN[link['what']]} {link['id']}: {gaps}", markup=False, soft_wrap=True)


def _compared(found: dict[str, Any]) -> None:
    _written(found)
    for change in found["changes"]:
        word, style = _SIGNS[change["change"]]
        who, what = _some(change["agents"]), _some(change["resources"])
        came = " -> ".join(_outcome(change[side]) for side in ("before", "after"))
        console.print(f"{word:7}{who}: {change['action']} {what}: {came}", style=style, markup=False, soft_wrap=True)
        for case in change["when"]:
            if case:
                console.print(f"       when {' and '.join(case)}", markup=False, soft_wrap=True)
        example = change["example"]
        shown = {"arguments": example["arguments"]} | example["facts"]
        console.print(f"       as in {example['resource']} {json.dumps(shown)}", markup=False, soft_wrap=True)
    for one in found["sequences"]:
        what = f"{one['what']}{': ' + ', '.join(one['fields']) if one['fields'] else ''}"
        console.print(f"SEQUENCE {one['id']} ({what})", markup=False, soft_wrap=True)
        for word, style, turn in (("more", "green", one["more"]), ("less", "red", one["less"])):
            if turn:
                console.print(f"       lets through {word}: {turn}", style=style, markup=False, soft_wrap=True)
        if not (one["more"] or one["less"]):
            console.print(f"       no difference in {one['sessions']:,} short sessions", markup=False)
    counted = f"{found['agents']} agents, {found['grants']} grants, {found['calls']:,} calls decided by both"
    console.print(
        f"{'' if found['changes'] or found['sequences'] else 'Nothing is decided otherwise. '}Looked at: {counted}."
    )
    if found["waiting"]:
        console.print(f"As if they were in production: {_some(found['waiting'])}.", markup=False)
    for gap in found["gaps"]:
        console.print(f"Not looked at: {gap['what']} ({_some(gap['whose'])})", style="yellow", markup=False)


def _some(names: list[str], most: int = 6) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _outcome(outcome: dict[str, Any]) -> str:
    duties = [duty for duty in outcome["obligations"] if duty != "approve"]
    return f"{outcome['effect']}{' with ' + ', '.join(duties) if duties else ''} by {_some(outcome['policies'])}"


_WOULD = {"deny": "denied", "hold": "held", "allow": "allowed"}


def _replayed(found: dict[str, Any], days: float) -> None:
    if not found["calls"]:
        console.print(f"No call was decided in the last {days:g} days.")
        return
    decided = found["calls"] - found["skipped"] - found["unknown"]
    rate = f", {decided / found['took_s']:,.0f} a second" if found["took_s"] > 0 else ""
    console.print(f"{decided:,} calls decided again{rate}; {found['changed']:,} come out otherwise")
    for row in found["counts"]:
        word = f"{row['calls']:,} of {row['agent']} would have been {_WOULD[row['after']]}"
        console.print(f"  {word} instead of {_WOULD[row['before']]}", markup=False, soft_wrap=True)
    for count, text in (
        (found["skipped"], "were refused for their agent's standing, and are not asked about"),
        (found["unknown"], "are left out: what was known of their agent is not kept"),
        (found["inexact"], "were decided from less than was known then: something was taken out, or not asked"),
    ):
        if count:
            console.print(f"  {count:,} {text}")
    if found["changes"]:
        rows = [
            (change["at"], change["id"], change["agent"], change["resource"], change["before"], change["after"],
             ", ".join(change["policies"]))
            for change in found["changes"]
        ]  # fmt: skip
        table(("at", "call", "agent", "resource", "was", "would be", "by"), rows)


@commands.command()
@handle_errors
def explain(
    call_id: Annotated[str, typer.Argument(help="The id of a call, as `tenure traces show` tells it.")],
    as_json: Json = False,
) -> None:
    """Say why a past call was decided as it was: which policies were in its scope, and which of them held."""
    with connect() as client:
        found = client.get(f"/v1/decisions/{call_id}", dict[str, Any])
    emit(found, as_json, lambda: _explained(found))


def _explained(found: dict[str, Any]) -> None:
    decided = found["decided"]
    console.print(f"{found['agent']} called {found['resource']}: {decided['effect']}", markup=False)
    console.print(f"  {decided['reason']}", markup=False, soft_wrap=True)
    console.print(f"  policies {decided['policy_version'] or 'none'}, facts {found['facts'] or 'none'}", soft_wrap=True)
    if decided["because"]:
        console.print(f"  because of the calls {', '.join(decided['because'])}", markup=False, soft_wrap=True)
    if found["rules"]:
        rows = [
            (
                _named(rule),
                rule["effect"],
                f"{rule['file']}:{rule['line']}",
                f"{'final, ' if rule['final'] else ''}{rule['layer']}",
                "hold" if rule["applies"] else "do not hold",
                "decided" if rule["determined"] else "gave way" if rule["id"] in decided["over"] else "",
            )
            for rule in found["rules"]
        ]
        table(("policy", "effect", "where", "is about", "its conditions", ""), rows)
    if found["same"] is not None:
        word = "the same" if found["same"] else f"another decision: {found['again']['effect']}"
        console.print(f"Decided again from the same facts: {word}.", markup=False)
    if found["words"] == "kept":
        console.print("Its policies were written for an older Tenure: decided in its words, which were kept.")
    if found["missing"]:
        console.print(f"Note: {found['missing']}.", markup=False)
