"""The table of entries. It can only grow: the database itself refuses to change or remove a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tenure.audit.model import GENESIS, Entry
from tenure.base.db import metadata

_BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")

entry_table = sa.Table(
    "audit_entry",
    metadata,
    sa.Column("seq", _BIG, primary_key=True, autoincrement=False),
    sa.Column("workspace", sa.String(63), nullable=False),
    sa.Column("time_us", sa.BigInteger, nullable=False),
    sa.Column("event", sa.String(64), nullable=False),
    sa.Column("type", sa.String(63), nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("agent", sa.String(63)),
    sa.Column("digest", sa.String(80), nullable=False),
    sa.Column("facts", sa.Text, nullable=False),
    sa.Column("prev", sa.String(64), nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
    sa.Index("ix_audit_entry_agent", "workspace", "agent", "seq"),
)

_NO = "audit entries are never changed or removed"

TRIGGERS: Mapping[str, tuple[str, ...]] = {
    "sqlite": (
        f"CREATE TRIGGER audit_entry_no_update BEFORE UPDATE ON audit_entry BEGIN SELECT RAISE(ABORT, '{_NO}'); END",
        f"CREATE TRIGGER audit_entry_no_delete BEFORE DELETE ON audit_entry BEGIN SELECT RAISE(ABORT, '{_NO}'); END",
        # INSERT OR REPLACE removes a row without asking the trigger above.
        """CREATE TRIGGER audit_entry_no_replace BEFORE INSERT ON audit_entry
            WHEN NEW.seq <= (SELECT coalesce(max(seq), 0) FROM audit_entry)
            BEGIN SELECT RAISE(ABORT, 'audit entries come after those that are there'); END""",
    ),
    "postgresql": (
        f"""CREATE OR REPLACE FUNCTION audit_entry_refuse() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION '{_NO}'; END $$""",
        """CREATE TRIGGER audit_entry_no_change BEFORE UPDATE OR DELETE ON audit_entry
            FOR EACH ROW EXECUTE FUNCTION audit_entry_refuse()""",
        """CREATE TRIGGER audit_entry_no_truncate BEFORE TRUNCATE ON audit_entry
            FOR EACH STATEMENT EXECUTE FUNCTION audit_entry_refuse()""",
    ),
}
"""What makes the table one that only grows, as SQL of each database; it comes with the table."""


@sa.event.listens_for(entry_table, "after_create")
def _install_triggers(_table: sa.Table, connection: Connection, **_options: Any) -> None:
    for statement in TRIGGERS[connection.dialect.name]:
        connection.exec_driver_sql(statement)


def last(connection: Connection) -> tuple[int, str]:
    """(number, hash) of the newest entry; (0, 64 zeros) for an empty chain."""
    row = connection.execute(
        sa.select(entry_table.c.seq, entry_table.c.hash).order_by(entry_table.c.seq.desc()).limit(1)
    ).first()
    return (0, GENESIS) if row is None else (int(row.seq), str(row.hash))


def newest(connection: Connection, workspace: str) -> int:
    """The number of a workspace's newest entry, 0 when it has none."""
    found = sa.select(sa.func.max(entry_table.c.seq)).where(entry_table.c.workspace == workspace)
    return int(connection.execute(found).scalar() or 0)


def add(connection: Connection, entries: Sequence[Entry]) -> None:
    """Writes entries, all in one go. Two writers of the same number: one of them fails, by the primary key."""
    names = [column.name for column in entry_table.c]
    rows: list[dict[str, Any]] = [{name: getattr(entry, name) for name in names} for entry in entries]
    connection.execute(sa.insert(entry_table), rows)


def read(
    connection: Connection,
    after: int,
    limit: int,
    *,
    upto: int | None = None,
    workspace: str | None = None,
    agent: str | None = None,
) -> list[Entry]:
    """Entries after number ``after``, oldest first."""
    query = sa.select(entry_table).where(entry_table.c.seq > after).order_by(entry_table.c.seq).limit(limit)
    if upto is not None:
        query = query.where(entry_table.c.seq <= upto)
    if workspace is not None:
        query = query.where(entry_table.c.workspace == workspace)
    if agent is not None:
        query = query.where(entry_table.c.agent == agent)
    return [Entry(*row) for row in connection.execute(query)]


def hash_at(connection: Connection, seq: int) -> str | None:
    """The hash of an entry, None when there is no such entry."""
    return connection.execute(sa.select(entry_table.c.hash).where(entry_table.c.seq == seq)).scalar()


def find_hash(connection: Connection, value: str) -> int | None:
    """The number of the entry that has this hash. Reads the whole table: for a chain that is known to be broken."""
    return connection.execute(sa.select(entry_table.c.seq).where(entry_table.c.hash == value).limit(1)).scalar()
