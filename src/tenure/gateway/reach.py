"""What an agent may reach under the credential that it shows: its grants within every bound of the chain, the task and
the person. Lists are narrowed by it, and every Event of a call tells it; a call itself is decided on alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from tenure.gateway.delegation import limit_of
from tenure.gateway.snapshot import Facts
from tenure.kernel.scopes import Bound, key_of, uncovered
from tenure.kernel.snapshot import AgentFact
from tenure.kernel.values import CallKind, Principal

_SHOWN, _OWN_SHOWN, _KEPT = 100, 20, 10_000
May: TypeAlias = Callable[[CallKind, str], bool]
"""Whether a call of a kind to a resource is within all bounds."""


class Reach:
    """One for the whole process. What was worked out is kept while the agent's facts stay the same."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._known: dict[tuple[str, str, tuple[Bound, ...]], tuple[AgentFact, dict[str, Any]]] = {}

    def may(self, principal: Principal, agent: AgentFact | None) -> May | None:
        """What lists are narrowed by; None where nothing bounds the agent but its grants."""
        bounds = self._bounds(principal)
        classes = agent.data_classes if agent is not None else ()
        return (lambda kind, name: not uncovered(bounds, kind, name, classes)) if bounds else None

    def told(self, principal: Principal, agent: AgentFact | None) -> dict[str, Any]:
        """What an Event tells: the whole chain with the agent itself last, the task, by which call the work was handed
        on, and the effective scope: what the agent may reach now. Of an agent that nothing bounds, whose scope is what
        its release grants, the first 20 are told, else 100; ``tenure.scope.more`` counts the others."""
        out: dict[str, Any] = {"tenure.chain": [*principal.chain, principal.agent], **self._scope(principal, agent)}
        if principal.task is not None:
            out["tenure.chain.task"] = principal.task
        if principal.handed_by is not None:
            out["tenure.chain.handed_by"] = principal.handed_by
        return out

    def _bounds(self, principal: Principal) -> tuple[Bound, ...]:
        if principal.on_behalf_of is None:
            return principal.bounds
        person = limit_of(principal, self._facts.current)
        return principal.bounds if person is None else (*principal.bounds, person.scopes)

    def _scope(self, principal: Principal, agent: AgentFact | None) -> dict[str, Any]:
        if agent is None:
            return {"tenure.scope": []}
        bounds = self._bounds(principal)
        key = (principal.workspace, principal.agent, bounds)
        known = self._known.get(key)
        if known is None or known[0] is not agent:
            if len(self._known) >= _KEPT:
                self._known.clear()
            known = self._known[key] = (agent, _reached(agent, bounds))
        return known[1]


def _reached(agent: AgentFact, bounds: tuple[Bound, ...]) -> dict[str, Any]:
    grants = [(CallKind.TOOL, f"{tool.server}/{tool.name}") for tool in agent.granted]
    grants += [(CallKind.AGENT, peer.name) for peer in agent.agents]
    grants += [(CallKind.LLM, model.name) for model in agent.models]
    scope = [key_of(kind, name) for kind, name in grants if not uncovered(bounds, kind, name, agent.data_classes)]
    shown = _SHOWN if bounds else _OWN_SHOWN
    out: dict[str, Any] = {"tenure.scope": scope[:shown]}
    if len(scope) > shown:
        out["tenure.scope.more"] = len(scope) - shown
    return out
