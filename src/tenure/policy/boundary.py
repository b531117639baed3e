"""Where an agent's own decisions end: for everything it was granted, what holds whatever a call says, and what further
policies look at. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tenure.kernel.snapshot import AgentFact, BreakerFact
from tenure.kernel.values import Call, CallKind, Decision, Effect, LifecycleState, Principal
from tenure.policy.cedar import Rule
from tenure.policy.model import Bundle, decide, in_force, in_reach, part_of

_STANDING = frozenset({"approved", "autonomy"})
"""Facts that are the same for every call of a tool, or that a person answers."""


@dataclass(frozen=True, slots=True)
class Bound:
    """One thing that an agent was granted. ``decision``: that of the rules that look at nothing a call says;
    ``further`` are those in scope that do, and may decide otherwise."""

    kind: CallKind
    resource: str
    decision: Decision
    further: tuple[Rule, ...]


def bounds_of(agent: AgentFact, bundle: Bundle, at: float) -> list[Bound]:
    """The bounds of everything that was granted: tools first, then agents, then models, each in the manifest's order.
    How the agent stands now (its state, its breaker) is left out: a boundary is what holds while it works. ``at``: the
    moment, in Unix seconds, at which policies that end are looked at."""
    bundle = in_force(bundle, at)
    agent = replace(agent, state=LifecycleState.PRODUCTION, breaker=BreakerFact())
    principal = Principal(agent.workspace, agent.name, agent.release, "", "", agent.credential_epoch)
    granted = [(CallKind.TOOL, f"{tool.server}/{tool.name}") for tool in agent.granted]
    granted += [(CallKind.AGENT, peer.name) for peer in agent.agents]
    granted += [(CallKind.LLM, model.name) for model in agent.models]
    return [_bound(Call("", kind, resource), principal, agent, bundle) for kind, resource in dict.fromkeys(granted)]


def _bound(call: Call, principal: Principal, agent: AgentFact, bundle: Bundle) -> Bound:
    rules = in_reach(call, agent, bundle)
    further = tuple(rule for rule in rules if rule.reads.arguments or rule.reads.facts - _STANDING)
    standing = part_of(bundle, [rule for rule in rules if rule not in further])
    decision = decide(call, principal, agent, None, standing, at=0.0)
    return Bound(call.kind, call.resource, decision, further)


def speaks(rule: Rule) -> str:
    """What a rule would do where its conditions hold: ``stop``, ``approval`` or ``proceed``."""
    if str(rule.node.effect) == "permit":
        return "approval" if "approved" in rule.reads.facts else "proceed"
    return "approval" if rule.takes else "stop"


def looks_at(rule: Rule) -> tuple[str, ...]:
    """What of a call a rule looks at, as its text names it."""
    arguments = sorted({path for _, path in rule.reads.arguments})
    return (*arguments, *sorted(rule.reads.facts - _STANDING))


VERDICTS = {Effect.ALLOW: "proceed", Effect.HOLD: "approval", Effect.DENY: "stop"}
"""The three-way rule (R078) in words."""
