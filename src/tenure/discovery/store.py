"""What the database keeps: findings, the evidence of each, the marks by which further sightings find them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from tenure.base.db import UtcTime, insert, metadata
from tenure.discovery.model import MAX_EVIDENCE, Channel, Evidence, Finding, State

finding_table = sa.Table(
    "discovery_finding",
    metadata,
    sa.Column("workspace", sa.String(63), nullable=False),
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("confidence", sa.Integer, nullable=False),
    sa.Column("first_seen", UtcTime, nullable=False),
    sa.Column("last_seen", UtcTime, nullable=False),
    sa.Column("count", sa.BigInteger, nullable=False),
    sa.Column("channels", sa.JSON, nullable=False),
    sa.Column("owner", sa.String(254), nullable=False),
    sa.Column("agent", sa.String(63), nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("decided_by", sa.String(254), nullable=False),
    sa.Column("decided_at", UtcTime),
    sa.Column("blocked", sa.JSON, nullable=False),
    sa.Index("ix_discovery_finding_state", "workspace", "state", "last_seen"),
)

evidence_table = sa.Table(
    "discovery_evidence",
    metadata,
    sa.Column("workspace", sa.String(63), nullable=False),
    sa.Column("finding", sa.String(32), primary_key=True),
    sa.Column("key", sa.String(32), primary_key=True),
    sa.Column("channel", sa.String(16), nullable=False),
    sa.Column("where", sa.Text, nullable=False),
    sa.Column("what", sa.Text, nullable=False),
    sa.Column("signs", sa.JSON, nullable=False),
    sa.Column("first_seen", UtcTime, nullable=False),
    sa.Column("last_seen", UtcTime, nullable=False),
    sa.Column("count", sa.BigInteger, nullable=False),
    sa.Column("hints", sa.JSON, nullable=False),
)

mark_table = sa.Table(
    "discovery_mark",
    metadata,
    sa.Column("workspace", sa.String(63), primary_key=True),
    sa.Column("mark", sa.String(320), primary_key=True),
    sa.Column("finding", sa.String(32), nullable=False),
    sa.Index("ix_discovery_mark_finding", "finding"),
)

_f, _e, _m = finding_table.c, evidence_table.c, mark_table.c


def alone(connection: Connection) -> None:
    """Nobody else reports or decides before this transaction ends. On SQLite that is so from its beginning."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("LOCK TABLE discovery_finding IN SHARE ROW EXCLUSIVE MODE"))


def _finding(row: Row[Any]) -> Finding:
    values = dict(row._mapping)
    values |= {"state": State(values["state"]), "blocked": tuple(values["blocked"])}
    return Finding(**values | {"channels": tuple(Channel(one) for one in values["channels"])})


def get(connection: Connection, workspace: str, ident: str) -> Finding | None:
    """One finding."""
    row = connection.execute(sa.select(finding_table).where(_f.workspace == workspace, _f.id == ident)).first()
    return None if row is None else _finding(row)


def find(connection: Connection, workspace: str, *, states: Collection[State] = (), limit: int = 500) -> list[Finding]:
    """Findings, the surest first."""
    query = sa.select(finding_table).where(_f.workspace == workspace)
    query = query.where(_f.state.in_([str(state) for state in states])) if states else query
    rows = connection.execute(query.order_by(_f.confidence.desc(), _f.last_seen.desc(), _f.id).limit(limit))
    return [_finding(row) for row in rows]


def count(connection: Connection, workspace: str) -> int:
    """How many findings there are, whatever was decided."""
    query = sa.select(sa.func.count()).select_from(finding_table).where(_f.workspace == workspace)
    return int(connection.execute(query).scalar_one())


def save(connection: Connection, finding: Finding) -> None:
    """Adds a finding, or writes what became of it."""
    values = {column.name: getattr(finding, column.name) for column in finding_table.columns}
    values |= {"state": str(finding.state), "channels": [str(one) for one in finding.channels]}
    values["blocked"] = list(finding.blocked)
    statement = insert(connection, finding_table).values(**values)
    connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=values))


def drop(connection: Connection, ident: str) -> None:
    """Forgets a finding that turned out to be another one."""
    connection.execute(sa.delete(finding_table).where(_f.id == ident))


def evidence(connection: Connection, ident: str) -> list[Evidence]:
    """The evidence of a finding, what was seen last first."""
    query = sa.select(evidence_table).where(_e.finding == ident).order_by(_e.last_seen.desc(), _e.key)
    return [_evidence(row) for row in connection.execute(query)]


def _evidence(row: Row[Any]) -> Evidence:
    values = {name: value for name, value in row._mapping.items() if name not in ("workspace", "finding")}
    return Evidence(**values | {"channel": Channel(values["channel"]), "signs": tuple(values["signs"])})


def put_evidence(connection: Connection, workspace: str, ident: str, found: Sequence[Evidence]) -> None:
    """Adds evidence or writes it anew, and forgets the oldest of what is too much."""
    for one in found:
        values: dict[str, Any] = {"workspace": workspace, "finding": ident, "key": one.key, "channel": str(one.channel)}
        values |= {"where": one.where, "what": one.what, "signs": list(one.signs), "hints": dict(one.hints)}
        values |= {"first_seen": one.first_seen, "last_seen": one.last_seen, "count": one.count}
        statement = insert(connection, evidence_table).values(**values)
        connection.execute(statement.on_conflict_do_update(index_elements=["finding", "key"], set_=values))
    for one in evidence(connection, ident)[MAX_EVIDENCE:]:
        connection.execute(sa.delete(evidence_table).where(_e.finding == ident, _e.key == one.key))


def drop_evidence(connection: Connection, ident: str) -> None:
    """Forgets all evidence of a finding."""
    connection.execute(sa.delete(evidence_table).where(_e.finding == ident))


def by_marks(connection: Connection, workspace: str, marks: Iterable[str]) -> dict[str, str]:
    """Mark -> id of the finding that has it."""
    query = sa.select(mark_table).where(_m.workspace == workspace, _m.mark.in_(sorted(set(marks))))
    return {row.mark: row.finding for row in connection.execute(query)}


def put_marks(connection: Connection, workspace: str, ident: str, marks: Iterable[str]) -> None:
    """These marks are of that finding from now on."""
    for mark in sorted(set(marks)):
        statement = insert(connection, mark_table).values(workspace=workspace, mark=mark, finding=ident)
        taken = statement.on_conflict_do_update(index_elements=["workspace", "mark"], set_={"finding": ident})
        connection.execute(taken)


def move_marks(connection: Connection, frm: str, to: str) -> None:
    """The marks of one finding become those of another."""
    connection.execute(sa.update(mark_table).where(_m.finding == frm).values(finding=to))


def blocked(connection: Connection) -> list[tuple[str, tuple[str, ...], str]]:
    """(workspace, what clients call themselves, why) of every finding of the installation that is blocked."""
    query = sa.select(_f.workspace, _f.blocked, _f.note).where(_f.state == str(State.BLOCKED))
    return [(row.workspace, tuple(row.blocked), row.note) for row in connection.execute(query.order_by(_f.id))]


def seen_since(connection: Connection, workspace: str, since: datetime) -> int:
    """How many findings wait for somebody and were seen since."""
    query = sa.select(sa.func.count()).select_from(finding_table)
    query = query.where(_f.workspace == workspace, _f.state == str(State.OPEN), _f.last_seen >= since)
    return int(connection.execute(query).scalar_one())
