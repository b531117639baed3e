"""The verbs of policy: look at the folder, load what is good, keep what was good."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib import resources
from pathlib import Path

from tenure.base import events
from tenure.base.config import Config
from tenure.base.room import World
from tenure.kernel.errors import Refused
from tenure.kernel.ids import new_id
from tenure.kernel.json import JsonObject, digest
from tenure.kernel.snapshot import WorkspaceFact
from tenure.kernel.values import Actor, Event, Status
from tenure.policy import store
from tenure.policy.model import Bundle, Fault, compile_bundle

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
    """A good load. ``changed``: whether another version runs now."""

    version: str
    files: tuple[str, ...]
    changed: bool


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


def read_folder(folder: Path) -> tuple[tuple[tuple[str, str], ...], tuple[Fault, ...]]:
    """The Cedar files of ``folder`` by name, and what could not be read."""
    if not folder.is_dir():
        return (), (Fault(str(folder), 1, "the policies folder does not exist"),)
    files: list[tuple[str, str]] = []
    faults: list[Fault] = []
    size = 0
    for path in sorted(folder.glob("*.cedar")):
        try:
            raw = path.read_bytes()
            files.append((path.name, raw.decode("utf-8")))
        except OSError as error:
            faults.append(Fault(path.name, 1, f"cannot be read: {error.strerror}"))
            continue
        except UnicodeDecodeError as error:
            faults.append(Fault(path.name, raw[: error.start].count(b"\n") + 1, "is not UTF-8 text"))
            continue
        size += len(raw)
    if len(files) > MAX_FILES or size > MAX_BYTES:
        faults.append(Fault(str(folder), 1, f"more than {MAX_FILES} files or {MAX_BYTES >> 20} MB of policies"))
    return tuple(files), tuple(faults)


def folder_digest(folder: Path) -> str:
    """Tells one content of the folder from another."""
    files, faults = read_folder(folder)
    return _seen(files, faults)


def _seen(files: Sequence[tuple[str, str]], faults: Sequence[Fault]) -> str:
    return digest([[list(file) for file in files], [asdict(fault) for fault in faults]])


def reload(world: World, actor: Actor) -> Loaded:
    """Loads the folder of the actor's workspace. Raises Refused ``policy_invalid`` with every fault, after noting it
    (``policy.rejected``, once for each content of the folder); what ran before goes on running."""
    workspace = actor.workspace
    files, faults = read_folder(folder_of(world.config, workspace))
    seen = _seen(files, faults)
    refusal: Refused | None = None
    bundle: Bundle | None = None
    try:
        if faults:
            raise _unreadable(faults)
        bundle = compile_bundle(files)
    except Refused as error:
        refusal = error
    now = world.clock()
    with world.begin() as tx:
        state = next(iter(store.states(tx, workspace)), None)
        running = state.version if state else None
        if bundle is None:
            assert refusal is not None  # noqa: S101 (there is a bundle or a refusal)
            problem = {"at": now.isoformat(), "faults": refusal.details["faults"]}
            if state is None or state.seen != seen or state.problem is None:
                store.save_state(tx, workspace, version=running, seen=seen, problem=problem, now=now)
                data = {"faults": problem["faults"], "running": running}
                events.append(
                    tx, [_event(actor, "policy.rejected", workspace=workspace, now=now, version=running, data=data)]
                )
        else:
            if running != bundle.version:
                store.save_version(tx, workspace, bundle.version, bundle.files, now=now, actor=actor.name)
                data = {"version": bundle.version, "files": [name for name, _ in files], "before": running}
                events.append(
                    tx,
                    [_event(actor, "policy.loaded", workspace=workspace, now=now, version=bundle.version, data=data)],
                )
            if state is None or (state.version, state.seen, state.problem) != (bundle.version, seen, None):
                store.save_state(tx, workspace, version=bundle.version, seen=seen, problem=None, now=now)
    if refusal is not None:
        raise refusal
    assert bundle is not None  # noqa: S101 (as above)
    return Loaded(bundle.version, tuple(name for name, _ in files), running != bundle.version)


def _unreadable(faults: Sequence[Fault]) -> Refused:
    return Refused(
        "policy_invalid",
        f"{faults[0].file}: {faults[0].problem}",
        fix="Mend the folder; what ran before goes on running.",
        status=422,
        details={"faults": [asdict(fault) for fault in faults]},
    )


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


def version_files(world: World, workspace: str, version: str) -> tuple[tuple[str, str], ...]:
    """The files of any version that ever ran (Events carry its name). Raises Refused 404 for an unknown one."""
    with world.read() as connection:
        files = store.version_files(connection, workspace, version)
    if files is None:
        raise Refused("unknown_policy_version", f"No policies of version {version} ever ran here.", status=404)
    return files


def workspace_facts(world: World) -> dict[str, WorkspaceFact]:
    """The running policies of every workspace, as the Snapshot carries them."""
    with world.read() as connection:
        return {
            state.workspace: WorkspaceFact(state.workspace, state.version, state.files)
            for state in store.states(connection)
            if state.version is not None
        }
