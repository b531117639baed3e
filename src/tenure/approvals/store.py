"""Approvals as the database keeps them. Every change of state names the state it leaves, so that the first one wins."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tenure.approvals import ladders
from tenure.approvals.load import Decided
from tenure.approvals.model import PERSON, Approval, Given, State, as_kept, given_of
from tenure.base.db import UtcTime, metadata
from tenure.base.db import insert as dialect_insert

approval = sa.Table(
    "approval",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("workspace", sa.String(63), nullable=False),
    sa.Column("agent", sa.String(63), nullable=False),
    sa.Column("release", sa.Text, nullable=False),
    sa.Column("call_id", sa.Text, nullable=False),
    sa.Column("resource", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("policy_version", sa.Text, nullable=False),
    sa.Column("purpose", sa.Text, nullable=False),
    sa.Column("arguments", sa.Text, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("policies", sa.Text, nullable=False),
    sa.Column("session", sa.Text),
    sa.Column("instance", sa.Text),
    sa.Column("trace_id", sa.Text),
    sa.Column("span_id", sa.Text),
    sa.Column("parent_span_id", sa.Text),
    sa.Column("requested_at", UtcTime, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("expires_at", UtcTime),
    sa.Column("decided_at", UtcTime),
    sa.Column("decided_by", sa.Text),
    sa.Column("reason", sa.Text, nullable=False, default=""),
    sa.Column("claim", sa.Text),
    sa.Column("settled_at", UtcTime),
    sa.Column("answer", sa.String(32)),
    sa.Column("notes", sa.Text, nullable=False, server_default="[]"),
    sa.Column("justification", sa.Text, nullable=False, server_default=""),
    sa.Column("grounds", sa.Text, nullable=False, server_default=""),
    sa.Column("on_behalf_of", sa.Text),
    sa.Column("demands", sa.Text, nullable=False, server_default="[]"),
    sa.Column("given", sa.Text, nullable=False, server_default="[]"),
    sa.Column("decided_for", sa.Text),
    sa.Column("escalation", sa.Text),
    sa.Column("step", sa.Integer, nullable=False, server_default="0"),
    sa.Column("next_at", UtcTime),
    sa.Column("chain", sa.Text, nullable=False, server_default="[]"),
    sa.Column("task", sa.Text),
    sa.Column("against", sa.Text, nullable=False, server_default="[]"),
    sa.Column("invited", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("editable", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("edited", sa.Text),
    sa.CheckConstraint("state IN ('pending', 'granted', 'rejected', 'expired', 'claimed')", name="state"),
    sa.CheckConstraint("(state = 'claimed') = (claim IS NOT NULL)", name="claimed_by_one_call"),
    sa.Index("ix_approval_state", "state", "expires_at"),
    sa.Index("ix_approval_settled_at", "settled_at"),
    sa.Index("ix_approval_next_at", "state", "next_at"),
)

_LISTS = ("policies", "notes", "demands", "chain", "against")


def _read(row: Any) -> Approval:
    values = dict(row._mapping)
    values["arguments"] = json.loads(row.arguments)
    values |= {name: tuple(json.loads(values[name])) for name in _LISTS}
    values["edited"] = None if row.edited is None else json.loads(row.edited)
    values["given"] = tuple(given_of(one) for one in json.loads(row.given))
    values["state"] = State(row.state)
    values["escalation"] = None if row.escalation is None else ladders.read(json.loads(row.escalation))
    return Approval(**values)


def insert(connection: Connection, item: Approval) -> bool:
    """Adds it unless its id is known; says whether it was new."""
    values = {column.name: getattr(item, column.name) for column in approval.columns}
    values |= {
        "arguments": json.dumps(item.arguments),
        **{name: json.dumps(list(values[name])) for name in _LISTS},
        "given": kept(item.given),
        "edited": None if item.edited is None else json.dumps(item.edited),
        "escalation": None if item.escalation is None else json.dumps(ladders.as_kept(item.escalation)),
        "state": item.state.value,
    }
    statement = (
        dialect_insert(connection, approval)
        .values(**values)
        .on_conflict_do_nothing(index_elements=["id"])
        .returning(approval.c.id)
    )
    return connection.execute(statement).first() is not None


def kept(given: Sequence[Given]) -> str:
    """Approvals as a column."""
    return json.dumps([as_kept(one) for one in given])


def get(connection: Connection, ident: str, workspace: str | None = None) -> Approval | None:
    """One approval."""
    query = sa.select(approval).where(approval.c.id == ident)
    if workspace is not None:
        query = query.where(approval.c.workspace == workspace)
    row = connection.execute(query).first()
    return None if row is None else _read(row)


def find(connection: Connection, workspace: str, state: State | None, agent: str | None, limit: int) -> list[Approval]:
    """Newest first."""
    query = sa.select(approval).where(approval.c.workspace == workspace)
    if state is not None:
        query = query.where(approval.c.state == state.value)
    if agent is not None:
        query = query.where(approval.c.agent == agent)
    query = query.order_by(approval.c.requested_at.desc(), approval.c.id).limit(limit)
    return [_read(row) for row in connection.execute(query)]


def pending(connection: Connection, workspace: str, agent: str | None, now: datetime) -> list[Approval]:
    """Those that wait for a person at ``now``."""
    query = sa.select(approval).where(
        approval.c.workspace == workspace, approval.c.state == State.PENDING.value, approval.c.expires_at > now
    )
    if agent is not None:
        query = query.where(approval.c.agent == agent)
    return [_read(row) for row in connection.execute(query.order_by(approval.c.requested_at, approval.c.id))]


def decided(connection: Connection, workspace: str, since: datetime, limit: int) -> list[Decided]:
    """The newest ``limit`` that people decided since then."""
    of = approval.c
    query = (
        sa.select(of.decided_by, of.requested_at, of.decided_at, of.state, of.answer, of.given)
        .where(of.workspace == workspace, of.decided_at >= since, of.decided_by.like(f"{PERSON}%"))
        .order_by(of.decided_at.desc())
        .limit(limit)
    )
    found = []
    for row in connection.execute(query):
        approved = row.state != State.REJECTED.value
        found.append(Decided(row.decided_by, row.requested_at, row.decided_at, approved, row.answer))
        found += [  # those who answered before the last one
            Decided(f"{PERSON}{one.by}", row.requested_at, one.at, True)
            for one in map(given_of, json.loads(row.given))
            if (f"{PERSON}{one.by}", one.at) != (row.decided_by, row.decided_at)
        ]
    return found


def rejected(connection: Connection, item: Approval, since: datetime) -> Approval | None:
    """The newest no since then to a call that is the same as this one: of its agent, to its resource, by its digest."""
    of = approval.c
    query = sa.select(approval).where(
        of.state == State.REJECTED.value,
        of.settled_at >= since,
        of.workspace == item.workspace,
        of.agent == item.agent,
        of.resource == item.resource,
        of.digest == item.digest,
    )
    row = connection.execute(query.order_by(of.settled_at.desc()).limit(1)).first()
    return None if row is None else _read(row)


def several(connection: Connection, idents: Sequence[str], workspace: str) -> list[Approval]:
    """Those of ``idents`` that there are."""
    query = sa.select(approval).where(approval.c.id.in_(idents), approval.c.workspace == workspace)
    return [_read(row) for row in connection.execute(query)]


def alive(connection: Connection, now: datetime, settled_after: datetime) -> list[Approval]:
    """Those that wait (pending, or granted and unclaimed) and those settled since ``settled_after``. What has a ladder
    waits until somebody has looked at what that says of its deadline."""
    here = approval.c
    waits = sa.and_(here.state.in_([State.PENDING.value, State.GRANTED.value]), here.expires_at > now)
    waits |= sa.and_(here.state == State.PENDING.value, here.escalation.is_not(None))
    return [
        _read(row)
        for row in connection.execute(sa.select(approval).where(waits | (approval.c.settled_at >= settled_after)))
    ]


def climbing(connection: Connection, now: datetime) -> list[str]:
    """Ids of those that wait and whose next step is due. One that is past its deadline is among them until that is
    noted: what is due stays so, or nobody would look for a step that comes shortly before."""
    here = approval.c
    due = sa.select(here.id).where(here.state == State.PENDING.value, here.next_at <= now)
    return [row.id for row in connection.execute(due.order_by(here.next_at).limit(500))]


def climb(connection: Connection, ident: str, before: int, after: int, next_at: datetime | None) -> bool:
    """Notes that steps were taken; False when somebody else has, or it does not wait any more."""
    here = approval.c
    which = sa.update(approval).where(here.id == ident, here.state == State.PENDING.value, here.step == before)
    return connection.execute(which.values(step=after, next_at=next_at)).rowcount == 1


def overdue(connection: Connection, now: datetime) -> list[str]:
    """Ids of those whose waiting is over."""
    waits = approval.c.state.in_([State.PENDING.value, State.GRANTED.value])
    rows = connection.execute(
        sa.select(approval.c.id).where(waits, approval.c.expires_at <= now).order_by(approval.c.expires_at).limit(500)
    )
    return [row.id for row in rows]


def forget_content(connection: Connection, workspace: str, idents: Sequence[str]) -> int:
    """Forgets what those of ``idents`` that are settled said; how many there were. What still waits is left: whoever
    decides must see it."""
    of = approval.c
    return _forget(connection, of.workspace == workspace, of.id.in_(list(idents)))


def expire_content(connection: Connection, before: datetime) -> int:
    """As ``forget_content``, of all that were asked for before a time."""
    return _forget(connection, approval.c.requested_at < before)


def _forget(connection: Connection, *which: sa.ColumnElement[bool]) -> int:
    settled = approval.c.state.in_([State.REJECTED.value, State.EXPIRED.value, State.CLAIMED.value])
    left = sa.or_(approval.c.arguments != "{}", approval.c.justification != "", approval.c.on_behalf_of.is_not(None))
    left = sa.or_(left, approval.c.edited.is_not(None))
    bare = {"arguments": "{}", "justification": "", "notes": "[]", "on_behalf_of": None, "edited": None}
    return connection.execute(sa.update(approval).where(settled, left, *which).values(**bare)).rowcount


def change(
    connection: Connection,
    ident: str,
    before: State,
    after: State,
    *,
    given: tuple[Sequence[Given], Sequence[Given]] | None = None,
    **values: Any,
) -> bool:
    """Moves it from ``before`` to ``after``; False when it was not in ``before`` (somebody else was first). ``given``:
    the approvals before and after, of which nobody may have added one meanwhile."""
    statement = sa.update(approval).where(approval.c.id == ident, approval.c.state == before.value)
    if given is not None:
        statement = statement.where(approval.c.given == kept(given[0]))
        values["given"] = kept(given[1])
    if values.get("edited") is not None:
        values["edited"] = json.dumps(values["edited"])
    return connection.execute(statement.values(state=after.value, **values)).rowcount == 1
