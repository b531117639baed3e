"""Policies as the database keeps them: every version that ever ran, and which one runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tenure.base.db import UtcTime, insert, metadata
from tenure.kernel.json import JsonObject, digest
from tenure.kernel.snapshot import AgentFact

Files = tuple[tuple[str, str], ...]

policy_version = sa.Table(
    "policy_version",
    metadata,
    sa.Column("workspace", sa.String(63), primary_key=True),
    sa.Column("version", sa.String(71), primary_key=True),
    sa.Column("files", sa.Text, nullable=False),
    sa.Column("schema", sa.String(71), nullable=False, server_default=""),  # its digest; "" where it is not kept
    sa.Column("loaded_at", UtcTime, nullable=False),
    sa.Column("actor", sa.String(255), nullable=False),
)

policy_schema = sa.Table(
    "policy_schema",
    metadata,
    sa.Column("workspace", sa.String(63), primary_key=True),
    sa.Column("digest", sa.String(71), primary_key=True),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("at", UtcTime, nullable=False),
)

policy_state = sa.Table(
    "policy_state",
    metadata,
    sa.Column("workspace", sa.String(63), primary_key=True),
    sa.Column("version", sa.String(71)),
    sa.Column("seen", sa.String(71), nullable=False),
    sa.Column("problem", sa.Text),
    sa.Column("changed_at", UtcTime, nullable=False),
)


policy_load = sa.Table(
    "policy_load",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),  # a UUIDv7: sorts by time
    sa.Column("workspace", sa.String(63), nullable=False),
    sa.Column("version", sa.String(71), nullable=False),
    sa.Column("before", sa.String(71)),
    sa.Column("how", sa.String(16), nullable=False),
    sa.Column("actor", sa.String(255), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("at", UtcTime, nullable=False),
    sa.Index("policy_load_newest", "workspace", "id"),
)


policy_fact = sa.Table(
    "policy_fact",
    metadata,
    sa.Column("workspace", sa.String(63), primary_key=True),
    sa.Column("digest", sa.String(71), primary_key=True),
    sa.Column("fact", sa.Text, nullable=False),
    sa.Column("at", UtcTime, nullable=False),
)


class How(StrEnum):
    """How a version came to run: the folder was saved, files were published, an earlier version was taken back, or
    the words of policies changed with the program and the same files have another version now."""

    FOLDER = "folder"
    PUBLISH = "publish"
    ROLLBACK = "rollback"
    UPGRADE = "upgrade"


@dataclass(frozen=True, slots=True)
class Load:
    """A version began to run, in place of ``before``. ``reason`` is what the person said."""

    id: str
    workspace: str
    version: str
    before: str | None
    how: How
    actor: str
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class State:
    """What runs in a workspace. ``version`` is None before a first good load. ``seen``: the digest of the files that
    were last looked at, good or not. ``problem``: why those were refused, as {at, faults}."""

    workspace: str
    version: str | None
    seen: str
    problem: JsonObject | None
    files: Files
    loaded_at: datetime | None
    actor: str


def states(connection: Connection, workspace: str | None = None) -> list[State]:
    """The state of one workspace or of all."""
    joined = policy_state.outerjoin(
        policy_version,
        sa.and_(
            policy_state.c.workspace == policy_version.c.workspace, policy_state.c.version == policy_version.c.version
        ),
    )
    query = sa.select(
        policy_state, policy_version.c.files, policy_version.c.loaded_at, policy_version.c.actor
    ).select_from(joined)
    if workspace is not None:
        query = query.where(policy_state.c.workspace == workspace)
    return [
        State(
            workspace=row.workspace,
            version=row.version,
            seen=row.seen,
            problem=json.loads(row.problem) if row.problem else None,
            files=_files(row.files),
            loaded_at=row.loaded_at,
            actor=row.actor or "",
        )
        for row in connection.execute(query)
    ]


def _files(text: str | None) -> Files:
    return tuple((name, content) for name, content in json.loads(text)) if text else ()


@dataclass(frozen=True, slots=True)
class Version:
    """A version as it is kept. ``schema``: the text of the words that it is written in, "" where that is not kept."""

    files: Files
    schema: str


def save_version(
    connection: Connection, workspace: str, version: str, kept: Version, *, now: datetime, actor: str
) -> None:
    """Keeps a version for ever, and the words that it is written in. One that comes back has the same policies (it is
    their digest) and takes the new time, actor and tests."""
    words = digest(kept.schema)
    connection.execute(
        insert(connection, policy_schema)
        .values(workspace=workspace, digest=words, text=kept.schema, at=now)
        .on_conflict_do_nothing(index_elements=["workspace", "digest"])
    )
    newer = {"files": json.dumps(list(kept.files)), "schema": words, "loaded_at": now, "actor": actor}
    connection.execute(
        insert(connection, policy_version)
        .values(workspace=workspace, version=version, **newer)
        .on_conflict_do_update(index_elements=["workspace", "version"], set_=newer)
    )


def add_load(connection: Connection, load: Load) -> None:
    """Says that a version began to run."""
    connection.execute(policy_load.insert().values(**asdict(load)))


def loads(connection: Connection, workspace: str, limit: int) -> list[Load]:
    """What began to run, the newest first."""
    query = sa.select(policy_load).where(policy_load.c.workspace == workspace).order_by(policy_load.c.id.desc())
    rows = connection.execute(query.limit(limit)).mappings()
    return [Load(**{**row, "how": How(row["how"])}) for row in rows]


def save_state(
    connection: Connection, workspace: str, *, version: str | None, seen: str, problem: JsonObject | None, now: datetime
) -> None:
    """Says what runs from now on."""
    values = {
        "version": version,
        "seen": seen,
        "problem": None if problem is None else json.dumps(problem),
        "changed_at": now,
    }
    connection.execute(
        insert(connection, policy_state)
        .values(workspace=workspace, **values)
        .on_conflict_do_update(index_elements=["workspace"], set_=values)
    )


def version(connection: Connection, workspace: str, name: str) -> Version | None:
    """A version that ran at some time."""
    joined = policy_version.outerjoin(
        policy_schema,
        sa.and_(
            policy_version.c.workspace == policy_schema.c.workspace, policy_version.c.schema == policy_schema.c.digest
        ),
    )
    query = sa.select(policy_version.c.files, policy_schema.c.text).select_from(joined)
    row = connection.execute(
        query.where(policy_version.c.workspace == workspace, policy_version.c.version == name)
    ).first()
    return None if row is None else Version(_files(row.files), row.text or "")


def keep_facts(connection: Connection, facts: Mapping[str, AgentFact], now: datetime) -> None:
    """Keeps what was known of agents, by digest; what is kept already stays."""
    rows = [
        {"workspace": fact.workspace, "digest": key, "fact": msgspec.json.encode(fact).decode(), "at": now}
        for key, fact in facts.items()
    ]
    kept = insert(connection, policy_fact).on_conflict_do_nothing(index_elements=["workspace", "digest"])
    connection.execute(kept, rows)


def facts(connection: Connection, workspace: str, digests: Sequence[str]) -> dict[str, AgentFact]:
    """What was known of agents, by digest, as far as it is kept."""
    query = sa.select(policy_fact.c.digest, policy_fact.c.fact).where(
        policy_fact.c.workspace == workspace, policy_fact.c.digest.in_(digests)
    )
    return {row.digest: msgspec.json.decode(row.fact, type=AgentFact) for row in connection.execute(query)}
