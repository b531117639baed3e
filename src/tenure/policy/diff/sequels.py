"""What a change of sequence rules lets through more or less: told by deciding short made-up sessions by both.

Of each rule that was added, removed or rewritten, calls are made that its patterns match and that they just do not.
Sessions of a few of them, at once, within its windows and after them, with as many in a row as it counts to, are
decided by all rules of before and of after. Where they differ, the shortest session is told. Two sets that differ in
longer sessions only are not told apart. Pure.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from tenure.kernel.values import Call, CallKind, Decision, Effect, Principal
from tenure.policy.followed import Followed
from tenure.policy.model import Bundle
from tenure.sequences.model import Look, Outcome, SequenceRule

MAX_LETTERS, MAX_TRACES = 10, 3_000
_NOW = 1e9
_ALLOWED = Decision(Effect.ALLOW, "")
_NOW_IT = {Effect.ALLOW: "passes", Effect.HOLD: "waits for a person", Effect.DENY: "is denied"}
_THEN_IT = {Effect.ALLOW: "passed", Effect.HOLD: "waited for a person", Effect.DENY: "was denied"}
_RANK = {Effect.DENY: 0, Effect.HOLD: 1, Effect.ALLOW: 2}


@dataclass(frozen=True, slots=True)
class Turn:
    """A session after which a call comes out otherwise: ``session`` is in words, the last call last."""

    session: str
    before: Effect
    after: Effect

    @property
    def more(self) -> bool:
        """Whether more is let through than before."""
        return _RANK[self.after] > _RANK[self.before]

    @property
    def words(self) -> str:
        """The turn in one sentence."""
        return f"{self.session}: the last {_NOW_IT[self.after]}, and {_THEN_IT[self.before]} until now"


@dataclass(frozen=True, slots=True)
class RuleChange:
    """A sequence rule that is there, gone or written otherwise. ``fields`` are those that differ, of a rewritten one.
    ``more`` and ``less`` are the shortest sessions found after which more, and less, is let through; None where none
    was found. ``traces`` were tried."""

    id: str
    what: Literal["added", "removed", "rewritten"]
    fields: tuple[str, ...]
    more: Turn | None
    less: Turn | None
    traces: int


@dataclass(frozen=True, slots=True)
class _Letter:
    """A call that may be in a session, and how it ends."""

    call: Call
    found: frozenset[str] = frozenset()
    returned: frozenset[str] = frozenset()
    failed: bool = False

    @property
    def words(self) -> str:
        given = ", ".join(f"{name} {value}" for name, value in self.call.arguments.items())
        extra = [given] if given else []
        extra += [f"with {', '.join(sorted(self.found))}"] if self.found else []
        extra += [f"returning {', '.join(sorted(self.returned))}"] if self.returned else []
        extra += ["failed"] if self.failed else []
        return f"{self.call.resource} ({'; '.join(extra)})" if extra else self.call.resource


@dataclass(frozen=True, slots=True)
class _Trace:
    """Letters by how many seconds before the last call each was, the oldest first."""

    earlier: tuple[tuple[float, _Letter], ...]
    last: _Letter

    @property
    def words(self) -> str:
        parts = []
        for (ago, letter), run in itertools.groupby(self.earlier):
            times = len(list(run))
            when = f" {ago:g} s before" if ago else ""
            parts.append(f"{letter.words}{f' {times} times' if times > 1 else ''}{when}")
        return ", then ".join([*parts, self.last.words])


@dataclass(slots=True)
class _Best:
    more: Turn | None = None
    less: Turn | None = None
    traces: int = field(default=0)


def changed_rules(before: Bundle, after: Bundle) -> tuple[RuleChange, ...]:
    """Every sequence rule that differs but in its reason or its place, in the order of their ids."""
    was, now = (_rules(bundle) for bundle in (before, after))
    out = []
    for ident in sorted(was.keys() | now.keys()):
        old, new = was.get(ident), now.get(ident)
        if old is not None and new is not None and _meaning(old) == _meaning(new):
            continue
        what: Any = "added" if old is None else "removed" if new is None else "rewritten"
        best = _tried([one for one in (old, new) if one is not None], before, after)
        out.append(RuleChange(ident, what, _fields(old, new), best.more, best.less, best.traces))
    return tuple(out)


def _rules(bundle: Bundle) -> Mapping[str, SequenceRule]:
    return {rule.id: rule for rule in bundle.sequences.rules} if bundle.sequences is not None else {}


def _meaning(rule: SequenceRule) -> SequenceRule:
    return replace(rule, file="", line=0, reason="")


def _fields(old: SequenceRule | None, new: SequenceRule | None) -> tuple[str, ...]:
    if old is None or new is None:
        return ()
    names = [
        name for name in ("effect", "trigger", "over", "per", "agents", "keys") if _of(old, name) != _of(new, name)
    ]
    if len(old.conditions) != len(new.conditions):
        return (*names, "also")
    for one, other in zip(old.conditions, new.conditions, strict=True):
        parts = ("mode", "pattern", "since", "within_s", "reached")
        names += [part.removesuffix("_s") for part in parts if _of(one, part) != _of(other, part)]
    return tuple(dict.fromkeys(names))


def _of(value: Any, name: str) -> Any:
    return getattr(value, name)


def _tried(rules: Sequence[SequenceRule], before: Bundle, after: Bundle) -> _Best:
    best = _Best()
    agent = rules[-1].agents[0].replace("*", "agent")
    who = Principal("default", agent, "", "", "session", 0)
    for trace in itertools.islice(_traces(rules), MAX_TRACES):
        best.traces += 1
        first, second = (_decided(bundle, who, trace) for bundle in (before, after))
        if first is second:
            continue
        turn = Turn(trace.words, first, second)
        if turn.more:
            best.more = best.more or turn
        else:
            best.less = best.less or turn
        if best.more and best.less:
            break
    return best


def _decided(bundle: Bundle, who: Principal, trace: _Trace) -> Effect:
    followed = Followed(bundle)
    for number, (ago, letter) in enumerate(trace.earlier):
        call, at = replace(letter.call, id=f"c{number}"), _NOW - ago
        look = Look(call, letter.found)
        if followed.decide(call, who, _ALLOWED, at, approved=False, look=look).effect is Effect.ALLOW:
            followed.tell(call, who, at, at, Outcome(failed=letter.failed, returned=_giving(letter.returned)), look)
    last = replace(trace.last.call, id="last")
    return followed.decide(last, who, _ALLOWED, _NOW, approved=False, look=Look(last, trace.last.found)).effect


def _giving(found: frozenset[str]) -> Callable[[], frozenset[str]]:
    return lambda: found


def _traces(rules: Sequence[SequenceRule]) -> Iterator[_Trace]:
    """Sessions, the shorter first."""
    conditions = [one for rule in rules for one in rule.conditions]
    lasts = _unique(letter for rule in rules for letter in _letters(rule.trigger, rule.per))
    past = [pattern for one in conditions for pattern in (one.pattern, one.since) if pattern is not None]
    letters = _unique(letter for pattern in past for letter in _letters(pattern, pattern.per))[:MAX_LETTERS]
    windows = sorted({one.within_s for one in conditions if one.within_s})
    ages = [0.0, *(float(edge) for window in windows for edge in (window - 1, window + 1))]
    counts = sorted({times for one in conditions for times in (one.reached - 1, one.reached) if times > 0})
    yield from (_Trace((), last) for last in lasts)
    yield from (_Trace(((age, one),), last) for one, last, age in itertools.product(letters, lasts, ages))
    for times, letter, last in itertools.product(counts, letters, lasts):
        for age in ages:
            run = ((age, letter),) * times
            yield _Trace(run, last)
            yield from (_Trace((*run, (0.0, other)), last) for other in letters if other is not letter)
    for one, other, last in itertools.product(letters, letters, lasts):
        yield _Trace(((0.0, one), (0.0, other)), last)


def _unique(letters: Any) -> list[_Letter]:
    out: list[_Letter] = []
    for letter in letters:
        if letter not in out:
            out.append(letter)
    return out


def _letters(pattern: Any, per: str) -> Iterator[_Letter]:
    """A call that a pattern matches, and calls that it just does not, or only as one that failed."""
    name = pattern.names[0].replace("*", "x") if pattern.names[0] != "*" or pattern.kind is not CallKind.TOOL else "x/x"
    fits = {test.path: _value(test, fits=True) for test in pattern.tests}
    keyed = {per: "k1"} if per else {}
    found, returned = frozenset(sorted(pattern.found)[:1]), frozenset(sorted(pattern.returned)[:1])
    whole = _Letter(Call("", pattern.kind, name, _placed({**keyed, **fits})), found, returned)
    yield whole
    for test in pattern.tests:
        given = _placed({**keyed, **fits, test.path: _value(test, fits=False)})
        yield replace(whole, call=replace(whole.call, arguments=given))
    for other in pattern.names[1:]:
        yield replace(whole, call=replace(whole.call, resource=other.replace("*", "x")))
    if per:
        yield replace(whole, call=replace(whole.call, arguments=_placed({per: "k2", **fits})))
        yield replace(whole, call=replace(whole.call, arguments=_placed(fits)))
    if found:
        yield replace(whole, found=frozenset())
    if returned:
        yield replace(whole, returned=frozenset())
    yield replace(whole, failed=True)


def _value(test: Any, *, fits: bool) -> Any:
    """A value that a test holds of, or does not."""
    first = test.operands[0]
    match test.op:
        case "is":
            return first if fits else "~another"
        case "like" | "unlike":
            return str(first).replace("*", "x") if fits == (test.op == "like") else "~another"
        case "over":
            return first + 1 if fits else first
        case _:
            return first - 1 if fits else first


def _placed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments with these values at these paths; ``*`` stands for the one item of a list."""
    out: dict[str, Any] = {}
    for path, value in values.items():
        inner: Any = value
        first, *rest = path.split(".")
        for part in reversed(rest):
            inner = [inner] if part == "*" or part.isdigit() else {part: inner}
        out[first] = {**out[first], **inner} if isinstance(inner, dict) and isinstance(out.get(first), dict) else inner
    return out
