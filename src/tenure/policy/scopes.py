"""Which rules speak of a call, found without asking each of them: by what the scope of a policy names.

A policy whose scope names an agent is looked for under that agent only, one that names a resource under that resource,
and only those that name neither are looked at for every call.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from cedarpy import pst

from tenure.policy.words import children

Uid = tuple[str, str]
"""An entity: (type, id)."""
GRANTED = {"call_tool": "tools", "call_model": "models", "call_agent": "agents"}
"""The attribute of the agent that holds what it was granted, by what is done to that."""


@dataclass(frozen=True, slots=True)
class End:
    """What a scope says of its principal or resource: of which type it is, which one it is, or what it is in."""

    kind: str | None = None
    entity: Uid | None = None
    inside: bool = False

    def covers(self, uid: Uid, parents: frozenset[Uid]) -> bool:
        """Whether it is said of ``uid``, which is in ``parents``."""
        if self.kind is not None and self.kind != uid[0]:
            return False
        return self.entity is None or self.entity == uid or (self.inside and self.entity in parents)


@dataclass(frozen=True, slots=True)
class Scope:
    """A policy's scope; ``actions`` None for all."""

    principal: End
    actions: frozenset[str] | None
    resource: End

    def covers(self, agent: Uid, action: str, resource: Uid, parents: frozenset[Uid]) -> bool:
        """Whether the policy speaks of this agent, action and resource (``parents``: what the resource is in)."""
        return (
            (self.actions is None or action in self.actions)
            and self.principal.covers(agent, frozenset())
            and self.resource.covers(resource, parents)
        )


def scope_of(node: pst.Template) -> Scope:
    """The scope of a parsed policy."""
    actions: frozenset[str] | None = None
    if isinstance(node.action, pst.ActionEq):
        actions = frozenset({node.action.entity.id})
    elif isinstance(node.action, pst.ActionIn):
        actions = frozenset(entity.id for entity in node.action.entities)
    return Scope(_end(node.principal), actions, _end(node.resource))


def _end(scope: Any) -> End:
    if isinstance(scope, pst.ScopeAny):
        return End()
    kind = str(scope.entity_type) if isinstance(scope, pst.ScopeIs | pst.ScopeIsIn) else None
    if isinstance(scope, pst.ScopeIs):
        return End(kind)
    inside = not isinstance(scope, pst.ScopeEq)
    if isinstance(scope.entity, pst.Slot):  # of a template: nobody and nothing, until a link says whom or what
        return End(kind, ("", f"?{scope.entity.name}"), inside)
    return End(kind, (str(scope.entity.type), scope.entity.id), inside)


def sees(node: pst.Template) -> frozenset[str]:
    """The actions for which the conditions of a policy look at the resource itself. That what is called is among the
    agent's grants of its kind is always so where a policy is asked, and no look at it."""
    return frozenset(
        action for action, granted in GRANTED.items() if any(_sees(clause.expr, granted) for clause in node.clauses)
    )


def _sees(node: Any, granted: str) -> bool:
    if isinstance(node, pst.Var):
        return node.name == "resource"
    if isinstance(node, pst.BinaryOp) and node.op == "contains" and node.right == pst.Var("resource"):
        return bool(node.left != pst.GetAttr(pst.Var("principal"), granted))
    return any(_sees(child, granted) for child in children(node))


class Scoped(Protocol):
    """What has a scope: a compiled policy."""

    @property
    def scope(self) -> Scope:
        """Of what it speaks."""


T = TypeVar("T", bound=Scoped)


class Index(Generic[T]):
    """Rules by what their scopes name."""

    def __init__(self, rules: Sequence[T]) -> None:
        self._rules = rules
        self._named: dict[Uid | None, list[int]] = {}
        for number, rule in enumerate(rules):
            name = rule.scope.principal.entity or rule.scope.resource.entity
            self._named.setdefault(name, []).append(number)

    def of(self, agent: Uid, action: str, resource: Uid, parents: frozenset[Uid]) -> list[T]:
        """The rules that speak of this agent, action and resource (``parents``: what it is in), in their order."""
        names: Iterable[Uid | None] = (None, agent, resource, *parents)
        found = sorted(number for name in names for number in self._named.get(name, ()))
        return [
            self._rules[number]
            for number in found
            if self._rules[number].scope.covers(agent, action, resource, parents)
        ]
