"""Sequence rules over histories: which rules a call is about, what it is to them, and what they say. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tenure.base.scan.texts import look, words
from tenure.kernel.values import Call, CallKind, Effect
from tenure.sequences.history import PATTERN, SINCE, History, Kept, Mark, Witness
from tenure.sequences.language import Condition, SequenceRule
from tenure.sequences.patterns import Pattern, key_of

MAX_NAMED = 10
"""Earlier calls that a decision names at most, the newest."""
_KNOWN = 20_000


@dataclass(frozen=True, slots=True)
class Watched:
    """The rules that a call may be about, in the order of their files: as the one that is refused or as one before."""

    rules: tuple[SequenceRule, ...]
    overs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sequences:
    """The sequence rules of a version of the policies."""

    rules: tuple[SequenceRule, ...]
    _known: dict[tuple[str, CallKind, str], Watched | None] = field(default_factory=dict, repr=False, compare=False)

    def watched(self, agent: str, kind: CallKind, resource: str) -> Watched | None:
        """The rules that calls of an agent to something may be about; None for no rule. One look into a table."""
        place = (agent, kind, resource)
        try:
            return self._known[place]
        except KeyError:
            if len(self._known) >= _KNOWN:
                self._known.clear()
        rules = tuple(rule for rule in self.rules if rule.concerns(agent) and _names_it(rule, kind, resource))
        overs = tuple(sorted({rule.over for rule in rules}))
        found = self._known[place] = Watched(rules, overs) if rules else None
        return found


def history_of(over: str, agent: str, session: str) -> str:
    """The name of the history that rules over a session, or over an agent, look at."""
    return f"session:{agent}/{session}" if over == "session" else f"agent:{agent}"


def _names_it(rule: SequenceRule, kind: CallKind, resource: str) -> bool:
    patterns = [rule.trigger]
    for one in rule.conditions:
        patterns += [one.pattern, *([one.since] if one.since is not None else [])]
    return any(pattern.names_it(kind, resource) for pattern in patterns)


class Look:
    """What is found in what goes out with a call, looked for once and only when a rule asks."""

    __slots__ = ("_call", "_found")

    def __init__(self, call: Call, found: frozenset[str] | None = None) -> None:
        self._call = call
        self._found = found

    def __call__(self) -> frozenset[str]:
        """Classes and rules."""
        if self._found is None:
            self._found = words(look([self._call.arguments, self._call.content]))
        return self._found


@dataclass(frozen=True, slots=True)
class Finding:
    """What sequence rules say of a call: the ``effect``, the rules that say it, the ``reason`` of the first, and the
    earlier calls (their ids, the oldest first) that led to it."""

    effect: Effect
    rules: tuple[str, ...]
    reason: str
    because: tuple[str, ...]


def judge(  # noqa: PLR0917 (a call, what was before it, and when it is)
    watched: Watched,
    call: Call,
    histories: Mapping[str, History],
    now: float,
    found: Callable[[], frozenset[str]],
    lost: Mapping[str, Sequence[str]],
    *,
    approved: bool = False,
) -> Finding | None:
    """What the rules say of a call now; None when they let it pass. ``histories`` by what they are of (session, agent);
    ``lost``: whose word of it is missing, and then every rule over it holds. ``approved`` passes what is held."""
    said: list[tuple[SequenceRule, str, tuple[Witness, ...]]] = []
    for rule in watched.rules:
        if rule.effect is Effect.HOLD and approved:
            continue
        trigger = rule.trigger
        if not trigger.names_it(call.kind, call.resource) or not trigger.matches(call, found, raising=True):
            continue
        verdict = _holds(rule, call, histories[rule.over], now, lost.get(rule.over, ()))
        if verdict is not None:
            said.append((rule, *verdict))
    if not said:
        return None
    denied = [one for one in said if one[0].effect is Effect.DENY]
    strongest = denied or said
    first, why, _ = strongest[0]
    because = sorted({witness for _, _, witnesses in strongest for witness in witnesses})
    return Finding(
        effect=first.effect,
        rules=tuple(rule.id for rule, _, _ in strongest),
        reason=" ".join(part for part in (first.reason, why) if part),
        because=tuple(dict.fromkeys(witness.call for witness in because))[-MAX_NAMED:],
    )


def _holds(
    rule: SequenceRule, call: Call, history: History, now: float, lost: Sequence[str]
) -> tuple[str, tuple[Witness, ...]] | None:
    """Why all conditions of a rule hold, in words, and the calls that make it so; None when one does not."""
    whose = "session" if rule.over == "session" else "agent"
    if lost:
        return f"What this {whose} did before is not wholly known: gateway {lost[0]} was lost with it.", ()
    words_: list[str] = []
    witnesses: list[Witness] = []
    now = max(now, history.at)
    for one in rule.conditions:
        key = key_of(call, rule.trigger.per, raising=one.raising)
        if key is None:
            words_.append(f"It does not say its {rule.trigger.per}, which is counted by.")
            continue
        since_at = now - one.within_s if one.within_s else float("-inf")
        if one.raising:
            found = history.happened(one.id, key, since_at, one.reached, call.id)
            if found is None:
                return None
            witnesses += found
        elif history.lifted(one.id, key, since_at, call.id):
            return None
        words_.append(_said(one, rule, whose))
    return " ".join(words_), tuple(witnesses)


def _said(one: Condition, rule: SequenceRule, whose: str) -> str:
    what = " or ".join(one.pattern.names)
    same = f" with the same {rule.per}" if rule.per else ""
    window = f" in {_duration(one.within_s)}" if one.within_s else ""
    after = f" after the last {' or '.join(one.since.names)}" if one.since is not None else ""
    if one.mode == "never":
        return f"This {whose} has made no call of {what}{same}{window}{after}."
    times = "before" if one.reached == 1 else f"{one.reached} times"
    return f"This {whose} called {what}{same} {times}{window}{after}."


def _duration(seconds: int) -> str:
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds % length == 0:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def marks_of(watched: Watched, call: Call, found: Callable[[], frozenset[str]]) -> dict[str, tuple[Mark, ...]]:
    """What a call is to the conditions of the rules, as far as it can be told before it is made, by the history that it
    is kept in. A history in which it is nothing is left out."""
    out: dict[str, list[Mark]] = {}
    for rule in watched.rules:
        for one in rule.conditions:
            for role, pattern, raising in _parts(one):
                if not pattern.names_it(call.kind, call.resource):
                    continue
                if not pattern.matches(call, found, raising=raising):
                    continue
                # The key is spelled as whoever asks for it spells it: that is the condition's own sense.
                key = key_of(call, pattern.per, raising=one.raising)
                if key is None and not raising:
                    continue  # it may be any of them, so it lifts none
                out.setdefault(rule.over, []).append(Mark(one.id, role, raising, key))
    return {over: tuple(marks) for over, marks in out.items()}


def _parts(one: Condition) -> list[tuple[str, Pattern, bool]]:
    own = [(PATTERN, one.pattern, one.raising)]
    return own if one.since is None else [*own, (SINCE, one.since, not one.raising)]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended. ``made``: it was acted on at all; ``failed``: and did not succeed. ``returned`` looks at what
    came back, None where that is not known."""

    made: bool = True
    failed: bool = False
    returned: Callable[[], frozenset[str] | None] = field(default=lambda: None)


def kept_of(watched: Watched, marks: Sequence[Mark], outcome: Outcome) -> tuple[Kept, ...]:
    """Those marks of a call that count now that it has ended."""
    if not outcome.made:
        return ()
    out = []
    for rule in watched.rules:
        for one in rule.conditions:
            for role, pattern, raising in _parts(one):
                if not any((mark.condition, mark.role) == (one.id, role) for mark in marks):
                    continue
                if outcome.failed and not (raising if pattern.failed is None else pattern.failed):
                    continue
                if pattern.returned and not _came_back(pattern, outcome, raising):
                    continue
                out.append(Kept(one.id, role, one.reached, rule.keys))
    return tuple(out)


def _came_back(pattern: Pattern, outcome: Outcome, raising: bool) -> bool:
    found = outcome.returned()
    return raising if found is None else not pattern.returned.isdisjoint(found)
