"""Which policies go before which: the more exactly a policy says whom and what it is about, the more it counts.

Four layers, the strongest last: the whole workspace; one agent or one person (who); one tool, server, model or peer
(what); both. Among the policies whose conditions hold, the strongest layer decides; within it a forbid goes before a
permit. A forbid with ``@final`` goes before everything. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import IntEnum
from typing import Any

from cedarpy import pst


class Layer(IntEnum):
    """How exactly a policy says whom and what it is about."""

    WORKSPACE = 0
    WHO = 1
    WHAT = 2
    BOTH = 3


WORDS: Mapping[Layer, str] = {
    Layer.WORKSPACE: "the workspace",
    Layer.WHO: "an agent or a person",
    Layer.WHAT: "a tool, server, model or peer",
    Layer.BOTH: "an agent or a person, and a tool, server, model or peer",
}


def layer_of(node: pst.Template) -> Layer:
    """The layer of a policy: by what its scope names, and by ``context.on_behalf_of == "..."`` where its conditions
    demand that. What stands under an ``or`` or an ``unless`` does not narrow a policy and does not count. What goes on
    without the control plane goes before no forbid."""
    if "fail_mode" in node.annotations:
        return Layer.WORKSPACE
    who = not isinstance(node.principal, pst.ScopeAny | pst.ScopeIs) or any(
        _names_person(part)
        for clause in node.clauses
        if isinstance(clause, pst.When)
        for part in _demanded(clause.expr)
    )
    what = not isinstance(node.resource, pst.ScopeAny | pst.ScopeIs)
    return Layer(who + 2 * what)


def is_final(node: pst.Template) -> bool:
    """Whether nothing goes before a policy."""
    return "final" in node.annotations


def final_problems(node: pst.Template) -> list[str]:
    """What is wrong with its ``@final``."""
    if not is_final(node):
        return []
    found = [] if str(node.effect) == "forbid" else ["@final is for a forbid: no permit goes before every forbid"]
    if node.annotations["final"]:
        found.append(f'@final("{node.annotations["final"]}"): it takes no value, write @final')
    return found


def _demanded(expr: Any) -> Iterator[Any]:
    if isinstance(expr, pst.BinaryOp) and expr.op == "and":
        yield from _demanded(expr.left)
        yield from _demanded(expr.right)
    else:
        yield expr


def _names_person(expr: Any) -> bool:
    if not isinstance(expr, pst.BinaryOp):
        return False
    if expr.op == "eq":
        sides = (expr.left, expr.right), (expr.right, expr.left)
        return any(_is_person(one) and isinstance(other, pst.StringLit) for one, other in sides)
    named = isinstance(expr.left, pst.Set) and all(isinstance(one, pst.StringLit) for one in expr.left.elements)
    return expr.op == "contains" and named and _is_person(expr.right)


def _is_person(expr: Any) -> bool:
    base = expr.base if isinstance(expr, pst.GetAttr) and expr.attr == "on_behalf_of" else None
    return isinstance(base, pst.Var) and base.name == "context"


def overridable(rules: Sequence[tuple[bool, Layer]]) -> bool:
    """Whether a permit of ``rules`` (each: is it a permit, and its layer) can go before a forbid of them, were that not
    final."""
    permits = [layer for permit, layer in rules if permit]
    forbids = [layer for permit, layer in rules if not permit]
    return bool(permits and forbids) and max(permits) > min(forbids)
