"""What comes with an agent, from all who know of it: so that whoever takes it on knows what they take on."""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Connection

from tenure.approvals import service as approvals
from tenure.approvals.model import State as Held
from tenure.base.room import World
from tenure.kernel.budgets import LimitFact
from tenure.kernel.json import JsonObject
from tenure.kernel.money import of_nano
from tenure.kernel.snapshot import AgentFact
from tenure.oauth import service as oauth
from tenure.owners.model import Checklist
from tenure.registry import service as registry
from tenure.registry.model import AgentRecord, declared_fact
from tenure.runtime import service as runtime
from tenure.secrets.model import uses, uses_of_others, variables_of

_SHOWN = 50
"""Held calls that a checklist names."""


def checklist(world: World, conn: Connection, agent: AgentRecord) -> Checklist:
    """Purpose, tools, credentials and limits, which the receiver accepts; and what waits and runs now."""
    held = approvals.find(world, agent.workspace, state=Held.PENDING, agent=agent.name, limit=_SHOWN)
    now: JsonObject = {
        "state": str(agent.state),
        "state_reason": agent.state_reason,
        "pending_release": agent.pending_release,
        "open_approvals": [
            {"id": one.id, "resource": one.resource, "since": one.requested_at.isoformat()} for one in held
        ],
        "running": runtime.live_count(conn, agent.workspace, agent.name),
        "relied_on_by": list(registry.dependants(conn, agent.workspace, agent.name)),
    }
    return Checklist(_declared(world, conn, agent), now)


def _declared(world: World, conn: Connection, agent: AgentRecord) -> JsonObject:
    fact = declared_fact(agent.workspace, agent.manifest)
    spec = agent.manifest["spec"]
    return {
        "purpose": spec["purpose"],
        "release": agent.release,
        "risk_tier": agent.risk_tier,
        "data_classes": list(spec.get("data_classes", ())),
        "models": [f"{model.provider}/{model.name}" for model in fact.models],
        "tools": [{"name": f"{tool.server}/{tool.name}", "autonomy": str(tool.autonomy)} for tool in fact.tools],
        "agents": [{"name": peer.name, "autonomy": str(peer.autonomy)} for peer in fact.agents],
        "credentials": _credentials(world, conn, agent, fact),
        "limits": [_limit(limit) for limit in fact.limits],
    }


def _credentials(world: World, conn: Connection, agent: AgentRecord, fact: AgentFact) -> list[dict[str, Any]]:
    """Secrets, variables, connectors and keys, by their names; nobody is shown a value. Whoever added a key may hold
    its private half yet."""
    named = [("secret", use) for use in (*uses(fact), *uses_of_others(fact.name, agent.manifest))]
    named += [("variable", use) for use in variables_of(fact)]
    found: list[dict[str, Any]] = [{"kind": kind, "name": use.secret, "where": use.where} for kind, use in named]
    found += [
        {"kind": "connector", "name": server.connector, "where": f"server {server.name}"}
        for server in fact.servers
        if server.connector
    ]
    found += [
        {"kind": "key", "name": key.name or key.kid, "where": f"added by {key.added_by}"}
        for key in oauth.list_keys(conn, agent.workspace, agent.name)
        if key.live(world.clock())
    ]
    return found


def _limit(limit: LimitFact) -> JsonObject:
    shown = f"{of_nano(limit.amount):f}" if limit.of == "usd" else str(limit.amount)
    return {"of": limit.of, "amount": shown, "per": limit.per, "each": limit.each, "only": limit.only}
