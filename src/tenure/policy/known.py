"""What is kept of one agent between its calls: its entities, its grants, and what was decided before. Pure.

A decision is kept under exactly what the policies in scope of it look at. Where none of them looks at the resource
itself, it is kept for all that the agent was granted on the same terms and that the same policies speak of: the first
call of another such tool is not the first of its kind.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import cedarpy

from tenure.kernel.snapshot import AgentFact, ToolFact
from tenure.kernel.values import CallKind, Decision
from tenure.policy.slices import Slice, bags_json, entity_json, uid_json
from tenure.policy.system import DEFAULT_DENY, POLICY_ERROR
from tenure.policy.words import Words

ACTIONS = {
    CallKind.TOOL: ("call_tool", "Tool"),
    CallKind.LLM: ("call_model", "Model"),
    CallKind.AGENT: ("call_agent", "Peer"),
}
"""What a call does, and to what, in the words of policies."""
MEMO_LIMIT = 10_000
"""Decisions that are kept of one agent; then all are dropped."""
_NAMING = frozenset({DEFAULT_DENY, POLICY_ERROR})
"""Rules whose reason names the resource."""

Place = tuple[CallKind, str]


@dataclass(slots=True)
class Known:
    """What is kept of one agent while its fact stays the same object or an equal one."""

    fact: AgentFact
    base: Any
    plain: Any
    grants: dict[Place, ToolFact]
    slices: dict[Place, Slice] = field(default_factory=dict)
    memo: dict[Any, Decision] = field(default_factory=dict)
    _wheres: dict[Place, Any] = field(default_factory=dict)
    _terms: dict[Any, int] = field(default_factory=dict)

    def where(self, place: Place, grant: ToolFact, part: Slice) -> Any:
        """Equal for calls that are decided alike when their arguments and facts are: the place itself, or a number for
        all that is granted on the same terms and that rules of ``part`` speak of without looking at it."""
        found = self._wheres.get(place)
        if found is None:
            found = place
            if ACTIONS[place[0]][0] in part.alike:
                terms = (place[0], part.number, grant.autonomy, grant.mode, grant.ask_below)
                found = self._terms.setdefault(terms, len(self._terms))
            self._wheres[place] = found
        return found

    def recall(self, place: Place, key: Any) -> Decision | None:
        """What was decided under ``key``; what names the resource in its reason, for that one."""
        return self.memo.get(key) or self.memo.get((place, key))

    def keep(self, place: Place, key: Any, decision: Decision) -> None:
        """Keeps a decision."""
        if len(self.memo) >= MEMO_LIMIT:
            self.memo.clear()
        self.memo[key if _NAMING.isdisjoint(decision.policies) else (place, key)] = decision


def learn(agent: AgentFact, words: Words) -> Known:
    """What the policies see of an agent, as far as the words they are written in have it."""
    granted = agent.granted
    grants = {(CallKind.TOOL, f"{tool.server}/{tool.name}"): tool for tool in granted}
    grants |= {(CallKind.LLM, one.name): ToolFact("", one.name, ask_below=one.ask_below) for one in agent.models}
    tools = [uid_json("Tool", f"{tool.server}/{tool.name}") for tool in granted]
    grants |= {
        (CallKind.AGENT, one.name): ToolFact("", one.name, one.autonomy, ask_below=one.ask_below, mode=one.mode)
        for one in agent.agents
    }
    models = [uid_json("Model", model.name) for model in agent.models]
    peers = [uid_json("Peer", peer.name) for peer in agent.agents]
    attributes = {
        "owner": agent.owner,
        "purpose": agent.purpose,
        "risk_tier": agent.risk_tier,
        "state": agent.state.value,
        "tools": [{"__entity": uid} for uid in tools],
        "models": [{"__entity": uid} for uid in models],
        "agents": [{"__entity": uid} for uid in peers],
        "data_classes": list(agent.data_classes),
    }
    declared = words.records["Agent"]
    attributes = {name: value for name, value in attributes.items() if name in declared}
    entities = {"agent": entity_json(uid_json("Agent", agent.name), attributes)}
    for tool, uid in zip(granted, tools, strict=True):
        entities[f"t{uid['id']}"] = entity_json(uid, parents=[uid_json("Server", tool.server)])
        entities[f"s{tool.server}"] = entity_json(uid_json("Server", tool.server))
    entities |= {f"m{uid['id']}": entity_json(uid) for uid in models}
    entities |= {f"p{uid['id']}": entity_json(uid) for uid in peers}
    # In older words an attribute may be wanted that is not known any more; no rule that is asked reads it (``lost``).
    checked = words.handle if words.current else None
    base = cedarpy.Entities.from_json_str(json.dumps(list(entities.values())), checked)
    plain = base.with_added_json_str(bags_json({}))
    return Known(fact=agent, base=base, plain=plain, grants=grants)
