"""What the database keeps: offers, confirmations, concerns, and when agents were last at work."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from tenure.base.db import UtcTime, insert, metadata
from tenure.owners.model import Concern, HandOver, Kind, Role, State
from tenure.registry.model import AgentRecord

handover_table = sa.Table(
    "owner_handover",
    metadata,
    sa.Column("workspace", sa.String(63), nullable=False),
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("agent", sa.String(63), nullable=False),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("giver", sa.String(254), nullable=False),
    sa.Column("receiver", sa.String(254), nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("offered_by", sa.String(254), nullable=False),
    sa.Column("offered_at", UtcTime, nullable=False),
    sa.Column("expires_at", UtcTime, nullable=False),
    sa.Column("declared", sa.Boolean, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("answered_by", sa.String(254)),
    sa.Column("answered_at", UtcTime),
    sa.Column("answer", sa.Text, nullable=False),
    sa.Column("checklist", sa.JSON(none_as_null=True)),
    sa.Index("ix_owner_handover_agent", "workspace", "agent", "offered_at"),
    sa.Index("ix_owner_handover_state", "state", "expires_at"),
)

confirmation_table = sa.Table(
    "owner_confirmation",
    metadata,
    sa.Column("workspace", sa.String(63), primary_key=True),
    sa.Column("agent", sa.String(63), primary_key=True),
    sa.Column("email", sa.String(254), primary_key=True),
    sa.Column("at", UtcTime, nullable=False),
)

concern_table = sa.Table(
    "owner_concern",
    metadata,
    sa.Column("workspace", sa.String(63), primary_key=True),
    sa.Column("agent", sa.String(63), primary_key=True),
    sa.Column("kind", sa.String(16), primary_key=True),
    sa.Column("since", UtcTime, nullable=False),
    sa.Column("raised_at", UtcTime, nullable=False),
    sa.Column("due", UtcTime),
    sa.Column("told", sa.Text, nullable=False),
    sa.Column("suspended_at", UtcTime),
)

activity_table = sa.Table(
    "owner_activity",
    metadata,
    sa.Column("workspace", sa.String(63), primary_key=True),
    sa.Column("agent", sa.String(63), primary_key=True),
    sa.Column("at", UtcTime, nullable=False),
)

_h = handover_table.c
_c = concern_table.c


def alone(connection: Connection) -> None:
    """Nobody else offers or answers before this transaction ends. On SQLite that is so from its beginning."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("LOCK TABLE owner_handover IN SHARE ROW EXCLUSIVE MODE"))


# -- offers
def _handover(row: Row[Any]) -> HandOver:
    values = dict(row._mapping)
    return HandOver(**values | {"role": Role(values["role"]), "state": State(values["state"])})


def save(connection: Connection, offer: HandOver) -> None:
    """Adds an offer, or writes how it was answered."""
    values = {column.name: getattr(offer, column.name) for column in handover_table.columns}
    values |= {"role": str(offer.role), "state": str(offer.state)}
    statement = insert(connection, handover_table).values(**values)
    connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=values))


def get(connection: Connection, workspace: str, ident: str) -> HandOver | None:
    """One offer."""
    row = connection.execute(sa.select(handover_table).where(_h.workspace == workspace, _h.id == ident)).first()
    return None if row is None else _handover(row)


def find(
    connection: Connection, workspace: str, *, state: State | None = None, agent: str | None = None, limit: int = 500
) -> list[HandOver]:
    """Offers, the newest first."""
    query = sa.select(handover_table).where(_h.workspace == workspace)
    query = query if state is None else query.where(_h.state == str(state))
    query = query if agent is None else query.where(_h.agent == agent)
    return [
        _handover(row) for row in connection.execute(query.order_by(_h.offered_at.desc(), _h.id.desc()).limit(limit))
    ]


def open_offer(connection: Connection, workspace: str, agent: str, role: Role) -> HandOver | None:
    """The offer of an agent that waits for an answer, if there is one."""
    row = connection.execute(
        sa.select(handover_table).where(
            _h.workspace == workspace, _h.agent == agent, _h.role == str(role), _h.state == str(State.OPEN)
        )
    ).first()
    return None if row is None else _handover(row)


def every_open(connection: Connection) -> list[HandOver]:
    """Every offer of the installation that waits for an answer."""
    return [_handover(row) for row in connection.execute(sa.select(handover_table).where(_h.state == str(State.OPEN)))]


def offered_since(connection: Connection, agent: AgentRecord, role: Role, to: str, since: datetime) -> bool:
    """Whether somebody was offered an agent after ``since``."""
    query = sa.select(_h.id).where(
        _h.workspace == agent.workspace,
        _h.agent == agent.name,
        _h.role == str(role),
        sa.func.lower(_h.receiver) == to.lower(),
        _h.offered_at >= since,
    )
    return connection.execute(query.limit(1)).first() is not None


# -- confirmations
def confirm(connection: Connection, workspace: str, agent: str, email: str, at: datetime) -> None:
    """Notes that somebody says they answer for an agent."""
    connection.execute(
        insert(connection, confirmation_table)
        .values(workspace=workspace, agent=agent, email=email.lower(), at=at)
        .on_conflict_do_update(index_elements=["workspace", "agent", "email"], set_={"at": at})
    )


def confirmations(connection: Connection) -> dict[tuple[str, str, str], datetime]:
    """By workspace, agent and address."""
    rows = connection.execute(sa.select(confirmation_table))
    return {(row.workspace, row.agent, row.email): row.at for row in rows}


# -- concerns
def _concern(row: Row[Any]) -> Concern:
    values = dict(row._mapping)
    return Concern(**values | {"kind": Kind(values["kind"]), "told": tuple(msgspec.json.decode(values["told"]))})


def concerns(connection: Connection, workspace: str | None = None) -> list[Concern]:
    """Those of a workspace or of all, the most urgent first."""
    query = sa.select(concern_table).order_by(_c.due, _c.workspace, _c.agent, _c.kind)
    query = query if workspace is None else query.where(_c.workspace == workspace)
    return [_concern(row) for row in connection.execute(query)]


def put_concern(connection: Connection, concern: Concern) -> None:
    """Raises a concern, or writes what became of it."""
    values = {column.name: getattr(concern, column.name) for column in concern_table.columns}
    values |= {"kind": str(concern.kind), "told": msgspec.json.encode(concern.told).decode()}
    connection.execute(
        insert(connection, concern_table)
        .values(**values)
        .on_conflict_do_update(index_elements=["workspace", "agent", "kind"], set_=values)
    )


def drop_concerns(connection: Connection, workspace: str, agent: str, kinds: Collection[Kind]) -> None:
    """Forgets concerns that are none any more."""
    names = [str(kind) for kind in kinds]
    connection.execute(sa.delete(concern_table).where(_c.workspace == workspace, _c.agent == agent, _c.kind.in_(names)))


# -- activity
def seen(connection: Connection, workspace: str, agent: str, at: datetime) -> None:
    """Notes when an agent was last at work."""
    connection.execute(
        insert(connection, activity_table)
        .values(workspace=workspace, agent=agent, at=at)
        .on_conflict_do_update(index_elements=["workspace", "agent"], set_={"at": at})
    )


def activity(connection: Connection) -> dict[tuple[str, str], datetime]:
    """When agents were last at work, by workspace and name."""
    return {(row.workspace, row.agent): row.at for row in connection.execute(sa.select(activity_table))}
