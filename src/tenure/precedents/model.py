"""A precedent: what it is drawn up from, its policy in Cedar and the tests beside it. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any

from tenure.kernel.errors import Refused
from tenure.kernel.json import JsonObject
from tenure.kernel.snapshot import AgentFact
from tenure.kernel.values import Autonomy, LifecycleState
from tenure.policy.model import leaves

MAX_DAYS = 90
MAX_PATHS = 50
PREFIX = "precedent-"
"""Begins the names of the files that are precedents, among those of a workspace's policies."""
_STEP = Decimal("0.0001")


class State(StrEnum):
    """proposed -> published | dropped; published -> revoked | expired | stopped (tests fail beside new policies)."""

    PROPOSED = "proposed"
    PUBLISHED = "published"
    DROPPED = "dropped"
    REVOKED = "revoked"
    EXPIRED = "expired"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Terms:
    """What a person makes of an approval. ``up_to``: by path of an argument the most that it may be (and at least zero,
    where the approved one was); ``free``: the arguments that may be anything, of the same type. Every other argument
    must be as it was approved, and a call that gives one more is not covered. ``days``: until it ends."""

    up_to: Mapping[str, str]
    free: tuple[str, ...]
    days: float
    reason: str


@dataclass(frozen=True, slots=True)
class Source:
    """The approval that a precedent is made from. ``lifts``: the policies that held the call."""

    approval: str
    resource: str
    arguments: JsonObject
    lifts: tuple[str, ...]
    approver: str
    agent: AgentFact


@dataclass(frozen=True, slots=True)
class Precedent:
    """A precedent as it is kept. ``cedar`` and ``tests`` are its two files. ``problem`` says why it was stopped."""

    id: str
    workspace: str
    approval: str
    agent: str
    resource: str
    terms: JsonObject
    cedar: str
    tests: str
    state: State
    proposed_by: str
    proposed_at: datetime
    reason: str
    expires_at: datetime
    decided_by: str | None = None
    decided_at: datetime | None = None
    decision: str = ""
    problem: str = ""

    @property
    def files(self) -> tuple[tuple[str, str], tuple[str, str]]:
        """Its two files among the policies of its workspace, by name."""
        return (f"{PREFIX}{self.id}.cedar", self.cedar), (f"{PREFIX}{self.id}.test.yaml", self.tests)


def without(files: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The files that are no precedents."""
    return [file for file in files if not file[0].startswith(PREFIX)]


def rule_id(ident: str) -> str:
    """How decisions name it."""
    return f"precedent/{ident}"


def _bad(message: str, fix: str = "") -> Refused:
    return Refused("bad_terms", message, fix=fix, status=422)


def _number(value: Any) -> Decimal | None:
    """A number that Cedar can compare, exactly; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    fits = number.is_finite() and abs(number) < 2**49 and not number % _STEP  # Cedar's decimals end soon after
    return number if fits else None


@dataclass(frozen=True, slots=True)
class _Bound:
    """One argument: its conditions in Cedar, and a value just outside of them (None: whatever is of its type fits)."""

    path: str
    conditions: tuple[str, ...]
    outside: Any


def _quoted(text: str) -> str:
    """A text as Cedar writes it."""
    plain = (c if " " <= c <= "~" and c not in '"\\' else f"\\u{{{ord(c):x}}}" for c in text)
    return '"' + "".join(plain) + '"'


def _bag(value: Any) -> str:
    return "bools" if isinstance(value, bool) else "strings" if isinstance(value, str) else "decimals"


def _bound(path: str, value: Any, terms: Terms) -> _Bound:
    bag = _bag(value)
    name = _quoted(path)
    has, get = f"context.{bag}.hasTag({name})", f"context.{bag}.getTag({name})"
    if path in terms.up_to:
        most, was = _number(terms.up_to[path]), None if isinstance(value, str) else _number(value)
        if most is None or was is None:
            raise _bad(
                f"{path} cannot be bounded by {terms.up_to[path]}: both must be numbers of at most four decimals."
            )
        if was > most:
            raise _bad(f"{path} was {was} in the approved call, which is more than {most}.", "Set the bound higher.")
        conditions = [has, f'{get}.lessThanOrEqual(decimal("{most:.4f}"))']
        if was >= 0:
            conditions.append(f'{get}.greaterThanOrEqual(decimal("0.0000"))')
        over = most + (1 if most == most.to_integral() else _STEP)
        return _Bound(path, tuple(conditions), int(over) if over == over.to_integral() else float(over))
    if path in terms.free:
        return _Bound(path, (has,), None)
    if bag == "decimals":
        number = _number(value)
        if number is None:
            raise _bad(f"{path} is a number that policies cannot compare exactly.", f"Leave it free: --free {path}")
        return _Bound(path, (has, f'{get} == decimal("{number:.4f}")'), value + 1)
    written = json.dumps(value) if bag == "bools" else _quoted(value)
    return _Bound(path, (has, f"{get} == {written}"), (not value) if bag == "bools" else f"{value}?")


def _bounds(source: Source, terms: Terms) -> list[_Bound]:
    given = dict(leaves(source.arguments))
    unknown = sorted({*terms.up_to, *terms.free} - set(given))
    if unknown:
        there = ", ".join(sorted(given)) or "none"
        raise _bad(f"The approved call gives no argument {unknown[0]}.", f"It gives {there}.")
    both = sorted(set(terms.up_to) & set(terms.free))
    if both:
        raise _bad(f"{both[0]} is bounded and free at once.")
    odd = [path for path, value in given.items() if not path or path != "".join(path.split()) or _odd(value)]
    odd += [name for name in (*source.lifts, source.resource) if name != "".join(name.split())]
    if odd or len(given) > MAX_PATHS or not source.lifts:
        what = (
            repr(odd[0]) if odd else f"more than {MAX_PATHS} arguments" if source.lifts else "a call held by no policy"
        )
        raise _bad(f"No policy can be written about {what}: such calls are approved one by one.")
    return [_bound(path, value, terms) for path, value in sorted(given.items())]


def _odd(value: Any) -> bool:
    if isinstance(value, str):
        return not value.isprintable() and bool(value)
    return not isinstance(value, bool | int | float)


def draw_up(ident: str, source: Source, terms: Terms, until: datetime) -> tuple[str, str]:
    """(the policy in Cedar, the tests beside it). Raises Refused 422 for terms that the approved call does not fit, and
    for a call whose arguments no policy can compare."""
    bounds = _bounds(source, terms)
    agent, end = source.agent.name, until.strftime("%Y-%m-%dT%H:%M:%SZ")
    conditions = " &&\n  ".join(condition for bound in bounds for condition in bound.conditions) or "true"
    paths = " ".join(bound.path for bound in bounds)
    reason = f"{source.approver} approved such calls: {terms.reason}"
    scope = (
        f"permit (principal == Agent::{_quoted(agent)}, "
        f'action == Action::"call_tool", resource == Tool::{_quoted(source.resource)})'
    )
    cedar = "\n".join(
        (
            "// Made from a person's approval. It ends by itself, and lifts only what held that call.",
            f"@id({_quoted(rule_id(ident))})",
            '@obligation("precedent")',
            f"@lifts({_quoted(' '.join(source.lifts))})",
            f"@arguments({_quoted(paths)})",
            f'@expires("{end}")',
            f"@reason({_quoted(reason)})",
            scope,
            f"when {{\n  {conditions}\n}};\n",
        )
    )
    return cedar, json.dumps(_tests(ident, source, bounds, end), indent=2, ensure_ascii=False) + "\n"


def _tests(ident: str, source: Source, bounds: Sequence[_Bound], end: str) -> JsonObject:
    """The approved call is permitted; with any argument out of its bounds, with one more, or at the end, it is not."""
    agent = source.agent
    call = {"agent": agent.name, "tool": source.resource}
    tests: list[JsonObject] = [
        {
            "name": "the approved call goes on",
            **call,
            "arguments": source.arguments,
            "expect": "allow",
            "policies": [rule_id(ident)],
        },
        {"name": "at its end it waits", **call, "arguments": source.arguments, "at": end, "expect": "hold"},
        {
            "name": "with an argument that nobody looked at it waits",
            **call,
            "arguments": {**source.arguments, "unseen-by-the-approver": "x"},
            "expect": "hold",
        },
    ]
    tests += [
        {
            "name": f"with another {bound.path} it waits",
            **call,
            "arguments": _with(source.arguments, bound.path, bound.outside),
            "expect": "hold",
        }
        for bound in bounds
        if bound.outside is not None and not bound.path.endswith("length")
    ]
    tools = [
        {"name": f"{tool.server}/{tool.name}", "autonomy": tool.autonomy.value}
        for tool in agent.tools
        if f"{tool.server}/{tool.name}" == source.resource
    ] or [{"name": source.resource, "autonomy": Autonomy.APPROVE.value}]
    facts = {
        "owner": agent.owner,
        "purpose": agent.purpose,
        "risk_tier": agent.risk_tier,
        "state": LifecycleState.PRODUCTION.value,
        "data_classes": list(agent.data_classes),
        "tools": tools,
    }
    return {"agents": {agent.name: facts}, "tests": tests}


def _with(arguments: Any, path: str, value: Any) -> Any:
    """The arguments with another value at ``path``."""
    for key, item in arguments.items() if isinstance(arguments, Mapping) else enumerate(arguments):
        name = str(key).replace("\\", "\\\\").replace(".", "\\.")
        if path == name or path.startswith(f"{name}."):
            changed = value if path == name else _with(item, path[len(name) + 1 :], value)
            if isinstance(arguments, Mapping):
                return {**arguments, key: changed}
            return [changed if index == key else one for index, one in enumerate(arguments)]
    return arguments
