"""What one set of policies lets agents do that another does not: told by deciding, not by comparing texts.

Agents and what they were granted are finite; so are the kinds of calls that two sets of policies can tell apart
(``cells``). Both sets decide one call of each kind. Where two pairs of agent and resource differ in nothing that any
policy in scope looks at, one stands for all. Pure.
"""

from __future__ import annotations

import itertools
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from tenure.kernel.json import JsonObject
from tenure.kernel.snapshot import AgentFact, ToolFact
from tenure.kernel.values import (
    Autonomy,
    Call,
    CallKind,
    Decision,
    Effect,
    LifecycleState,
    Origin,
    Principal,
    Risk,
)
from tenure.policy.cedar import Rule
from tenure.policy.context import Found
from tenure.policy.diff.cells import ABSENT, FOUND, GIVEN, SPENT, Dimension, arguments_of, count, dimension, readable
from tenure.policy.diff.uses import Source, shape_of, uses_of
from tenure.policy.endings import NEVER
from tenure.policy.facts import changes_at, moment
from tenure.policy.model import ARGUMENTS, Bundle, decide, in_force, in_reach

MAX_KINDS = 4_000
"""Calls of one agent to one resource that are tried; where there are more kinds, so many are drawn from them."""
MAX_CALLS = 60_000
"""Calls that are tried in all."""
MAX_BOXES = 12
_HOURS = 24 * 15
"""In so many hours the clock shows each hour of each day of the week, also where it is put on or back."""
ACTIONS = {CallKind.TOOL: "call_tool", CallKind.LLM: "call_model", CallKind.AGENT: "call_agent"}
_OVER = frozenset({LifecycleState.REJECTED, LifecycleState.RETIRED})
_ACTIVE = frozenset({LifecycleState.STAGING, LifecycleState.PRODUCTION, LifecycleState.DRAINING})
_UNREPRESENTABLE = "a number that no policy can read"

_SET = frozenset(("fact", name) for name in GIVEN)

Cells = tuple[int, ...]
"""One kind of call: the number of its cell in each dimension."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What comes of a call, and by which policies."""

    effect: Effect
    obligations: tuple[str, ...]
    policies: tuple[str, ...]

    @property
    def what(self) -> tuple[Effect, tuple[str, ...]]:
        """What the agent notices of it."""
        return self.effect, self.obligations


@dataclass(frozen=True, slots=True)
class Example:
    """A call that comes out otherwise. ``facts`` are those of the context that matter, by name."""

    agent: str
    kind: CallKind
    resource: str
    arguments: JsonObject
    facts: JsonObject


@dataclass(frozen=True, slots=True)
class Change:
    """Each of ``agents`` gains or loses something on each of ``resources``: ``before`` became ``after`` when all of
    one of ``when`` is so (an empty one: always)."""

    action: str
    agents: tuple[str, ...]
    resources: tuple[str, ...]
    before: Outcome
    after: Outcome
    when: tuple[tuple[str, ...], ...]
    example: Example


@dataclass(frozen=True, slots=True)
class Gap:
    """Something that was not looked at, and in which policies."""

    what: str
    whose: tuple[str, ...]


@dataclass(slots=True)
class Comparison:
    """All that comes out otherwise, and what it was found from: ``agents`` with ``grants`` in all, ``calls`` decided
    twice. With no ``gaps``, no call of theirs comes out otherwise but those told of. ``waiting`` agents may not act
    now, and were looked at as if they were in production."""

    changes: list[Change] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    waiting: tuple[str, ...] = ()
    agents: int = 0
    grants: int = 0
    calls: int = 0


@dataclass(frozen=True, slots=True)
class _Pair:
    agent: AgentFact
    kind: CallKind
    resource: str
    grant: Autonomy


_Told = tuple[Outcome, Outcome, tuple[tuple[str, ...], ...]]
"""What comes out otherwise in one group of pairs that are decided alike, and when."""


def compare(before: Bundle, after: Bundle, agents: Sequence[AgentFact], at: float = NEVER) -> Comparison:
    """Decides a call of each kind by both and tells where they differ. Agents that may not act yet, or not now, count
    as in production; those that never will are left out. A tool that is switched off counts as on. ``at``: the moment
    of the calls, in Unix seconds; left out, it is after the end of every policy that ends by itself."""
    out = Comparison()
    gaps: dict[str, set[str]] = defaultdict(set)
    if before.fail_open != after.fail_open:
        gaps["calls while the control plane cannot be reached"].update(before.fail_open ^ after.fail_open)
    if before.zone and after.zone and before.zone != after.zone:
        whose = {rule.id for rule in (*before.rules, *after.rules) if rule.zone}
        gaps[f"what {after.zone} in place of {before.zone} changes"].update(whose)
    before, after = in_force(before, at), in_force(after, at)
    if ends := {rule.id for rule in (*before.rules, *after.rules) if rule.ends != NEVER}:
        gaps["calls after a policy that ends by itself has ended"].update(ends)
    living = [agent for agent in agents if agent.state not in _OVER]
    waiting = tuple(sorted(agent.name for agent in living if agent.state not in _ACTIVE))
    groups: dict[Any, list[_Pair]] = defaultdict(list)
    scopes: dict[Any, tuple[tuple[Rule, ...], tuple[Rule, ...]]] = {}
    for agent in map(_acting, living):
        out.agents += 1
        for pair in _pairs(agent):
            out.grants += 1
            call = Call("", pair.kind, pair.resource)
            rules = in_reach(call, agent, before), in_reach(call, agent, after)
            if _meaning(rules[0]) == _meaning(rules[1]):
                continue
            key = _likeness(pair, rules)
            groups[key].append(pair)
            scopes.setdefault(key, rules)
    rows: dict[Any, list[tuple[_Pair, Example]]] = defaultdict(list)
    for key, pairs in groups.items():
        for told, example in _tried(pairs[0], scopes[key], (before, after), at=at, out=out, gaps=gaps):
            rows[ACTIONS[pairs[0].kind], *told].extend((pair, example) for pair in pairs)
    out.changes = sorted(_changes(rows), key=_order)
    if waiting:
        out.waiting = waiting
    out.gaps = [Gap(what, tuple(sorted(whose))) for what, whose in sorted(gaps.items())]
    return out


def _acting(agent: AgentFact) -> AgentFact:
    tools = tuple(replace(tool, off="", pin=None, seen="") for tool in agent.tools)
    state = agent.state if agent.state in _ACTIVE else LifecycleState.PRODUCTION
    servers = tuple(replace(server, off="") for server in agent.servers)
    return replace(agent, tools=tools, servers=servers, state=state)


def _pairs(agent: AgentFact) -> Iterator[_Pair]:
    for tool in agent.granted:
        yield _Pair(agent, CallKind.TOOL, f"{tool.server}/{tool.name}", tool.autonomy)
    for model in agent.models:
        yield _Pair(agent, CallKind.LLM, model.name, ToolFact("", model.name).autonomy)
    for peer in agent.agents:
        yield _Pair(agent, CallKind.AGENT, peer.name, peer.autonomy)


def _meaning(rules: Sequence[Rule]) -> frozenset[Any]:
    """What of policies can make an outcome: not why they are there, and what they are called only where one lifts
    others by their names."""
    named = any(rule.lifts for rule in rules)
    return frozenset(
        (
            *(rule.node.effect, rule.node.clauses, rule.obligation, rule.lifts, rule.id if named else ""),
            *(rule.layer, rule.final, rule.knows),
        )
        for rule in rules
    )


def _likeness(pair: _Pair, rules: tuple[tuple[Rule, ...], tuple[Rule, ...]]) -> Any:
    """Equal for pairs that are decided alike by both."""
    shape = shape_of((*rules[0], *rules[1]), ACTIONS[pair.kind])
    agent = pair.agent
    values: dict[str, Any] = {"tools": agent.granted, "models": agent.models, "agents": agent.agents}
    facts = tuple((name, values.get(name, getattr(agent, name, None))) for name in sorted(shape.attributes))
    ids = tuple(tuple(rule.id for rule in side) for side in rules)
    whose = (agent.name if shape.agent else "", pair.resource if shape.resource else "")
    where = any("environment" in rule.reads.facts for side in rules for rule in side)
    return pair.kind, pair.grant, ids, facts, whose, where and agent.state is LifecycleState.STAGING


def _tried(
    pair: _Pair,
    rules: tuple[tuple[Rule, ...], tuple[Rule, ...]],
    bundles: tuple[Bundle, Bundle],
    *,
    at: float,
    out: Comparison,
    gaps: dict[str, set[str]],
) -> Iterator[tuple[_Told, Example]]:
    both = {rule.id: rule for side in rules for rule in side}
    uses = uses_of((*rules[0], *rules[1]))
    dimensions = [dimension(source, found) for source, found in sorted(uses.items()) if source not in _SET]
    for one in dimensions:
        if one.gap:
            whose = {rule.id for rule in both.values() if one.source in uses_of([rule])}
            gaps[f"{one.source[1]}: {one.gap}"].update(whose)
    if known := {rule.id for rule in both.values() if rule.lifts}:
        gaps["calls with arguments that a precedent does not know"].update(known)
    if out.calls >= MAX_CALLS:
        gaps[f"calls beyond the first {MAX_CALLS:,}"].update(both)
        return
    if count(dimensions) > MAX_KINDS:
        gaps[f"all but {MAX_KINDS:,} of {count(dimensions):,} kinds of calls"].update(both)
    feasible: set[Cells] = set()
    differing: dict[Any, dict[Cells, tuple[Outcome, Outcome]]] = defaultdict(dict)
    for cells in _combinations(dimensions):
        values = {one.source: one.cells[cell].value for one, cell in zip(dimensions, cells, strict=True)}
        asked = _asked(pair, values)
        if asked is None:
            continue
        feasible.add(cells)
        out.calls += 1
        facts = {name: value for (what, name), value in values.items() if what == "fact"}
        first, second = (
            _outcome(decide(*asked[:2], pair.agent, None, one, found=asked[2], at=_moment(facts, one.zone, at)))
            for one in bundles
        )
        if first.what != second.what:
            odd = ARGUMENTS in (*first.policies, *second.policies)  # refused for a type: worth a row of its own
            differing[first.what, second.what, odd][cells] = (first, second)
    for points in differing.values():
        cells, outcomes = min(points.items())
        boxes = list(itertools.islice(_boxes(set(points), feasible), MAX_BOXES + 1))
        when = tuple(_said(box, dimensions) for box in boxes[:MAX_BOXES])
        if len(boxes) > MAX_BOXES:
            when = (*when, ("in other cases too",))
        yield (*outcomes, when), _example(pair, dimensions, cells)


def _combinations(dimensions: Sequence[Dimension]) -> Iterator[Cells]:
    ranges = [range(len(one.cells)) for one in dimensions]
    if count(dimensions) <= MAX_KINDS:
        yield from itertools.product(*ranges)
        return
    drawn = random.Random(0)  # noqa: S311 (the same kinds each time, not a secret)
    seen = {tuple(drawn.choice(one) for one in ranges) for _ in range(MAX_KINDS)}
    yield from sorted(seen)


def _asked(pair: _Pair, values: Mapping[Source, Any]) -> tuple[Call, Principal, Found] | None:
    """A call of this kind, None when there can be none."""
    arguments = arguments_of({name: value for (what, name), value in values.items() if what == "argument"})
    if arguments is None:
        return None
    facts = {name: value for (what, name), value in values.items() if what == "fact" and value is not ABSENT}
    if facts.get("unrepresentable"):
        arguments = {**arguments, _UNREPRESENTABLE: 1e300}
    untrusted = facts.get("untrusted_arguments", ())
    derived = facts.get("arguments_from_untrusted", bool(untrusted))
    origin = Origin(facts.get("tainted", derived), facts.get("provenance", ()), derived, untrusted)
    if (untrusted and not derived) or (derived and not origin.tainted):
        return None
    spent = tuple(facts.get(name, 0) for name in SPENT)
    chain = _chain(facts)
    nobody = values.get(("fact", "on_behalf_of")) is ABSENT
    if chain is None or (nobody and facts.get("tier") == "interactive"):
        return None
    agent = pair.agent
    who = Principal(
        workspace=agent.workspace,
        agent=agent.name,
        release=facts.get("release", agent.release),
        instance="",
        session=facts.get("session", ""),
        credential_epoch=agent.credential_epoch,
        on_behalf_of=facts.get("on_behalf_of"),
        chain=chain,
        task=facts.get("task"),
    )
    found = Found(*(facts.get(name, ()) for name in FOUND))
    call = Call(
        id="",
        kind=pair.kind,
        resource=pair.resource,
        arguments=arguments,
        spent=(spent[0], spent[1], spent[2]),
        origin=origin,
        risk=Risk(facts.get("risk", 0), facts.get("uncertainty", 0)),
        justification="so" if facts.get("justified") else "",
        confidence=facts.get("confidence"),
        tier=facts.get("tier", ""),
    )
    return call, who, found


def _chain(facts: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The agents that handed the work on in a call of these facts, None where there can be no such call."""
    named: tuple[str, ...] = facts.get("chain", ())
    tier, depth = facts.get("tier"), facts.get("chain_depth")
    if depth is None:
        depth = len(named) if "chain" in facts else int(tier == "subagent")
    elif "chain" in facts and (depth < len(named) or (depth and not named)):
        return None
    if tier is not None and (tier == "subagent") != (depth > 0):
        return None
    return (*named, *(f"~{number}" for number in range(len(named), depth)))


def _moment(facts: Mapping[str, Any], zone: str, at: float) -> float:
    """The first moment from ``at`` on at which the clock in ``zone`` shows the hour and the weekday of ``facts``."""
    wanted = {name: facts[name] for name in ("hour", "weekday") if name in facts}
    if not wanted or not zone:
        return at
    begin = changes_at(at if at != NEVER else 0.0)
    hours = (begin + step * 3600 for step in range(_HOURS))
    return next(one for one in hours if wanted.items() <= moment(one, zone).items())


def _outcome(decision: Decision) -> Outcome:
    return Outcome(decision.effect, tuple(sorted(decision.obligations)), decision.policies)


def _example(pair: _Pair, dimensions: Sequence[Dimension], cells: Cells) -> Example:
    values = {one.source: one.cells[cell].value for one, cell in zip(dimensions, cells, strict=True)}
    asked = _asked(pair, values)
    assert asked is not None  # noqa: S101 (it was decided a moment ago)
    facts = {name: value for (what, name), value in values.items() if what == "fact" and value is not ABSENT}
    return Example(pair.agent.name, pair.kind, pair.resource, readable(asked[0].arguments), facts)


Box = tuple[frozenset[int], ...]


def _boxes(points: set[Cells], feasible: set[Cells]) -> Iterator[Box]:
    """Cuts ``points`` into parts of which each is all that is feasible within some cells of each dimension."""
    span = tuple(frozenset(values) for values in zip(*points, strict=True))
    inside = [cells for cells in feasible if all(cell in kept for cell, kept in zip(cells, span, strict=True))]
    if len(inside) == len(points):
        yield span
        return
    cuts = [_cut(points, place) for place in range(len(span))]
    best = min((cut for cut in cuts if len(cut) > 1), key=len)
    for part in best:
        yield from _boxes(part, feasible)


def _cut(points: set[Cells], place: int) -> list[set[Cells]]:
    """``points`` by their cell in one dimension; cells with the same points around them stay together."""
    around: dict[int, set[Cells]] = defaultdict(set)
    for cells in points:
        around[cells[place]].add((*cells[:place], *cells[place + 1 :]))
    alike: dict[frozenset[Cells], set[int]] = defaultdict(set)
    for cell, others in around.items():
        alike[frozenset(others)].add(cell)
    return [{cells for cells in points if cells[place] in kept} for kept in alike.values()]


def _said(box: Box, dimensions: Sequence[Dimension]) -> tuple[str, ...]:
    return tuple(one.say(kept) for one, kept in zip(dimensions, box, strict=True) if len(kept) < len(one.cells))


def _changes(rows: Mapping[Any, list[tuple[_Pair, Example]]]) -> Iterator[Change]:
    """Agents that see a change on the same resources share a row, so that each row is true of all it names."""
    for (action, before, after, when), found in rows.items():
        reach: dict[str, dict[str, Example]] = defaultdict(dict)
        for pair, example in found:
            reach[pair.agent.name][pair.resource] = example
        alike: dict[frozenset[str], list[str]] = defaultdict(list)
        for agent, resources in reach.items():
            alike[frozenset(resources)].append(agent)
        for shared, agents in alike.items():
            agent, resource = min(agents), min(shared)
            example = replace(reach[agent][resource], agent=agent, resource=resource)
            yield Change(action, tuple(sorted(agents)), tuple(sorted(shared)), before, after, when, example)


_RANK = {Effect.DENY: 0, Effect.HOLD: 1, Effect.ALLOW: 2}


def gained(change: Change) -> Literal["gained", "lost", "duties"]:
    """``gained`` or ``lost``; ``duties`` where the effect is the same and only what goes with it is another."""
    before, after = _RANK[change.before.effect], _RANK[change.after.effect]
    return "duties" if before == after else "gained" if after > before else "lost"


def _order(change: Change) -> Any:
    return gained(change) != "gained", change.action, change.resources, change.agents, change.when
