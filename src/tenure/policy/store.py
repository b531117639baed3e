"""Policies as the database keeps them: every version that ever ran, and which one runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tenure.base.db import UtcTime, insert, metadata
from tenure.kernel.json import JsonObject

Files = tuple[tuple[str, str], ...]

policy_version = sa.Table(
    "policy_version",
    metadata,
    sa.Column("workspace", sa.String(63), primary_key=True),
    sa.Column("version", sa.String(71), primary_key=True),
    sa.Column("files", sa.Text, nullable=False),
    sa.Column("loaded_at", UtcTime, nullable=False),
    sa.Column("actor", sa.String(255), nullable=False),
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


def save_version(
    connection: Connection, workspace: str, version: str, files: Sequence[tuple[str, str]], *, now: datetime, actor: str
) -> None:
    """Keeps a version for ever; one that comes back keeps its content and takes the new time and actor."""
    connection.execute(
        insert(connection, policy_version)
        .values(workspace=workspace, version=version, files=json.dumps(list(files)), loaded_at=now, actor=actor)
        .on_conflict_do_update(index_elements=["workspace", "version"], set_={"loaded_at": now, "actor": actor})
    )


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


def version_files(connection: Connection, workspace: str, version: str) -> Files | None:
    """The files of a version that ran at some time."""
    row = connection.execute(
        sa.select(policy_version.c.files).where(
            policy_version.c.workspace == workspace, policy_version.c.version == version
        )
    ).first()
    return None if row is None else _files(row.files)
