"""The table: what makes a call risky, and what makes that unsure, each with its points. Pure.

Nothing that an agent, or whoever writes into what it reads, can add to a call takes points away: what could speak for a
call (that it is like what the agent is for) is asked of the manifest and of the tool's name only. A property test holds
it: whatever is appended to the task or to an argument, the points stay or grow.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tenure.kernel.json import JsonObject
from tenure.kernel.snapshot import AgentFact
from tenure.kernel.values import Autonomy, Call, CallKind, Principal, Risk

FULL = 100
BASELINE, BASELINE_OF_TOOL = 30, 5
"""Calls of an agent, and of its to one tool, from which on what is usual is known (D10)."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One row: what it is, and its points."""

    words: str
    points: int


LEVELS = {
    Autonomy.AUTONOMOUS: 0,
    Autonomy.NOTIFY: 10,
    Autonomy.APPROVE: 20,
    Autonomy.HUMAN_ONLY: 30,
}
TIERS = {1: 0, 2: 5, 3: 10, 4: 20}
FIRST = Feature("the agent's first use of this tool here", 20)
STRONG = Feature("the tool's name says that it changes, sends, pays, deletes or runs something", 15)
UNLIKE = Feature("no word of the tool's name stands in what the agent is for", 10)
TAINTED = Feature("the session has met what is not trusted", 20)
AMOUNTS = (
    (10_000.0, Feature("an amount of 10,000 or more", 25)),
    (1_000.0, Feature("an amount of 1,000 or more", 15)),
    (100.0, Feature("an amount of 100 or more", 5)),
)
HIGHER = Feature("a number more than twice as high as any before in this field", 15)
LONGER = Feature("a text more than twice as long as any before in this field", 5)
NEW_FIELD = Feature("a field that was not given before", 5)
HANDED, HANDED_MAX = Feature("each agent that handed the work on", 5), 15
ROWS = (
    *(Feature(f"the tool's oversight is {level}", points) for level, points in LEVELS.items() if points),
    *(Feature(f"the agent's risk tier is {tier}", points) for tier, points in TIERS.items() if points),
    *(FIRST, STRONG, UNLIKE, TAINTED),
    *(feature for _, feature in AMOUNTS),
    *(HIGHER, LONGER, NEW_FIELD, HANDED),
)
"""The points of risk."""
YOUNG = Feature(f"fewer than {BASELINE} calls of this agent were seen here", 30)
RARE = Feature(f"fewer than {BASELINE_OF_TOOL} calls of it to this tool were seen here", 20)
UNSEEN = Feature("the beginning of the session was not seen", 20)
PURPOSELESS = Feature("its manifest does not say what the agent is for", 20)
UNSURE = (YOUNG, RARE, UNSEEN, PURPOSELESS)
"""The points of uncertainty."""

_STRONG = frozenset(
    {
        *(
            "admin",
            "approve",
            "buy",
            "cancel",
            "charge",
            "close",
            "create",
            "delete",
            "deploy",
            "disable",
            "drop",
            "email",
        ),
        *("exec", "execute", "grant", "insert", "invoke", "kill", "mail", "merge", "order", "pay", "payment", "post"),
        *("publish", "purchase", "push", "put", "refund", "release", "remove", "reset", "revoke", "run", "send", "set"),
        *("share", "shell", "shutdown", "submit", "transfer", "update", "upload", "wire", "withdraw", "write"),
    }
)
_AMOUNT = re.compile(r"amount|price|total|sum|value|cents|usd|eur|cost|pay|refund|quantity|limit|budget", re.IGNORECASE)
_THOUSANDS = re.compile(r"(?<=[0-9])[,'](?=[0-9]{3})")
_DIGITS = re.compile(r"[0-9]{1,15}(?:\.[0-9]+)?")
_WORDS = re.compile(r"[a-z]+")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


@dataclass(slots=True)
class Usual:
    """What an agent's calls to one tool were so far: the highest number and the longest text of each field."""

    calls: int = 0
    highest: dict[str, float] | None = None
    longest: dict[str, int] | None = None


def words_of(name: str) -> set[str]:
    """The words of a name, as in ``create_refund`` or ``createRefund``."""
    return set(_WORDS.findall(_CAMEL.sub(" ", name).lower()))


def fields(arguments: JsonObject) -> Iterator[tuple[str, float, int]]:
    """(path without positions, the highest number in it, its length as a text) of every text and number."""
    stack: list[tuple[str, Any]] = [("", arguments)]
    while stack:
        path, value = stack.pop()
        if isinstance(value, dict):
            stack.extend((f"{path}.{key}" if path else str(key), item) for key, item in value.items())
        elif isinstance(value, list | tuple):
            stack.extend((path, item) for item in value)
        elif isinstance(value, str):
            numbers = _DIGITS.findall(value) + _DIGITS.findall(_THOUSANDS.sub("", value))
            yield path, max(map(float, numbers), default=0.0), len(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield path, abs(float(value)) if abs(value) < 1e300 else 1e300, 0


def weigh(
    call: Call,
    principal: Principal,
    agent: AgentFact,
    *,
    first: bool,
    seen: int,
    usual: Usual,
    tainted: bool,
    unknown: bool,
) -> Risk:
    """The points of one call. ``first``: the agent never used the tool here. ``seen``: how many calls of the agent
    were; ``usual``: what those to this tool were like. ``tainted``, ``unknown``: of the session
    (``Provenance.standing``)."""
    risk = list(_standing(call, principal, agent))
    if first:
        risk.append(FIRST)
    if tainted:
        risk.append(TAINTED)
    risk += _unusual(call.arguments, usual)
    unsure = [YOUNG] if seen < BASELINE else []
    unsure += [RARE] if usual.calls < BASELINE_OF_TOOL else []
    unsure += [UNSEEN] if unknown else []
    unsure += [PURPOSELESS] if not agent.purpose.strip() else []
    reasons = tuple(f"{feature.words} (+{feature.points})" for feature in risk)
    doubts = tuple(f"{feature.words} (unsure +{feature.points})" for feature in unsure)
    return Risk(_sum(risk), _sum(unsure), reasons + doubts)


def _sum(features: list[Feature]) -> int:
    return min(FULL, sum(feature.points for feature in features))


def _standing(call: Call, principal: Principal, agent: AgentFact) -> Iterator[Feature]:
    """What is so whatever the arguments are."""
    level = next((tool.autonomy for tool in agent.tools if f"{tool.server}/{tool.name}" == call.resource), None)
    level = level or next((peer.autonomy for peer in agent.agents if peer.name == call.resource), Autonomy.AUTONOMOUS)
    if LEVELS[level]:
        yield Feature(f"the tool's oversight is {level}", LEVELS[level])
    if TIERS.get(agent.risk_tier, TIERS[4]):
        yield Feature(f"the agent's risk tier is {agent.risk_tier}", TIERS.get(agent.risk_tier, TIERS[4]))
    if principal.chain:
        points = min(HANDED_MAX, HANDED.points * len(principal.chain))
        yield Feature(f"{len(principal.chain)} agents handed the work on", points)
    if call.kind is CallKind.TOOL:
        server, _, tool = call.resource.partition("/")
        if not _STRONG.isdisjoint(words_of(tool)):
            yield STRONG
        if words_of(agent.purpose).isdisjoint(words_of(tool) | words_of(server)):
            yield UNLIKE


def _unusual(arguments: JsonObject, usual: Usual) -> list[Feature]:
    """What in the arguments is high, long or new."""
    out: list[Feature] = []
    amount = 0.0
    known = usual.calls >= BASELINE_OF_TOOL
    highest, longest = usual.highest or {}, usual.longest or {}
    for path, number, length in fields(arguments):
        name = path.rpartition(".")[2]
        if _AMOUNT.search(name):
            amount = max(amount, number / 100 if "cents" in name.lower() else number)
        if not known:
            continue
        if path not in highest:
            out.append(NEW_FIELD)
        if number > 2 * highest.get(path, number):
            out.append(HIGHER)
        if length > 2 * longest.get(path, length):
            out.append(LONGER)
    out += [feature for least, feature in AMOUNTS if amount >= least][:1]
    return list(dict.fromkeys(out))  # however many fields: once each
