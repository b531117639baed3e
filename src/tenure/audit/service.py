"""Audit's verbs: append, check, and pin the chain with a signed checkpoint outside the database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import msgspec
from joserfc.jwk import ECKey
from sqlalchemy.engine import Connection

from tenure.audit import store
from tenure.audit.model import (
    GENESIS,
    Checkpoint,
    Entry,
    Problem,
    Verdict,
    Walk,
    against_checkpoint,
    read_checkpoint,
    seal,
    sign_checkpoint,
)
from tenure.base import files, log
from tenure.base.config import Config
from tenure.base.room import World
from tenure.kernel.errors import Failed, Refused
from tenure.kernel.json import JsonObject
from tenure.kernel.values import Event

CHECKPOINT_EVERY = timedelta(seconds=1)
MAX_PROBLEMS = 100
_BATCH = 2000

logger = log.get("audit")


def append(conn: Connection, events: Sequence[Event]) -> None:
    """Adds the entries of ``events``, in order, in the caller's transaction."""
    seq, head = store.last(conn)
    store.add(conn, seal(events, seq, head))


def entries(
    conn: Connection, workspace: str | None, after: int, limit: int, *, agent: str | None = None
) -> list[Entry]:
    """Up to ``limit`` entries after number ``after``, oldest first; of every workspace when None is named."""
    return store.read(conn, after, limit, workspace=workspace, agent=agent)


def size(conn: Connection, workspace: str) -> int:
    """The number of the workspace's newest entry."""
    return store.newest(conn, workspace)


# -- checking -------------------------------------------------------------------------------------------------------


def _walk(conn: Connection, walk: Walk, upto: int, seen: dict[int, str]) -> Iterator[Problem]:
    """The problems of the entries after ``walk.seq``, a batch in memory at a time. Fills in the hashes of the numbers
    that are keys of ``seen``."""
    while batch := store.read(conn, walk.seq, _BATCH, upto=upto):
        for entry in batch:
            yield from walk.take(entry)
            if entry.seq in seen:
                seen[entry.seq] = entry.hash


def _check(conn: Connection, checkpoint: Checkpoint | None, start: Checkpoint | None = None) -> Verdict:
    """Checks the chain, from ``start`` on when that much is known to be good already."""
    newest, _ = store.last(conn)
    walk = Walk(lambda value: store.find_hash(conn, value), *((start.size, start.head) if start else (0, GENESIS)))
    seen = {checkpoint.size: ""} if checkpoint else {}
    problems: list[Problem] = []
    for problem in _walk(conn, walk, newest, seen):
        problems.append(problem)
        if len(problems) >= MAX_PROBLEMS:
            break
    else:
        if checkpoint is not None:
            found = seen[checkpoint.size] or store.hash_at(conn, checkpoint.size)
            problem_of_all = against_checkpoint(checkpoint, newest, found)
            if problem_of_all is not None:
                problems.append(problem_of_all)
    return Verdict(not problems, newest, tuple(problems), walk.head, checkpoint)


def verify(world: World) -> Verdict:
    """Checks every entry, every link, and the checkpoint. Reads the chain a batch at a time, so its length costs time
    and no memory."""
    try:
        anchor = _anchor(world.config)  # read before the chain, which only grows: it may lag behind, never lead
    except _Unanchored as lost:
        with world.read() as conn:
            verdict = _check(conn, None)
        return Verdict(False, verdict.entries, (lost.problem, *verdict.problems), verdict.head)
    with world.read() as conn:
        return _check(conn, anchor.checkpoint if anchor else None)


# -- the checkpoint -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Anchor:
    key: JsonObject
    checkpoint: Checkpoint


class _Unanchored(Exception):  # noqa: N818 (a finding, told as a Problem)
    """The checkpoint that there must be is gone or is not ours."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def _key_file(config: Config) -> Path:
    return config.data_dir / "keys" / "audit.json"


def _checkpoint_file(config: Config) -> Path:
    return config.data_dir / "audit" / "checkpoint"


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Failed("file_not_read", f"{path} cannot be read: {error.strerror}") from error


def _anchor(config: Config) -> _Anchor | None:
    """The key and the checkpoint of this data folder; None when it has no key, that is, never pinned a chain."""
    raw = _read(_key_file(config))
    if raw is None:
        return None
    data = _read(_checkpoint_file(config))
    if data is None:
        text = f"The checkpoint {_checkpoint_file(config)} is missing: a cut-off or rewritten chain would not show."
        raise _Unanchored(Problem(0, "checkpoint_missing", text))
    try:
        key: JsonObject = msgspec.json.decode(raw)
    except msgspec.DecodeError:
        key = {}
    checkpoint = read_checkpoint(data, key)
    if checkpoint is None:
        text = f"The checkpoint {_checkpoint_file(config)} was not signed by this installation's audit key."
        raise _Unanchored(Problem(0, "checkpoint_forged", text))
    return _Anchor(key, checkpoint)


def _first_anchor(world: World) -> int:
    """Makes the key, and the checkpoint of the chain as it stands. The key comes last: it says that there must be a
    checkpoint, so a crash in between leaves a chain that was never pinned, and the next start pins it."""
    config = world.config
    with world.read() as conn:
        verdict = _check(conn, None)
    if not verdict.ok:
        raise Failed(
            "audit_broken", f"The audit chain is broken, no checkpoint is signed: {verdict.problems[0].message}"
        )
    key = ECKey.generate_key("P-256", {"use": "sig", "alg": "ES256"}, auto_kid=True).as_dict(private=True)
    first = Checkpoint(verdict.entries, verdict.head, world.clock())
    for folder in (_key_file(config).parent, _checkpoint_file(config).parent):
        files.private_folder(folder)
    files.replace(_checkpoint_file(config), sign_checkpoint(first, key))
    files.replace(_key_file(config), msgspec.json.encode(key))
    logger.info("the audit chain is pinned for the first time", size=first.size, kid=key["kid"])
    return first.size


def pin(world: World) -> int:
    """Signs a checkpoint of the chain as it stands, at most one a second; returns how many entries that adds.

    What was pinned before is checked first, and what came since: a chain that was cut off, rewritten or edited is never
    signed for. Raises Failed (audit_broken) then; ``verify`` tells the details.
    """
    config, now = world.config, world.clock()
    try:
        anchor = _anchor(config)
    except _Unanchored as lost:
        raise Failed("audit_broken", lost.problem.message) from lost
    if anchor is None:
        return _first_anchor(world)
    old = anchor.checkpoint
    if timedelta(0) <= now - old.time < CHECKPOINT_EVERY:
        return 0
    with world.read() as conn:
        if store.last(conn) == (old.size, old.head):
            return 0
        verdict = _check(conn, old, start=old)
    if not verdict.ok:
        raise Failed("audit_broken", f"No checkpoint is signed: {verdict.problems[0].message}")
    new = Checkpoint(verdict.entries, verdict.head, now)
    files.replace(_checkpoint_file(config), sign_checkpoint(new, anchor.key))
    return new.size - old.size


@dataclass(frozen=True, slots=True)
class Pinned:
    """The checkpoint with what others need to check it: the file as it stands, and the public key."""

    checkpoint: Checkpoint
    signature: str
    public_key: JsonObject


def checkpoint(world: World) -> Pinned:
    """The newest checkpoint. Raises Refused when there is none yet, or none that this installation signed."""
    try:
        anchor = _anchor(world.config)
    except _Unanchored as lost:
        raise Refused(lost.problem.kind, lost.problem.message, fix="Run `tenure audit verify`.", status=409) from lost
    if anchor is None:
        raise Refused("no_checkpoint", "The chain has no checkpoint yet.", fix="Try again in a second.", status=404)
    signature = msgspec.json.decode(_read(_checkpoint_file(world.config)) or b"{}").get("signature", "")
    public = ECKey.import_key(dict(anchor.key)).as_dict(private=False)
    return Pinned(anchor.checkpoint, signature, public)
