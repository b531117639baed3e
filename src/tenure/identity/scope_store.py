"""What agents may do for people: the table. A row is there only for who is limited, or gone."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tenure.base.db import UtcTime, insert, metadata
from tenure.kernel.scopes import NOTHING, Bound
from tenure.kernel.snapshot import PersonFact

scope_table = sa.Table(
    "identity_person_scope",
    metadata,
    sa.Column("workspace", sa.String(63), primary_key=True),
    sa.Column("email", sa.String(191), primary_key=True),
    sa.Column("scopes", sa.Text),
    sa.Column("gone", sa.Boolean, nullable=False),
    sa.Column("changed_at", UtcTime, nullable=False),
    sa.Column("changed_by", sa.String(254), nullable=False),
)


def _of(workspace: str, email: str) -> sa.ColumnElement[bool]:
    return sa.and_(scope_table.c.workspace == workspace, scope_table.c.email == email)


def limits(connection: Connection, workspace: str) -> dict[str, Bound]:
    """Who of a workspace is limited, and to what."""
    rows = connection.execute(
        sa.select(scope_table.c.email, scope_table.c.scopes).where(
            scope_table.c.workspace == workspace, scope_table.c.scopes.is_not(None)
        )
    )
    return {row.email: tuple(msgspec.json.decode(row.scopes)) for row in rows}


def facts(connection: Connection) -> dict[str, PersonFact]:
    """The limits of everybody, as gateways need them."""
    rows = connection.execute(sa.select(scope_table).order_by(scope_table.c.workspace, scope_table.c.email))
    return {
        f"{row.workspace}/{row.email}": PersonFact(
            row.workspace,
            row.email,
            NOTHING if row.gone or row.scopes is None else tuple(msgspec.json.decode(row.scopes)),
            bool(row.gone),
        )
        for row in rows
    }


def departed(connection: Connection) -> dict[tuple[str, str], datetime]:
    """Who is gone, by workspace and address, and since when."""
    rows = connection.execute(sa.select(scope_table).where(scope_table.c.gone.is_(True)))
    return {(row.workspace, row.email): row.changed_at for row in rows}


def limit(  # noqa: PLR0917 (the parts of one fact)
    connection: Connection, workspace: str, email: str, scopes: Bound | None, now: datetime, by: str
) -> None:
    """Limits somebody, or lifts the limit (None)."""
    if scopes is None:
        connection.execute(sa.delete(scope_table).where(_of(workspace, email)))
        return
    values = {"scopes": msgspec.json.encode(scopes).decode(), "gone": False, "changed_at": now, "changed_by": by}
    connection.execute(
        insert(connection, scope_table)
        .values(workspace=workspace, email=email, **values)
        .on_conflict_do_update(index_elements=["workspace", "email"], set_=values)
    )


def leave(connection: Connection, workspaces: Iterable[str], email: str, now: datetime, by: str) -> None:
    """From now on nothing is done for somebody there; what limited them is remembered."""
    for workspace in workspaces:
        values = {"gone": True, "changed_at": now, "changed_by": by}
        connection.execute(
            insert(connection, scope_table)
            .values(workspace=workspace, email=email, scopes=None, **values)
            .on_conflict_do_update(index_elements=["workspace", "email"], set_=values)
        )


def come_back(connection: Connection, workspaces: Iterable[str], email: str) -> None:
    """Somebody who was gone is here again, limited as before."""
    for workspace in workspaces:
        connection.execute(sa.update(scope_table).where(_of(workspace, email)).values(gone=False))
        connection.execute(sa.delete(scope_table).where(_of(workspace, email), scope_table.c.scopes.is_(None)))
