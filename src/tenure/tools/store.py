"""What the database keeps of tools: one row for each switch that is off, each definition, each agent's tool."""

from __future__ import annotations

import json
from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tenure.base.db import UtcTime, insert, metadata
from tenure.kernel.json import JsonObject
from tenure.tools.definitions import Definition, Pin
from tenure.tools.model import Switch

tool_switch = sa.Table(
    "tool_switch",
    metadata,
    sa.Column("workspace", sa.String(63), primary_key=True),
    sa.Column("server", sa.String(63), primary_key=True),
    sa.Column("tool", sa.String(128), primary_key=True),
    sa.Column("agent", sa.String(63), primary_key=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("by", sa.String(254), nullable=False),
    sa.Column("since", UtcTime, nullable=False),
)


def switches(connection: Connection, workspace: str | None = None) -> list[Switch]:
    """What is off, the newest first; in all workspaces unless told otherwise."""
    query = sa.select(tool_switch).order_by(tool_switch.c.since.desc(), tool_switch.c.server, tool_switch.c.tool)
    if workspace is not None:
        query = query.where(tool_switch.c.workspace == workspace)
    return [Switch(**row._mapping) for row in connection.execute(query)]


def switch_off(connection: Connection, switch: Switch) -> bool:
    """Keeps it unless the same is off already; says whether it was new."""
    values = {column.name: getattr(switch, column.name) for column in tool_switch.columns}
    keys = [column.name for column in tool_switch.primary_key]
    statement = insert(connection, tool_switch).values(**values).on_conflict_do_nothing(index_elements=keys)
    return connection.execute(statement.returning(tool_switch.c.tool)).first() is not None


def switch_on(connection: Connection, switch: Switch) -> bool:
    """Forgets it; False when it was not off."""
    keys = (getattr(tool_switch.c, name) == getattr(switch, name) for name in ("workspace", "server", "tool", "agent"))
    return connection.execute(sa.delete(tool_switch).where(*keys)).rowcount > 0


tool_definition = sa.Table(
    "tool_definition",
    metadata,
    sa.Column("workspace", sa.String(63), primary_key=True),
    sa.Column("fingerprint", sa.String(71), primary_key=True),
    sa.Column("content", sa.String(71), nullable=False),
    sa.Column("parts", sa.JSON, nullable=False),
    sa.Column("body", sa.Text),
)

tool_pin = sa.Table(
    "tool_pin",
    metadata,
    sa.Column("workspace", sa.String(63), primary_key=True),
    sa.Column("agent", sa.String(63), primary_key=True),
    sa.Column("server", sa.String(63), primary_key=True),
    sa.Column("tool", sa.String(128), primary_key=True),
    sa.Column("pinned", sa.String(71)),
    sa.Column("pinned_by", sa.String(254), nullable=False),
    sa.Column("pinned_at", UtcTime),
    sa.Column("seen", sa.String(71)),
    sa.Column("seen_at", UtcTime),
    sa.Column("like", sa.Text, nullable=False),
    sa.Column("rejected_by", sa.String(254), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
)


def pins(connection: Connection, workspace: str | None = None, agent: str | None = None) -> list[Pin]:
    """What is known of definitions, by agent and tool."""
    query = sa.select(tool_pin).order_by(*tool_pin.primary_key.columns)
    if workspace is not None:
        query = query.where(tool_pin.c.workspace == workspace)
    if agent is not None:
        query = query.where(tool_pin.c.agent == agent)
    return [Pin(**row._mapping) for row in connection.execute(query)]


def save_pin(connection: Connection, pin: Pin) -> None:
    """Keeps what is known of one agent's tool, in place of what was."""
    values = {column.name: getattr(pin, column.name) for column in tool_pin.columns}
    keys = [column.name for column in tool_pin.primary_key]
    fresh = {name: value for name, value in values.items() if name not in keys}
    connection.execute(
        insert(connection, tool_pin).values(**values).on_conflict_do_update(index_elements=keys, set_=fresh)
    )


def add_definition(connection: Connection, definition: Definition) -> None:
    """Keeps a definition; the same again changes nothing."""
    values = {column.name: getattr(definition, column.name) for column in tool_definition.columns}
    values |= {
        "parts": dict(definition.parts),
        "body": json.dumps(definition.body) if definition.body is not None else None,
    }
    keys = [column.name for column in tool_definition.primary_key]
    statement = insert(connection, tool_definition).values(**values)
    connection.execute(statement.on_conflict_do_nothing(index_elements=keys))


def definition(connection: Connection, workspace: str, mark: str | None) -> Definition | None:
    """One definition, None when it was never seen."""
    at = (tool_definition.c.workspace == workspace, tool_definition.c.fingerprint == mark)
    row = connection.execute(sa.select(tool_definition).where(*at)).first() if mark else None
    if row is None:
        return None
    body = json.loads(row.body) if row.body is not None else None
    return Definition(row.workspace, row.fingerprint, row.content, row.parts, body)


def definitions(connection: Connection, workspace: str) -> dict[str, JsonObject]:
    """The body of every definition of a workspace that is kept whole, by fingerprint."""
    columns = (tool_definition.c.fingerprint, tool_definition.c.body)
    rows = connection.execute(sa.select(*columns).where(tool_definition.c.workspace == workspace))
    return {row.fingerprint: json.loads(row.body) for row in rows if row.body is not None}


def parts(connection: Connection) -> dict[tuple[str, str], Mapping[str, str]]:
    """The parts of every definition, by workspace and fingerprint."""
    columns = (tool_definition.c.workspace, tool_definition.c.fingerprint, tool_definition.c.parts)
    return {(row.workspace, row.fingerprint): row.parts for row in connection.execute(sa.select(*columns))}


def named_like(connection: Connection, workspace: str, content: str) -> list[tuple[Pin, bool]]:
    """The tools of a workspace for which a definition of this content is pinned, or (True) waits unaccepted."""
    marks = sa.select(tool_definition.c.fingerprint).where(
        tool_definition.c.workspace == workspace, tool_definition.c.content == content
    )
    has = tool_pin.c.pinned.in_(marks) | tool_pin.c.seen.in_(marks)
    rows = connection.execute(
        sa.select(tool_pin, tool_pin.c.seen.in_(marks).label("waits"))
        .where(tool_pin.c.workspace == workspace, has)
        .order_by(*tool_pin.primary_key.columns)
    )
    out = []
    for row in rows:
        values = dict(row._mapping)
        waits = bool(values.pop("waits"))
        out.append((Pin(**values), waits))
    return out
