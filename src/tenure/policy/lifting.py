"""Forbids that an approval lifts, whatever else is so: of these it is known beforehand what an approved call gets.

A call that is denied is asked about once more, as if it had been approved, so that a hold is told from a denial
(R078). Where each policy in scope either never looks at the approval, or is a forbid that can only hold without it, the
second answer follows from the first: what forbade and does not look at the approval still forbids. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cedarpy import pst

from tenure.policy.words import children

_APPROVED = "approved"


def lifted(node: pst.Template) -> bool:
    """Whether a policy is a forbid that never holds for an approved call, and that for such a call evaluates nothing
    which it does not evaluate for the same call without an approval: then it cannot err there either.

    The approval is looked at once, and so that its being there ends the evaluation: ``!context.approved && ...``,
    ``unless { context.approved || ... }``. What is written otherwise counts as not known."""
    if str(node.effect) != "forbid" or sum(1 for clause in node.clauses for _ in _looks(clause.expr)) != 1:
        return False
    return any(_false(clause.expr) if isinstance(clause, pst.When) else _true(clause.expr) for clause in node.clauses)


def _looks(node: Any) -> Iterator[Any]:
    if isinstance(node, pst.GetAttr | pst.HasAttr) and isinstance(node.base, pst.Var) and node.base.name == "context":
        if _APPROVED in (node.attrs if isinstance(node, pst.HasAttr) else (node.attr,)):
            yield node
        return
    for child in children(node):
        yield from _looks(child)


def _true(node: Any) -> bool:
    """Whether an expression is true for every approved call."""
    if isinstance(node, pst.GetAttr):
        return any(True for _ in _looks(node))
    if isinstance(node, pst.UnaryOp):
        return node.op == "not" and _false(node.arg)
    return isinstance(node, pst.BinaryOp) and node.op == "or" and (_true(node.left) or _true(node.right))


def _false(node: Any) -> bool:
    """Whether an expression is false for every approved call."""
    if isinstance(node, pst.UnaryOp):
        return node.op == "not" and _true(node.arg)
    return isinstance(node, pst.BinaryOp) and node.op == "and" and (_false(node.left) or _false(node.right))
