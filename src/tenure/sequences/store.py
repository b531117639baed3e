"""Histories as the database keeps them."""

from __future__ import annotations

import hashlib
from datetime import datetime

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tenure.base.db import UtcTime, insert, metadata
from tenure.sequences.ledger import Record, Waiting

sequence_history = sa.Table(
    "sequence_history",
    metadata,
    sa.Column("workspace", sa.String(63), primary_key=True),
    sa.Column("id", sa.String(64), primary_key=True),  # of the history's name, which may be long
    sa.Column("history", sa.Text, nullable=False),
    sa.Column("lease", sa.String(64), nullable=False),
    sa.Column("serial", sa.BigInteger, nullable=False),
    sa.Column("gateway", sa.String(64), nullable=False),
    sa.Column("run", sa.String(64), nullable=False),
    sa.Column("until", UtcTime, nullable=False),
    sa.Column("waiting", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("given", sa.Text, nullable=False),
    sa.Column("late", sa.Text, nullable=False),
    sa.Column("lost", sa.Text, nullable=False),
    sa.Column("touched", UtcTime, nullable=False),
    sa.Index("ix_sequence_history_until", "until"),
    sa.Index("ix_sequence_history_touched", "touched"),
)
_encode = msgspec.json.Encoder().encode


def _id(history: str) -> str:
    return hashlib.sha256(history.encode("utf-8", "surrogatepass")).hexdigest()


def _read(row: sa.Row[tuple[object, ...]]) -> Record:
    values = {name: value for name, value in row._mapping.items() if name not in ("id", "touched")}
    values["waiting"] = msgspec.json.decode(values["waiting"], type=tuple[Waiting, ...])
    values["late"] = msgspec.json.decode(values["late"], type=tuple[str, ...])
    values["lost"] = msgspec.json.decode(values["lost"], type=tuple[str, ...])
    return Record(**values)


def load(connection: Connection, workspace: str, history: str) -> Record | None:
    """One history."""
    which = (sequence_history.c.workspace == workspace, sequence_history.c.id == _id(history))
    row = connection.execute(sa.select(sequence_history).where(*which)).first()
    return _read(row) if row is not None else None


def kept(connection: Connection, now: datetime) -> list[Record]:
    """The histories of all workspaces that a gateway keeps."""
    query = sa.select(sequence_history).where(sequence_history.c.until > now, sequence_history.c.lease != "")
    return [_read(row) for row in connection.execute(query)]


def save(connection: Connection, record: Record, now: datetime) -> None:
    """Keeps a history as it is now."""
    values = {name: getattr(record, name) for name in Record.__slots__}
    values |= {name: _encode(values[name]).decode() for name in ("waiting", "late", "lost")}
    values |= {"id": _id(record.history), "touched": now}
    fresh = {name: value for name, value in values.items() if name not in ("workspace", "id")}
    statement = insert(connection, sequence_history).values(**values)
    connection.execute(statement.on_conflict_do_update(index_elements=["workspace", "id"], set_=fresh))


def has_old(connection: Connection, before: datetime) -> bool:
    """Whether there are histories in which nothing happened since a moment."""
    query = sa.select(sequence_history.c.id).where(sequence_history.c.touched < before).limit(1)
    return connection.execute(query).first() is not None


def forget_old(connection: Connection, before: datetime) -> int:
    """Forgets them, and says how many."""
    return connection.execute(sa.delete(sequence_history).where(sequence_history.c.touched < before)).rowcount
