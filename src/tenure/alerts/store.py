"""Rules and alerts as the database keeps them."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tenure.alerts.model import Alert, Each, Measure, Rule, Severity, Way
from tenure.base.db import UtcTime, insert, metadata

rule_table = sa.Table(
    "alert_rule",
    metadata,
    sa.Column("workspace", sa.String(63), primary_key=True),
    sa.Column("name", sa.String(63), primary_key=True),
    sa.Column("measure", sa.String(32), nullable=False),
    sa.Column("way", sa.String(16), nullable=False),
    sa.Column("bound", sa.Double, nullable=False),
    sa.Column("over_s", sa.Integer, nullable=False),
    sa.Column("against_s", sa.Integer, nullable=False),
    sa.Column("at_least", sa.Integer, nullable=False),
    sa.Column("each", sa.String(16), nullable=False),
    sa.Column("agents", sa.Text, nullable=False),
    sa.Column("severity", sa.String(16), nullable=False),
    sa.Column("about", sa.Text, nullable=False),
    sa.Column("off", sa.Boolean, nullable=False),
    sa.Column("set_by", sa.String(254), nullable=False),
    sa.Column("set_at", UtcTime, nullable=False),
)
alert_table = sa.Table(
    "alert",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("workspace", sa.String(63), nullable=False),
    sa.Column("rule", sa.String(63), nullable=False),
    sa.Column("agent", sa.String(63), nullable=False),
    sa.Column("severity", sa.String(16), nullable=False),
    sa.Column("words", sa.Text, nullable=False),
    sa.Column("value", sa.Double, nullable=False),
    sa.Column("raised_at", UtcTime, nullable=False),
    sa.Column("met_at", UtcTime, nullable=False),
    sa.Column("over_at", UtcTime),
    sa.Column("evidence", sa.Text, nullable=False),
    sa.Column("seen_by", sa.String(254), nullable=False),
    sa.Column("seen_at", UtcTime),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("quiet_until", UtcTime),
    sa.Index("ix_alert_workspace_over_at", "workspace", "over_at"),
)
_R, _A = rule_table.c, alert_table.c


def _rule(row: Any) -> Rule:
    return Rule(
        name=row.name,
        measure=Measure(row.measure),
        way=Way(row.way),
        bound=row.bound,
        over=timedelta(seconds=row.over_s),
        against=timedelta(seconds=row.against_s),
        at_least=row.at_least,
        each=Each(row.each),
        agents=tuple(json.loads(row.agents)),
        severity=Severity(row.severity),
        about=row.about,
        off=row.off,
        set_by=row.set_by,
        set_at=row.set_at,
    )


def _alert(row: Any) -> Alert:
    facts = dict(row._mapping)
    return Alert(**facts | {"severity": Severity(row.severity), "evidence": json.loads(row.evidence)})


def rules(connection: Connection, workspace: str) -> list[Rule]:
    """The workspace's own rules, by name."""
    found = connection.execute(sa.select(rule_table).where(_R.workspace == workspace).order_by(_R.name))
    return [_rule(row) for row in found]


def save_rule(connection: Connection, workspace: str, rule: Rule) -> None:
    """Sets a rule, in place of another of its name."""
    values: dict[str, Any] = {
        "measure": rule.measure.value,
        "way": rule.way.value,
        "bound": rule.bound,
        "over_s": int(rule.over.total_seconds()),
        "against_s": int(rule.against.total_seconds()),
        "at_least": rule.at_least,
        "each": rule.each.value,
        "agents": json.dumps(rule.agents),
        "severity": rule.severity.value,
        "about": rule.about,
        "off": rule.off,
        "set_by": rule.set_by,
        "set_at": rule.set_at,
    }
    statement = insert(connection, rule_table).values(workspace=workspace, name=rule.name, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=["workspace", "name"], set_=values))


def remove_rule(connection: Connection, workspace: str, name: str) -> None:
    """Forgets a rule of the workspace's own."""
    connection.execute(sa.delete(rule_table).where(_R.workspace == workspace, _R.name == name))


def going_on(connection: Connection, workspace: str) -> list[Alert]:
    """The alerts that are not over; locked, because the one who looks decides which begin and end."""
    query = sa.select(alert_table).where(_A.workspace == workspace, _A.over_at.is_(None)).with_for_update()
    return [_alert(row) for row in connection.execute(query)]


def quiet(connection: Connection, workspace: str, now: datetime) -> set[tuple[str, str]]:
    """The rules and agents of which nobody wants to hear yet."""
    query = sa.select(_A.rule, _A.agent).where(_A.workspace == workspace, _A.quiet_until > now)
    return {(row.rule, row.agent) for row in connection.execute(query)}


def find(
    connection: Connection,
    workspace: str,
    *,
    agent: str | None = None,
    state: str | None = None,
    limit: int | None = 200,
) -> list[Alert]:
    """Alerts, those that go on first, then the newest."""
    query = sa.select(alert_table).where(_A.workspace == workspace)
    if agent is not None:
        query = query.where(_A.agent == agent)
    if state is not None:
        query = query.where(_A.over_at.is_(None) if state == "open" else _A.over_at.is_not(None))
    query = query.order_by(_A.over_at.is_not(None), _A.raised_at.desc(), _A.id).limit(limit)
    return [_alert(row) for row in connection.execute(query)]


def count_open(connection: Connection, workspace: str) -> int:
    """How many go on."""
    query = sa.select(sa.func.count()).select_from(alert_table).where(_A.workspace == workspace, _A.over_at.is_(None))
    return int(connection.execute(query).scalar_one())


def one(connection: Connection, workspace: str, ident: str) -> Alert | None:
    """An alert by its id."""
    row = connection.execute(sa.select(alert_table).where(_A.workspace == workspace, _A.id == ident)).first()
    return _alert(row) if row else None


def see(
    connection: Connection,
    workspace: str,
    ident: str,
    *,
    by: str,
    at: datetime,
    note: str,
    quiet_until: datetime | None,
) -> None:
    """Notes who looks after an alert, and nothing else of it: whoever looks at the figures may write at the same time.
    One that is quiet already stays so where nothing is said of it."""
    values: dict[str, Any] = {"seen_by": by, "seen_at": at, "note": note}
    values |= {"quiet_until": quiet_until} if quiet_until is not None else {}
    connection.execute(sa.update(alert_table).where(_A.workspace == workspace, _A.id == ident).values(**values))


def save(connection: Connection, alert: Alert) -> None:
    """Keeps an alert, in place of how it was."""
    values = {column.name: getattr(alert, column.name) for column in _A}
    values |= {"severity": alert.severity.value, "evidence": json.dumps(alert.evidence)}
    fresh = {name: value for name, value in values.items() if name != "id"}
    statement = insert(connection, alert_table).values(**values)
    connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=fresh))


def forget(connection: Connection, before: datetime) -> int:
    """Forgets alerts that were over before a time."""
    return connection.execute(sa.delete(alert_table).where(_A.over_at < before)).rowcount
