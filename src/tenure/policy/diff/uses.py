"""What policies compare the facts and arguments of a call with: the values at which an answer can turn.

``cells`` makes of it the finitely many kinds of calls that a set of policies can tell apart. An expression that is no
comparison of one fact with something written out is not understood here, and is told as such: never guessed at.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from cedarpy import pst

from tenure.policy.arguments import BAGS
from tenure.policy.cedar import Rule
from tenure.policy.scopes import GRANTED
from tenure.policy.words import children

Source = tuple[str, str]
"""("fact", name of an attribute of the context) or ("argument", dotted path)."""

_COMPARES = frozenset({
    *("eq", "not_eq", "less", "less_eq", "greater", "greater_eq"),
    *("decimal_less_than", "decimal_less_eq", "decimal_greater", "decimal_greater_eq"),
})  # fmt: skip
_HOLDS = frozenset({"contains", "contains_all", "contains_any"})
_TRUTHS = frozenset({"and", "or", "not"})


@dataclass(slots=True)
class Uses:
    """What one fact or argument is compared with. ``unclear`` names the policies that use it in another way."""

    numbers: set[Decimal] = field(default_factory=set)
    texts: set[str] = field(default_factory=set)
    patterns: set[tuple[str | None, ...]] = field(default_factory=set)  # None stands for a wildcard
    members: set[str] = field(default_factory=set)
    bags: set[str] = field(default_factory=set)
    unclear: set[str] = field(default_factory=set)


def uses_of(rules: Iterable[Rule]) -> dict[Source, Uses]:
    """Everything that ``rules`` look at beside the agent and the resource."""
    found: dict[Source, Uses] = {}
    for rule in rules:
        for clause in rule.node.clauses:
            _visit(clause.expr, found, rule.id, truth=True)
    return found


def _visit(node: Any, found: dict[Source, Uses], rule: str, *, truth: bool) -> None:
    if _noted(node, found):
        return
    source = _source(node, found)
    if source is not None:
        if not truth:
            found[source].unclear.add(rule)
        return
    if isinstance(node, pst.IfThenElse):
        _visit(node.cond, found, rule, truth=True)
        _visit(node.then_expr, found, rule, truth=truth)
        _visit(node.else_expr, found, rule, truth=truth)
        return
    inner = truth and isinstance(node, pst.BinaryOp | pst.UnaryOp) and node.op in _TRUTHS
    for child in children(node):
        _visit(child, found, rule, truth=inner)


def _noted(node: Any, found: dict[Source, Uses]) -> bool:
    """Whether ``node`` is a comparison of one source with what is written out; if so, it is noted."""
    if isinstance(node, pst.HasAttr) and _is_context(node.base):
        found.setdefault(("fact", node.attrs[0]), Uses())
        return True
    if isinstance(node, pst.Like) and (source := _source(node.base, found)):
        shape = tuple(part.value if isinstance(part, pst.Char) else None for part in node.pattern)
        found[source].patterns.add(shape)
        return True
    if isinstance(node, pst.UnaryOp) and node.op == "is_empty":
        return _source(node.arg, found) is not None
    return isinstance(node, pst.BinaryOp) and (
        (node.op == "has_tag" and _tag(node, found) is not None)
        or (
            node.op in _COMPARES
            and (_compared(node.left, node.right, found) or _compared(node.right, node.left, found))
        )
        or (node.op in _HOLDS and _contained(node, found))
    )


def _compared(one: Any, other: Any, found: dict[Source, Uses]) -> bool:
    value = _literal(other)
    if value is None:
        return False
    source = _source(one, found)
    if source is None:
        return False
    if isinstance(value, str):
        found[source].texts.add(value)
    elif not isinstance(value, bool):
        found[source].numbers.add(value)
    return True


def _contained(node: Any, found: dict[Source, Uses]) -> bool:
    right = node.right.elements if isinstance(node.right, pst.Set) else (node.right,)
    named = [element.value for element in right if isinstance(element, pst.StringLit)]
    if len(named) == len(right) and (source := _source(node.left, found)):
        found[source].members.update(named)
        return True
    if node.op == "contains" and isinstance(node.left, pst.Set):
        values = [_literal(element) for element in node.left.elements]
        if None not in values and (source := _source(node.right, found)):
            found[source].texts.update(value for value in values if isinstance(value, str))
            found[source].numbers.update(value for value in values if isinstance(value, Decimal))
            return True
    return False


def _source(node: Any, found: dict[Source, Uses]) -> Source | None:
    """The fact or argument that ``node`` stands for; it is in ``found`` then."""
    if isinstance(node, pst.GetAttr) and _is_context(node.base) and node.attr not in BAGS:
        source = ("fact", node.attr)
        found.setdefault(source, Uses())
        return source
    if isinstance(node, pst.BinaryOp) and node.op == "get_tag":
        return _tag(node, found)
    return None


def _tag(node: Any, found: dict[Source, Uses]) -> Source | None:
    bag = node.left
    if isinstance(bag, pst.GetAttr) and _is_context(bag.base) and isinstance(node.right, pst.StringLit):
        source = ("argument", node.right.value)
        found.setdefault(source, Uses()).bags.add(bag.attr)
        return source
    return None


def _literal(node: Any) -> Decimal | str | bool | None:
    if isinstance(node, pst.BoolLit | pst.StringLit):
        return node.value
    if isinstance(node, pst.LongLit):
        return Decimal(node.value)
    if isinstance(node, pst.UnaryOp) and node.op == "neg" and isinstance(node.arg, pst.LongLit):
        return Decimal(-node.arg.value)
    if isinstance(node, pst.UnaryOp) and node.op == "decimal" and isinstance(node.arg, pst.StringLit):
        return Decimal(node.arg.value)
    return None


def _is_context(node: Any) -> bool:
    return isinstance(node, pst.Var) and node.name == "context"


@dataclass(frozen=True, slots=True)
class Shape:
    """What conditions look at of who calls and of what is called: the agent's attributes by name, and whether they look
    at the agent or the resource by itself. Two pairs of agent and resource that are alike in this are decided alike."""

    attributes: frozenset[str]
    agent: bool
    resource: bool


def shape_of(rules: Iterable[Rule], action: str) -> Shape:
    """What the conditions of ``rules`` look at when ``action`` is done to something that was granted."""
    seen: set[str] = set()
    for rule in rules:
        for clause in rule.node.clauses:
            _look(clause.expr, seen, GRANTED[action])
    return Shape(frozenset(seen) - {"", "*"}, "" in seen, "*" in seen)


def _look(node: Any, seen: set[str], granted: str) -> None:
    """Notes attributes by name, the agent itself as "" and the resource as "*". That a grant is among the agent's
    grants of its kind is always so, and no difference."""
    if isinstance(node, pst.GetAttr) and _is(node.base, "principal"):
        seen.add(node.attr)
        return
    if isinstance(node, pst.BinaryOp) and node.op == "contains" and _is(node.right, "resource"):
        left = node.left
        if isinstance(left, pst.GetAttr) and _is(left.base, "principal") and left.attr == granted:
            return
    if _is(node, "principal"):
        seen.add("")
    elif _is(node, "resource"):
        seen.add("*")
    for child in children(node):
        _look(child, seen, granted)


def _is(node: Any, name: str) -> bool:
    return isinstance(node, pst.Var) and node.name == name
