"""Prepared calls as the database keeps them. Every change of state names the state it leaves: the first one wins."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tenure.base.db import UtcTime, metadata
from tenure.base.db import insert as dialect_insert
from tenure.drafts.model import Draft, State

draft = sa.Table(
    "draft",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("workspace", sa.String(63), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("agent", sa.String(63), nullable=False),
    sa.Column("release", sa.Text, nullable=False),
    sa.Column("resource", sa.Text, nullable=False),
    sa.Column("call_kind", sa.String(16), nullable=False),
    sa.Column("work", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("whole", sa.Boolean(create_constraint=False), nullable=False),
    sa.Column("arguments", sa.Text, nullable=False),
    sa.Column("principal", sa.Text, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("justification", sa.Text, nullable=False),
    sa.Column("notes", sa.Text, nullable=False),
    sa.Column("policy_version", sa.Text, nullable=False),
    sa.Column("session", sa.Text),
    sa.Column("trace_id", sa.Text),
    sa.Column("span_id", sa.Text),
    sa.Column("drafted_at", UtcTime, nullable=False),
    sa.Column("times", sa.Integer, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("edited", sa.Text),
    sa.Column("decided_by", sa.String(255)),
    sa.Column("decided_at", UtcTime),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("claim", sa.String(64)),
    sa.Column("outcome", sa.Text),
    sa.Column("event", sa.String(64)),
    sa.Index("ix_draft_state", "state", "workspace", "agent"),
    sa.Index("ix_draft_workspace", "workspace", "drafted_at"),
)
_JSON = ("arguments", "principal", "notes", "edited", "outcome")


def _read(row: Any) -> Draft:
    values = dict(row._mapping)
    values |= {name: json.loads(values[name]) for name in _JSON if values[name] is not None}
    return Draft(**values | {"notes": tuple(values["notes"]), "state": State(row.state)})


def _written(values: dict[str, Any]) -> dict[str, Any]:
    return {name: json.dumps(value) if name in _JSON and value is not None else value for name, value in values.items()}


def insert(connection: Connection, item: Draft) -> bool:
    """Adds it unless its id is known; says whether it was new."""
    values = {column.name: getattr(item, column.name) for column in draft.columns}
    statement = (
        dialect_insert(connection, draft)
        .values(**_written(values | {"notes": list(item.notes), "state": item.state.value}))
        .on_conflict_do_nothing(index_elements=["id"])
        .returning(draft.c.id)
    )
    return connection.execute(statement).first() is not None


def again(connection: Connection, item: Draft) -> bool:
    """Counts ``item`` for an equal one that is open already; says whether there was one."""
    of = draft.c
    alike = ("workspace", "agent", "release", "work", "resource", "kind", "digest")
    same = [of[name] == getattr(item, name) for name in alike]
    where = sa.and_(*same, of.state == State.OPEN.value, of.digest != "", of.id != item.id)
    return connection.execute(sa.update(draft).where(where).values(times=of.times + 1)).rowcount > 0


def waiting(connection: Connection, workspace: str, agent: str) -> int:
    """How many of an agent are open."""
    where = (draft.c.workspace == workspace, draft.c.agent == agent, draft.c.state == State.OPEN.value)
    return int(connection.execute(sa.select(sa.func.count()).select_from(draft).where(*where)).scalar_one())


def get(connection: Connection, ident: str, workspace: str) -> Draft | None:
    """One."""
    row = connection.execute(sa.select(draft).where(draft.c.id == ident, draft.c.workspace == workspace)).first()
    return None if row is None else _read(row)


def find(  # noqa: PLR0917 (one filter each)
    connection: Connection, workspace: str, state: State | None, agent: str | None, work: str | None, limit: int
) -> list[Draft]:
    """Newest first."""
    query = sa.select(draft).where(draft.c.workspace == workspace)
    for column, value in (("state", state), ("agent", agent), ("work", work)):
        if value is not None:
            query = query.where(draft.c[column] == value)
    query = query.order_by(draft.c.drafted_at.desc(), draft.c.id).limit(limit)
    return [_read(row) for row in connection.execute(query)]


def released(connection: Connection) -> list[Draft]:
    """Those that gateways are to make, or are making."""
    states = [State.RELEASED.value, State.CLAIMED.value]
    return [_read(row) for row in connection.execute(sa.select(draft).where(draft.c.state.in_(states)))]


def overdue(connection: Connection, released: datetime, claimed: datetime) -> Sequence[Any]:
    """(workspace, id, state) of those that were decided before: to be made, or taken by a gateway that is silent."""
    of = draft.c
    late = ((of.state == State.RELEASED.value) & (of.decided_at <= released)) | (
        (of.state == State.CLAIMED.value) & (of.decided_at <= claimed)
    )
    return connection.execute(sa.select(of.workspace, of.id, of.state).where(late).limit(500)).all()


def change(connection: Connection, ident: str, before: State, after: State, **values: Any) -> bool:
    """Moves it from ``before`` to ``after``; False when it was not in ``before`` (somebody else was first)."""
    where = (draft.c.id == ident, draft.c.state == before.value)
    written = _written(values)
    return connection.execute(sa.update(draft).where(*where).values(state=after.value, **written)).rowcount == 1


_SETTLED = [one.value for one in State if one not in (State.OPEN, State.RELEASED, State.CLAIMED)]
"""States in which nobody waits for a prepared call any more."""


def settled(connection: Connection, workspace: str) -> list[str]:
    """The ids of prepared calls that nobody waits for and that still tell what was prepared."""
    of = draft.c
    mine = (of.workspace == workspace, of.state.in_(_SETTLED), of.principal != "{}")
    return list(connection.execute(sa.select(of.id).where(*mine)).scalars())


def forget_content(connection: Connection, workspace: str, idents: Sequence[str]) -> int:
    """Forgets what those of ``idents`` told that nobody waits for; how many there were."""
    of = draft.c
    bare = {"arguments": "{}", "principal": "{}", "notes": "[]", "edited": None, "outcome": None, "justification": ""}
    mine = (of.workspace == workspace, of.id.in_(list(idents)), of.state.in_(_SETTLED))
    return connection.execute(sa.update(draft).where(*mine).values(**bare)).rowcount
