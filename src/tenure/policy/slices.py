"""The rules that can match one kind of call, ready to be asked, and what of a call they are asked with. Pure.

Cedar is told exactly what the rules of a slice read, so that it neither reads nor checks anything in vain: a context
in which a read fact were missing would be an error, and an error denies.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cedarpy
from cedarpy import pst

from tenure.kernel.json import JsonObject
from tenure.policy.arguments import BAGS, TAG_TYPE, carry, segments
from tenure.policy.cedar import Reads, Rule
from tenure.policy.endings import PRECEDENT
from tenure.policy.layers import overridable
from tenure.policy.scopes import GRANTED


@dataclass(frozen=True, slots=True)
class Slice:
    """The rules that can match one (agent, action, resource), ready to be asked. A rule whose scope does not match is
    neither satisfied nor in error, so leaving it out changes no decision. ``precedents`` are asked by themselves, and
    only about a call that would be held; None when there are none. ``permits`` are asked by themselves when a forbid
    holds, where one of them may go before it; None where none can. ``facts`` are the names of the context that any of
    them reads, but for ``approved`` and for ``bags``, those of the arguments; ``zone`` is the one of their clock.
    ``foreseen``: what an approval of a call would change is known from the answer without one (``lifting``).
    ``number`` tells the slices of one bundle apart; ``alike``: the actions for which no rule looks at the resource, so
    that what is decided of one resource is decided of each other one with this slice."""

    policies: Any
    rules: dict[str, Rule]
    reads: Reads
    paths: tuple[tuple[str, tuple[str, ...], frozenset[str]], ...]  # path, its segments, bags it must be in
    facts: tuple[str, ...]
    bags: tuple[str, ...]
    zone: str = ""
    precedents: Any = None
    permits: Any = None
    foreseen: bool = False
    number: int = 0
    alike: frozenset[str] = frozenset()


def build_slice(rules: Sequence[Rule]) -> Slice:
    """A Slice of exactly ``rules``."""
    reads = Reads()
    for rule in rules:
        reads |= rule.reads
    ordinary = [rule for rule in rules if rule.obligation != PRECEDENT]
    precedents = [rule for rule in rules if rule.obligation == PRECEDENT]
    # A precedent that reads an argument in another type than it is given in does not speak of the call: no refusal.
    bags: dict[str, set[str]] = {path: set() for _, path in reads.arguments}
    for bag, path in (read for rule in ordinary for read in rule.reads.arguments):
        bags[path].add(bag)
    layered = overridable([(rule.permits, rule.layer) for rule in ordinary])
    read = {bag for bag, _ in reads.arguments}
    return Slice(
        policies=_policy_set(ordinary),
        rules={rule.id: rule for rule in rules},
        reads=reads,
        paths=tuple((path, segments(path), frozenset(kinds)) for path, kinds in sorted(bags.items())),
        facts=tuple(sorted(reads.facts - {"approved"})),
        bags=tuple(bag for bag in BAGS if bag in read),
        zone=next((rule.zone for rule in rules if rule.zone), ""),
        precedents=_policy_set(precedents) if precedents else None,
        permits=_policy_set([rule for rule in ordinary if rule.permits]) if layered else None,
        alike=frozenset(GRANTED).difference(*(rule.sees for rule in rules)),
        foreseen=all(rule.lifted or "approved" not in rule.reads.facts for rule in ordinary),
    )


def _policy_set(rules: Sequence[Rule]) -> Any:
    return cedarpy.PolicySet.from_pst(pst.PolicySet({}, {rule.id: rule.node for rule in rules}, ()))


def uid_json(kind: str, ident: str) -> dict[str, str]:
    """An entity's name, as Cedar's JSON has it."""
    return {"type": kind, "id": ident}


def entity_json(
    uid: dict[str, str], attrs: JsonObject | None = None, parents: Sequence[dict[str, str]] = ()
) -> dict[str, Any]:
    """An entity, as Cedar's JSON has it."""
    return {"uid": uid, "attrs": attrs or {}, "parents": list(parents)}


BAG_REFS: Mapping[str, Any] = {bag: {"__entity": uid_json(TAG_TYPE[bag], "call")} for bag in BAGS}
"""How the context names the tag entities."""


def bags_json(given: Mapping[str, Any], bags: Iterable[str] = BAGS) -> str:
    """The tag entities of ``bags`` that carry ``given`` (path -> value), as Cedar's entity JSON."""
    tags: dict[str, dict[str, Any]] = {bag: {} for bag in bags}
    for path, value in given.items():
        for bag, written in carry(value).items():
            if bag in tags:
                tags[bag][path] = written
    return json.dumps([entity_json(uid_json(TAG_TYPE[bag], "call")) | {"tags": tags[bag]} for bag in tags])


def mismatch(part: Slice, path: str, value: Any, bags: frozenset[str]) -> str:
    """What to say of an argument that the call gives in another type than the policies of ``part`` read (``bags``)."""
    names = [rule.id for rule in part.rules.values() if any(read == path for _, read in rule.reads.arguments)]
    kinds = {
        "longs": "a whole number",
        "decimals": "a number of at most four decimals",
        "strings": "a text",
        "bools": "true or false",
    }
    wanted = " or ".join(kinds[bag] for bag in BAGS if bag in bags)
    shown = type(value).__name__ if isinstance(value, dict | list) else json.dumps(value)[:80]
    return f"Policy {', '.join(sorted(names))} reads the argument {path} as {wanted}, but the call gives {shown}."
