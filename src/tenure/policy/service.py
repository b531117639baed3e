"""The verbs of policy: check files, run what is good, go back to what was good."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any

from sqlalchemy.engine import Connection

from tenure.base import events
from tenure.base.config import Config
from tenure.base.faults import FileFault
from tenure.base.room import World
from tenure.kernel.errors import Refused
from tenure.kernel.ids import new_id
from tenure.kernel.json import JsonObject, digest
from tenure.kernel.snapshot import AgentFact, WorkspaceFact, fact_digest
from tenure.kernel.values import Actor, CallKind, Event, Status
from tenure.policy import store
from tenure.policy.boundary import VERDICTS, bounds_of, looks_at, speaks
from tenure.policy.cases import SUFFIX, TAILS, Report, policies_of, read_cases, run_cases
from tenure.policy.links import SUFFIX as LINKS
from tenure.policy.model import Bundle, compile_bundle
from tenure.policy.past.hindsight import Again
from tenure.policy.store import How, Load
from tenure.policy.versions import version_bundle, version_files, version_schema
from tenure.sequences.model import SUFFIX as SEQUENCES

__all__ = ["Again", "policies_of", "version_bundle", "version_files", "version_schema"]
"""What other modules do for this one; all that is defined here is for others as well."""

_MAX_REASON = 2_000
_NAME = re.compile(r"[\w.-]{1,200}(\.cedar|\.links\.json|\.sequence\.yaml|\.test\.yaml)")
MAX_FILES = 1_000
MAX_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Policies:
    """What runs in a workspace and, while the folder is broken, why it was refused ({at, faults})."""

    version: str | None
    files: tuple[tuple[str, str], ...]
    loaded_at: datetime | None
    loaded_by: str
    last_problem: JsonObject | None


@dataclass(frozen=True, slots=True)
class Loaded:
    """A good load. ``changed``: whether another version runs now; ``before``: the one that ran. ``tests``: how many
    passed; ``untested``: the rules that none of them decides by (neither is asked at a rollback)."""

    version: str
    files: tuple[str, ...]
    changed: bool
    before: str | None = None
    tests: int = 0
    untested: tuple[str, ...] = ()


def folder_of(config: Config, workspace: str) -> Path:
    """Where a workspace's Cedar files are: the policies folder for the installation's own, and a folder of the
    workspace's name in it for every other."""
    return config.policies if workspace == config.workspace else config.policies / workspace


def install_defaults(world: World, workspace: str) -> list[str]:
    """Copies the shipped policies into the workspace's folder the very first time, and returns their names.

    A folder of the person's own (TENURE_POLICIES) that has policies is left as it is; in our own folder, files
    that are there already stay. Raises Refused when the folder cannot be written.
    """
    folder = folder_of(world.config, workspace)
    with world.read() as connection:
        if any(state.version for state in store.states(connection, workspace)):
            return []
    if world.config.policy_dir and list(folder.glob("*.cedar")):
        return []
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in sorted(resources.files("tenure.policy").joinpath("defaults").iterdir(), key=lambda item: item.name):
            target = folder / file.name
            if file.name.endswith(".cedar") and not target.exists():
                target.write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
                written.append(file.name)
    except OSError as error:
        raise Refused(
            "policy_folder_unwritable",
            f"The policies folder {folder} cannot be written: {error.strerror}.",
            fix="Give the folder to the user who runs Tenure, or name another in TENURE_POLICIES.",
        ) from error
    return written


def policy_files(folder: Path) -> list[Path]:
    """The files of a folder that are policies, or tests of policies, by name."""
    try:
        return sorted(path for path in folder.iterdir() if path.name.endswith(TAILS))
    except OSError:  # there is none, or it cannot be read
        return []


def read_folder(folder: Path) -> tuple[tuple[tuple[str, str], ...], tuple[FileFault, ...]]:
    """The policies of ``folder``, Cedar and sequence rules, and their tests by name, and what could not be read."""
    if not folder.is_dir():
        return (), (FileFault(str(folder), 1, "the policies folder does not exist"),)
    files: list[tuple[str, str]] = []
    faults: list[FileFault] = []
    size = 0
    for path in policy_files(folder):
        try:
            raw = path.read_bytes()
            files.append((path.name, raw.decode("utf-8")))
        except OSError as error:
            faults.append(FileFault(path.name, 1, f"cannot be read: {error.strerror}"))
            continue
        except UnicodeDecodeError as error:
            faults.append(FileFault(path.name, raw[: error.start].count(b"\n") + 1, "is not UTF-8 text"))
            continue
        size += len(raw)
    if len(files) > MAX_FILES or size > MAX_BYTES:
        faults.append(FileFault(str(folder), 1, f"more than {MAX_FILES} files or {MAX_BYTES >> 20} MB of policies"))
    return tuple(files), tuple(faults)


def folder_digest(folder: Path) -> str:
    """Tells one content of the folder from another."""
    files, faults = read_folder(folder)
    return _seen(files, faults)


def _seen(files: Sequence[tuple[str, str]], faults: Sequence[FileFault]) -> str:
    return digest([[list(file) for file in files], [asdict(fault) for fault in faults]])


@dataclass(frozen=True, slots=True)
class Checked:
    """What files are worth. ``bundle`` is None when they do not compile; ``faults`` are those of policies and tests,
    failing tests among them; ``report`` is there as soon as the tests could run."""

    files: tuple[tuple[str, str], ...]
    bundle: Bundle | None
    faults: tuple[FileFault, ...]
    report: Report | None = None


def check(files: Sequence[tuple[str, str]]) -> Checked:
    """Compiles the policies among ``files`` ((name, text) each) and runs the tests beside them."""
    files = tuple(files)
    cases, faults = read_cases(files)
    try:
        bundle = compile_bundle(policies_of(files))
    except Refused as refused:
        wrong = tuple(FileFault(**fault) for fault in refused.details["faults"])
        return Checked(files, None, (*wrong, *faults))
    if faults:
        return Checked(files, bundle, faults)
    report = run_cases(bundle, cases)
    return Checked(files, bundle, tuple(report.faults), report)


def reload(world: World, actor: Actor) -> Loaded:
    """Publishes the folder of the actor's workspace. Raises Refused ``policy_invalid`` with every fault, after noting
    it (``policy.rejected``, once for each content of the folder); what ran before goes on running."""
    workspace = actor.workspace
    files, unreadable = read_folder(folder_of(world.config, workspace))
    seen = _seen(files, unreadable)
    checked = Checked(files, None, unreadable) if unreadable else check(files)
    if checked.faults:
        _reject(world, actor, workspace, seen, checked.faults)
        raise _refusal(checked.faults, "Mend the file; `tenure policy test PATH` checks it without loading it.")
    return _run(world, actor, workspace, checked, how=How.FOLDER, seen=seen)


def publish(
    world: World, actor: Actor, files: Sequence[tuple[str, str]], reason: str, *, expected: str | None = None
) -> Loaded:
    """Runs ``files`` ((name, text) each: policies, and tests beside them) in the actor's workspace from now on.

    ``expected``: the version that the caller believes to run; another one refuses (409). Raises Refused
    ``policy_invalid`` with every fault, failing tests among them."""
    _check_size(files)
    checked = check(files)
    if checked.faults:
        raise _refusal(checked.faults, "Mend the files; `tenure policy test PATH` checks them without publishing.")
    return _run(world, actor, actor.workspace, checked, how=How.PUBLISH, reason=_reason(reason), expected=expected)


def amend(world: World, actor: Actor, files: Sequence[tuple[str, str]], reason: str) -> Loaded:
    """Runs ``files`` as a room that has looked at them wants it; their tests do not stand in the way. Raises Refused
    ``policy_invalid`` for files that do not compile."""
    bundle = compile_bundle(policies_of(files))
    return _run(world, actor, actor.workspace, Checked(tuple(files), bundle, ()), how=How.PUBLISH, reason=reason)


def running(connection: Connection, workspace: str) -> tuple[tuple[str, str], ...]:
    """The files that run in a workspace."""
    state = next(iter(store.states(connection, workspace)), None)
    return state.files if state is not None else ()


def rollback(world: World, actor: Actor, version: str, reason: str) -> Loaded:
    """Runs a version again that ran before. Its tests do not stand in the way: it is asked for when something is wrong
    now. Raises Refused 404 for a version that never ran here, ``policy_invalid`` for one that no longer compiles."""
    files = version_files(world, actor.workspace, version)
    bundle = compile_bundle(policies_of(files))
    return _run(world, actor, actor.workspace, Checked(files, bundle, ()), how=How.ROLLBACK, reason=_reason(reason))


def refresh(world: World, actor: Actor) -> None:
    """At the start: the words that policies are written in may have changed with the program, and with them the version
    that the same files have. Files that no longer compile stay as they are; the gateways refuse by them."""
    with world.read() as connection:
        found = store.states(connection, actor.workspace)
    for state in found:
        try:
            bundle = compile_bundle(policies_of(state.files)) if state.version else None
        except Refused:
            continue
        if bundle is not None and bundle.version != state.version:
            _run(world, actor, state.workspace, Checked(state.files, bundle, ()), how=How.UPGRADE)


def _run(
    world: World,
    actor: Actor,
    workspace: str,
    checked: Checked,
    *,
    how: How,
    reason: str = "",
    seen: str | None = None,
    expected: str | None = None,
) -> Loaded:
    """``seen``: the digest of the folder, when that is where it comes from; else the folder counts as looked at, and
    what runs stays until the folder changes."""
    bundle, now = checked.bundle, world.clock()
    assert bundle is not None  # noqa: S101 (whoever calls has refused files that do not compile)
    names = [name for name, _ in checked.files]
    with world.begin() as tx:
        state = next(iter(store.states(tx, workspace)), None)
        running = state.version if state else None
        if expected is not None and expected != running:
            raise Refused(
                "policy_moved",
                f"Version {running} runs, not {expected}.",
                fix="Look at what was published meanwhile (`tenure policy history`), and publish again.",
                status=409,
            )
        if state is None or state.version != bundle.version or state.files != checked.files:
            kept = store.Version(checked.files, bundle.words.schema)
            store.save_version(tx, workspace, bundle.version, kept, now=now, actor=actor.name)
        if running != bundle.version:
            store.add_load(tx, Load(new_id(), workspace, bundle.version, running, how, actor.name, reason, now))
            data: dict[str, Any] = {"version": bundle.version, "files": names, "before": running, "how": how.value}
            if reason:
                data["reason"] = reason
            if checked.report is not None:
                data |= {"tests": len(checked.report.results), "untested": list(checked.report.untested)}
            events.append(
                tx, [_event(actor, "policy.loaded", workspace=workspace, now=now, version=bundle.version, data=data)]
            )
        looked = seen if seen is not None else state.seen if state else ""
        if state is None or (state.version, state.seen, state.problem) != (bundle.version, looked, None):
            store.save_state(tx, workspace, version=bundle.version, seen=looked, problem=None, now=now)
    report = checked.report or Report((), ())
    changed = running != bundle.version
    return Loaded(bundle.version, tuple(names), changed, running, len(report.results), report.untested)


def _reject(world: World, actor: Actor, workspace: str, seen: str, faults: Sequence[FileFault]) -> None:
    now = world.clock()
    problem = {"at": now.isoformat(), "faults": [asdict(fault) for fault in faults]}
    with world.begin() as tx:
        state = next(iter(store.states(tx, workspace)), None)
        if state is not None and state.seen == seen and state.problem is not None:
            return
        running = state.version if state else None
        store.save_state(tx, workspace, version=running, seen=seen, problem=problem, now=now)
        data = {"faults": problem["faults"], "running": running}
        events.append(tx, [_event(actor, "policy.rejected", workspace=workspace, now=now, version=running, data=data)])


def _refusal(faults: Sequence[FileFault], fix: str) -> Refused:
    first = faults[0]
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return Refused(
        "policy_invalid",
        f"{first.file} line {first.line}: {first.problem}{more}",
        fix=f"{fix} What ran before goes on running.",
        status=422,
        details={"faults": [asdict(fault) for fault in faults]},
    )


def _check_size(files: Sequence[tuple[str, str]]) -> None:
    names = [name for name, _ in files]
    wrong = next((name for name in names if not _NAME.fullmatch(name) or names.count(name) > 1), None)
    if wrong is not None:
        raise Refused(
            "bad_policy_name",
            f"{wrong!r} is no name of a file of policies, or is given twice.",
            fix=f"Names end in .cedar, those of links of templates in {LINKS}, those of sequence rules in {SEQUENCES}, "
            f"those of tests in {SUFFIX}; each once.",
            status=422,
        )
    if not any(name.endswith(".cedar") for name in names):
        raise Refused("no_policy_files", "There is no .cedar file among these.", status=422)
    if len(files) > MAX_FILES or sum(len(text.encode("utf-8", "replace")) for _, text in files) > MAX_BYTES:
        raise Refused(
            "policies_too_large", f"These are more than {MAX_FILES} files or {MAX_BYTES >> 20} MB.", status=413
        )


def _reason(reason: str) -> str:
    text = reason.strip()
    if not text or len(text) > _MAX_REASON or "\x00" in text:
        raise Refused(
            "reason_needed",
            f"This needs a reason, of at most {_MAX_REASON} characters.",
            fix="Say in a sentence why; it is kept in the history and the audit.",
            status=422,
        )
    return text


def _event(actor: Actor, kind: str, *, workspace: str, now: datetime, version: str | None, data: JsonObject) -> Event:
    return Event(
        id=new_id(),
        type=kind,
        time=now,
        workspace=workspace,
        actor=actor.name,
        status=Status.ALLOWED if kind == "policy.loaded" else Status.FLAGGED,
        policy_version=version,
        data=data,
    )


def history(world: World, workspace: str, limit: int = 100) -> list[Load]:
    """What ran, the newest first."""
    with world.read() as connection:
        return store.loads(connection, workspace, limit)


def seen(world: World, workspace: str) -> str | None:
    """The digest of a workspace's folder as it was last looked at, or None before the first time."""
    with world.read() as connection:
        state = next(iter(store.states(connection, workspace)), None)
    return state.seen if state else None


def show(world: World, workspace: str) -> Policies:
    """What runs in a workspace."""
    with world.read() as connection:
        state = next(iter(store.states(connection, workspace)), None)
    if state is None:
        return Policies(None, (), None, "", None)
    return Policies(state.version, state.files, state.loaded_at, state.actor, state.problem)


def workspace_facts(world: World) -> dict[str, WorkspaceFact]:
    """The running policies of every workspace, as the Snapshot carries them."""
    with world.read() as connection:
        return {
            state.workspace: WorkspaceFact(state.workspace, state.version, policies_of(state.files))
            for state in store.states(connection)
            if state.version is not None
        }


@dataclass(frozen=True, slots=True)
class Further:
    """A policy that may decide otherwise than what holds in any case. ``speaks``: what it would come to (proceed,
    approval, stop); ``looks_at``: what of a call it looks at."""

    policy: str
    speaks: str
    reason: str
    looks_at: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Bounded:
    """One thing that an agent was granted, and where its own decisions about it end. ``verdict``: proceed, approval or
    stop, as the three-way rule has it (R078)."""

    kind: CallKind
    resource: str
    verdict: str
    why: str
    policies: tuple[str, ...]
    further: tuple[Further, ...]


def boundary(world: World, agent: AgentFact) -> tuple[str, tuple[Bounded, ...]]:
    """The version of the policies that run in the agent's workspace, and what they come to for everything that it was
    granted. Raises Refused ``policy_invalid`` when what runs no longer compiles."""
    bundle = compile_bundle(policies_of(show(world, agent.workspace).files))
    return bundle.version, tuple(
        Bounded(
            bound.kind,
            bound.resource,
            VERDICTS[bound.decision.effect],
            bound.decision.reason,
            bound.decision.policies,
            tuple(Further(rule.id, speaks(rule), rule.reason, looks_at(rule)) for rule in bound.further),
        )
        for bound in bounds_of(agent, bundle, world.clock().timestamp())
    )


def keep_facts(world: World, agents: Iterable[AgentFact]) -> None:
    """Keeps what is known of agents, by digest, before a gateway decides by it: the decision can then be made again."""
    facts = {fact_digest(agent): agent for agent in agents}
    if facts:
        with world.begin() as tx:
            store.keep_facts(tx, facts, world.clock())
