"""Tables and SQL of the registry. The database holds the lifecycle table too: its triggers are made from
``model.TRANSITIONS``, so that no program, ours included, can make a step that the table does not have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from tenure.base.db import UtcTime, metadata
from tenure.kernel.values import LifecycleState
from tenure.registry.cards import ExternalAgent, Signature
from tenure.registry.model import TRANSITIONS, AgentRecord, Change, Release

agent_table = sa.Table(
    "agent",
    metadata,
    sa.Column("workspace", sa.String(63), primary_key=True),
    sa.Column("name", sa.String(63), primary_key=True),
    sa.Column("id", sa.String(32), nullable=False, unique=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("release_digest", sa.String(71), nullable=False),
    sa.Column("pending_release", sa.String(71)),
    sa.Column("credential_epoch", sa.Integer, nullable=False),
    sa.Column("owner", sa.String(254), nullable=False),
    sa.Column("sponsor", sa.String(254), nullable=False),
    sa.Column("framework", sa.String(500), nullable=False),
    sa.Column("risk_tier", sa.Integer, nullable=False),
    sa.Column("manifest", sa.JSON, nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("updated_at", UtcTime, nullable=False),
    sa.Column("state_since", UtcTime, nullable=False),
    sa.Column("state_reason", sa.Text, nullable=False),
    sa.Column("requested_by", sa.String(254), nullable=False),
    sa.Column("drain_until", UtcTime),
    sa.Column("pending_owner", sa.String(254)),
    sa.Column("pending_sponsor", sa.String(254)),
    sa.Column("pending_by", sa.String(254)),
    sa.Column("pending_since", UtcTime),
)

release_table = sa.Table(
    "agent_release",
    metadata,
    sa.Column("workspace", sa.String(63), primary_key=True),
    sa.Column("digest", sa.String(71), primary_key=True),
    sa.Column("agent", sa.String(63), nullable=False),
    sa.Column("content", sa.JSON, nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("created_by", sa.String(254), nullable=False),
)

transition_table = sa.Table(
    "agent_transition",
    metadata,
    sa.Column("workspace", sa.String(63), primary_key=True),
    sa.Column("agent", sa.String(63), primary_key=True),
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("from_state", sa.String(16)),
    sa.Column("to_state", sa.String(16), nullable=False),
    sa.Column("actor", sa.String(254), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("time", UtcTime, nullable=False),
    sa.Column("forced", sa.Boolean, nullable=False),
)

external_table = sa.Table(
    "external_agent",
    metadata,
    sa.Column("workspace", sa.String(63), primary_key=True),
    sa.Column("name", sa.String(63), primary_key=True),
    sa.Column("card", sa.JSON, nullable=False),
    sa.Column("url", sa.Text),
    sa.Column("rest_url", sa.Text),
    sa.Column("protocol", sa.String(8), nullable=False),
    sa.Column("credential_env", sa.String(128)),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("signature", sa.JSON, nullable=False),
    sa.Column("imported_at", UtcTime, nullable=False),
    sa.Column("imported_by", sa.String(254), nullable=False),
)


# -- triggers -------------------------------------------------------------------------------------------------------
# Each rule: table, name, event, condition, message. A condition is written once and reads the same on both databases.
_PAIRS = ", ".join(f"'{t.frm}>{t.to}'" for t in TRANSITIONS)
_SAME_AGENT = "(a.workspace = NEW.workspace AND a.name = NEW.name) OR a.id = NEW.id"
_SAME_CHANGE = "t.workspace = NEW.workspace AND t.agent = NEW.agent AND t.seq = NEW.seq"
_RULES: tuple[tuple[sa.Table, str, str, str, str], ...] = (
    (
        agent_table,
        "agent_state_legal",
        "UPDATE OF state",
        f"NEW.state <> OLD.state AND (OLD.state || '>' || NEW.state) NOT IN ({_PAIRS})",
        "tenure: this lifecycle transition does not exist",
    ),
    (
        agent_table,
        "agent_stays_itself",
        "UPDATE OF workspace, name, id",
        "NEW.workspace <> OLD.workspace OR NEW.name <> OLD.name OR NEW.id <> OLD.id",
        "tenure: an agent keeps its name",
    ),
    (
        agent_table,
        "agent_begins_requested",
        "INSERT",
        # SQLite's INSERT OR REPLACE would delete the old row without asking a trigger.
        f"NEW.state <> 'requested' OR EXISTS (SELECT 1 FROM agent a WHERE {_SAME_AGENT})",  # noqa: S608 (constants)
        "tenure: an agent begins as requested, once",
    ),
    (agent_table, "agent_is_kept", "DELETE", "", "tenure: agents are retired, never deleted"),
    (release_table, "agent_release_unchanged", "UPDATE", "", "tenure: a release never changes"),
    (release_table, "agent_release_is_kept", "DELETE", "", "tenure: releases are kept"),
    (
        release_table,
        "agent_release_once",
        "INSERT",
        "EXISTS (SELECT 1 FROM agent_release r WHERE r.workspace = NEW.workspace AND r.digest = NEW.digest)",
        "tenure: this release is recorded already",
    ),
    (transition_table, "agent_transition_unchanged", "UPDATE", "", "tenure: history never changes"),
    (transition_table, "agent_transition_is_kept", "DELETE", "", "tenure: history is kept"),
    (
        transition_table,
        "agent_transition_once",
        "INSERT",
        f"EXISTS (SELECT 1 FROM agent_transition t WHERE {_SAME_CHANGE})",  # noqa: S608 (constants)
        "tenure: history never changes",
    ),
)


_SQLITE = """CREATE TRIGGER {name} BEFORE {event} ON {table} FOR EACH ROW WHEN {condition}
BEGIN SELECT RAISE(ABORT, '{message}'); END"""

# A WHEN clause of PostgreSQL takes no subquery, so there the condition stands in the function.
_POSTGRESQL = """CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
IF {condition} THEN RAISE EXCEPTION USING MESSAGE = '{message}', ERRCODE = '23514'; END IF; RETURN {passed}; END $$;
CREATE TRIGGER {name} BEFORE {event} ON {table} FOR EACH ROW EXECUTE FUNCTION {name}()"""


def _guard(table: sa.Table, name: str, event: str, condition: str, message: str) -> None:
    parts = {"table": table.name, "name": name, "event": event, "condition": condition or "1 = 1", "message": message}
    parts["passed"] = "OLD" if event == "DELETE" else "NEW"
    for dialect, template in (("sqlite", _SQLITE), ("postgresql", _POSTGRESQL)):
        statement: Any = sa.DDL(template.format(**parts).replace("%", "%%"))  # type: ignore[no-untyped-call]  # (SQLAlchemy leaves it untyped)
        sa.event.listen(table, "after_create", statement.execute_if(dialect=dialect))


for _rule in _RULES:
    _guard(*_rule)


# -- agents ---------------------------------------------------------------------------------------------------------


def _agent(row: Row[Any]) -> AgentRecord:
    values = dict(row._mapping)
    values["release"] = values.pop("release_digest")
    values["state"] = LifecycleState(values["state"])
    return AgentRecord(**values)


def alone(connection: Connection) -> None:
    """Nobody else changes an agent before this transaction ends. On SQLite that is so from its beginning."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("LOCK TABLE agent IN SHARE ROW EXCLUSIVE MODE"))


def get(connection: Connection, workspace: str, name: str) -> AgentRecord | None:
    """One agent."""
    row = connection.execute(
        sa.select(agent_table).where(agent_table.c.workspace == workspace, agent_table.c.name == name)
    ).first()
    return None if row is None else _agent(row)


def agents(
    connection: Connection, workspace: str | None = None, states: Sequence[LifecycleState] = ()
) -> list[AgentRecord]:
    """Agents by workspace and name; all workspaces and all states unless told otherwise."""
    query = sa.select(agent_table).order_by(agent_table.c.workspace, agent_table.c.name)
    if workspace is not None:
        query = query.where(agent_table.c.workspace == workspace)
    if states:
        query = query.where(agent_table.c.state.in_([str(state) for state in states]))
    return [_agent(row) for row in connection.execute(query)]


def owners(connection: Connection) -> list[tuple[str, str, str]]:
    """(workspace, name, owner) of every agent whose working life is not over."""
    c = agent_table.c
    query = sa.select(c.workspace, c.name, c.owner).where(c.state.not_in(["retired", "rejected"]))
    return [(row.workspace, row.name, row.owner) for row in connection.execute(query)]


def waiting_for_owners(connection: Connection) -> list[AgentRecord]:
    """Agents for which somebody is declared to answer who has not accepted, of all workspaces."""
    waits = sa.or_(agent_table.c.pending_owner.is_not(None), agent_table.c.pending_sponsor.is_not(None))
    return [_agent(row) for row in connection.execute(sa.select(agent_table).where(waits))]


def add(connection: Connection, agent: AgentRecord) -> None:
    """Registers a new agent. Its state must be requested."""
    connection.execute(sa.insert(agent_table).values(_columns(agent)))


def update(connection: Connection, old: AgentRecord, new: AgentRecord) -> None:
    """Writes what differs between the two; a state that did not change is not touched."""
    before, after = _columns(old), _columns(new)
    changed = {name: value for name, value in after.items() if before[name] != value}
    if changed:
        connection.execute(
            sa.update(agent_table)
            .where(agent_table.c.workspace == old.workspace, agent_table.c.name == old.name)
            .values(changed)
        )


def _columns(agent: AgentRecord) -> dict[str, Any]:
    names = (column.name for column in agent_table.columns)
    return {
        name: str(agent.state) if name == "state" else getattr(agent, "release" if name == "release_digest" else name)
        for name in names
    }


# -- releases and history -------------------------------------------------------------------------------------------


def add_release(connection: Connection, release: Release) -> bool:
    """Records a release unless it is there already; says whether it was new."""
    if get_release(connection, release.workspace, release.digest) is not None:
        return False
    connection.execute(
        sa.insert(release_table).values(
            workspace=release.workspace,
            agent=release.agent,
            digest=release.digest,
            content=release.content,
            created_at=release.created_at,
            created_by=release.created_by,
        )
    )
    return True


def get_release(connection: Connection, workspace: str, digest: str) -> Release | None:
    """One release."""
    row = connection.execute(
        sa.select(release_table).where(release_table.c.workspace == workspace, release_table.c.digest == digest)
    ).first()
    return None if row is None else Release(**row._mapping)


def releases(connection: Connection, workspace: str, agent: str) -> list[Release]:
    """An agent's releases, oldest first."""
    query = (
        sa.select(release_table)
        .where(release_table.c.workspace == workspace, release_table.c.agent == agent)
        .order_by(release_table.c.created_at, release_table.c.digest)
    )
    return [Release(**row._mapping) for row in connection.execute(query)]


def add_change(connection: Connection, workspace: str, agent: str, change: Change) -> None:
    """Appends to an agent's history."""
    connection.execute(
        sa.insert(transition_table).values(
            workspace=workspace,
            agent=agent,
            seq=change.seq,
            from_state=change.frm,
            to_state=str(change.to),
            actor=change.actor,
            reason=change.reason,
            time=change.time,
            forced=change.forced,
        )
    )


def history(connection: Connection, workspace: str, agent: str) -> list[Change]:
    """An agent's transitions, oldest first."""
    query = (
        sa.select(transition_table)
        .where(transition_table.c.workspace == workspace, transition_table.c.agent == agent)
        .order_by(transition_table.c.seq)
    )
    return [
        Change(
            seq=row.seq,
            frm=LifecycleState(row.from_state) if row.from_state else None,
            to=LifecycleState(row.to_state),
            actor=row.actor,
            reason=row.reason,
            time=row.time,
            forced=row.forced,
        )
        for row in connection.execute(query)
    ]


# -- agents elsewhere -----------------------------------------------------------------------------------------------


def externals(connection: Connection, workspace: str | None = None) -> list[ExternalAgent]:
    """The external agents by name; of all workspaces unless told otherwise."""
    query = sa.select(external_table).order_by(external_table.c.workspace, external_table.c.name)
    if workspace is not None:
        query = query.where(external_table.c.workspace == workspace)
    return [_external(row) for row in connection.execute(query)]


def _external(row: Row[Any]) -> ExternalAgent:
    values = dict(row._mapping)
    return ExternalAgent(**{**values, "signature": Signature(**values["signature"])})


def put_external(connection: Connection, agent: ExternalAgent) -> None:
    """Writes an external agent in the place of the one of its name, if there is one."""
    drop_external(connection, agent.workspace, agent.name)
    values = {column.name: getattr(agent, column.name) for column in external_table.columns}
    connection.execute(sa.insert(external_table).values(**{**values, "signature": asdict(agent.signature)}))


def drop_external(connection: Connection, workspace: str, name: str) -> bool:
    """Removes an external agent; whether there was one."""
    table = external_table
    done = connection.execute(sa.delete(table).where(table.c.workspace == workspace, table.c.name == name))
    return bool(done.rowcount)
