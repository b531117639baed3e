"""The words that policies are written in: the Cedar schema of this program, and those of programs before it.

A version of the policies is the digest of its files and of the schema that they were written in. When a newer program
has other words, what was decided before stays decided in the old ones: their text is kept beside the version, and a
past decision is made again in them. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import cedarpy
from cedarpy import pst

from tenure.policy.arguments import BAGS
from tenure.policy.facts import AGENT, CONTEXT, Fact, cedar_record

if TYPE_CHECKING:
    from tenure.policy.cedar import Rule

SCHEMA = f"""
entity Server;
entity Tool in [Server];
entity Model;
entity Peer;
entity Agent = {{
{cedar_record(AGENT)}}};

entity Longs tags Long;
entity Decimals tags decimal;
entity Strings tags String;
entity Bools tags Bool;

type Attempt = {{
{cedar_record(CONTEXT)}}};

action call_tool appliesTo {{ principal: [Agent], resource: [Tool], context: Attempt }};
action call_model appliesTo {{ principal: [Agent], resource: [Model], context: Attempt }};
action call_agent appliesTo {{ principal: [Agent], resource: [Peer], context: Attempt }};
"""
"""The schema of this program."""
_RECORD = re.compile(r"^(?:entity|type) (\w+)(?: in \[\w+\])? = \{$(.*?)^\};$", re.MULTILINE | re.DOTALL)
_FIELD = re.compile(r"^\s*(\w+)\??: (.+),$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Words:
    """A schema, ready to be asked. ``records``: of each record in it the names and their Cedar types."""

    schema: str
    handle: Any = field(repr=False, compare=False)
    records: Mapping[str, Mapping[str, str]] = field(repr=False, compare=False)

    @property
    def current(self) -> bool:
        """Whether these are the words of this program."""
        return self.schema == SCHEMA


@lru_cache(maxsize=16)
def words_of(schema: str = SCHEMA) -> Words:
    """Reads a schema. Raises ValueError for a text that is none."""
    records = {name: dict(_FIELD.findall(body)) for name, body in _RECORD.findall(schema)}
    return Words(schema, cedarpy.Schema.from_str(schema), records)


def lost(words: Words, rules: Iterable[Rule]) -> list[str]:
    """What ``rules``, written in ``words``, look at that this program does not know any more, or knows as something of
    another type: a decision by them cannot be made again here."""
    if words.current:
        return []
    now: dict[str, Mapping[str, str]] = {"Agent": _types(AGENT), "Attempt": _types(CONTEXT)}
    rules = list(rules)
    read = {("Attempt", fact) for rule in rules for fact in rule.reads.facts if fact not in BAGS}
    read |= {("Agent", name) for rule in rules for clause in rule.node.clauses for name in _of_agent(clause.expr)}
    return sorted(
        f"{'context' if record == 'Attempt' else 'principal'}.{name}"
        for record, name in read
        if words.records.get(record, {}).get(name) != now[record].get(name)
    )


def _types(facts: Iterable[Fact]) -> Mapping[str, str]:
    return {fact.name: fact.type for fact in facts}


def _of_agent(node: Any) -> Iterator[str]:
    base = getattr(node, "base", None)
    if isinstance(base, pst.Var) and base.name == "principal":
        yield from (node.attr,) if isinstance(node, pst.GetAttr) else node.attrs[:1]
    for child in children(node):
        yield from _of_agent(child)


def children(node: Any) -> list[Any]:
    """The expressions that an expression is made of."""
    if isinstance(node, pst.Record):
        return list(node.fields.values())
    if isinstance(node, pst.Set):
        return list(node.elements)
    names = ("arg", "left", "right", "base", "cond", "then_expr", "else_expr", "in_expr")
    return [child for name in names if (child := getattr(node, name, None)) is not None]
