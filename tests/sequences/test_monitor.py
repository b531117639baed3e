"""The monitor, which keeps little, against a reading of the whole history, which keeps everything."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from tenure.kernel.values import Call, CallKind
from tenure.sequences.history import MAX_OPEN, PATTERN, SINCE
from tenure.sequences.language import Condition, SequenceRule, read_rules
from tenure.sequences.model import (
    History,
    Look,
    Outcome,
    Sequences,
    Watched,
    judge,
    kept_of,
    marks_of,
    packed,
    unpacked,
)
from tenure.sequences.patterns import Pattern, key_of

AGENT = "clerk"


@dataclass
class Lived:
    """All that is known of one call: it lasts from ``begun`` to ``ended`` (places among all beginnings and ends)."""

    call: Call
    begun: int
    begun_at: float
    ended: int | None = None
    ended_at: float = 0.0
    outcome: Outcome = Outcome()


class Whole:
    """The naive evaluator: every call is remembered, and every question reads all of them."""

    def __init__(self) -> None:
        self.calls: list[Lived] = []
        self.place = 0
        self.at = 0.0

    def begin(self, call: Call, at: float) -> None:
        self.place, self.at = self.place + 1, max(self.at, at)
        self.calls.append(Lived(call, self.place, self.at))

    def end(self, ident: str, at: float, outcome: Outcome) -> None:
        one = next(one for one in self.calls if one.call.id == ident)
        self.place, self.at = self.place + 1, max(self.at, at)
        one.ended, one.ended_at, one.outcome = self.place, self.at, outcome

    def holds(self, rule: SequenceRule, call: Call, now: float) -> bool:
        return all(self._holds(rule, one, call, max(now, self.at)) for one in rule.conditions)

    def _holds(self, rule: SequenceRule, one: Condition, call: Call, now: float) -> bool:
        key = key_of(call, rule.trigger.per, raising=one.raising)
        if key is None:
            return True
        earliest = now - one.within_s if one.within_s else float("-inf")
        if one.raising:
            return sum(self._counts(one, lived, key, earliest) for lived in self.calls) >= one.reached
        if one.since and any(
            lived.ended is None and _is(one.since, lived.call, key, raising=True, folded=False) for lived in self.calls
        ):
            return True
        return not any(self._lifts(one, lived, key, earliest) for lived in self.calls)

    def _counts(self, one: Condition, lived: Lived, key: str, earliest: float) -> bool:
        """Of a raising condition: whether a call was, or is, that nothing has taken back since."""
        if not _is(one.pattern, lived.call, key, raising=True, folded=True):
            return False
        if lived.ended is None:
            return True
        if not _came(one.pattern, lived.outcome, raising=True) or lived.ended_at < earliest:
            return False
        unkeyed = key_of(lived.call, one.pattern.per, raising=True) is None
        return not any(
            one.since is not None
            and not unkeyed
            and other.ended is not None
            and _is(one.since, other.call, key, raising=False, folded=True)
            and _came(one.since, other.outcome, raising=False)
            and lived.ended < other.begun
            for other in self.calls
        )

    def _lifts(self, one: Condition, lived: Lived, key: str, earliest: float) -> bool:
        """Of a lowering condition: whether a call has succeeded that began after all that ask for it anew had ended."""
        if lived.ended is None or not _is(one.pattern, lived.call, key, raising=False, folded=False):
            return False
        if not _came(one.pattern, lived.outcome, raising=False) or lived.begun_at < earliest:
            return False
        return not any(
            one.since is not None
            and other.ended is not None
            and other.outcome.made
            and _is(one.since, other.call, key, raising=True, folded=False)
            and lived.begun < other.ended
            for other in self.calls
        )


def _is(pattern: Pattern, call: Call, key: str, *, raising: bool, folded: bool) -> bool:
    if not pattern.names_it(call.kind, call.resource) or not pattern.matches(call, Look(call), raising=raising):
        return False
    own = key_of(call, pattern.per, raising=folded)
    return own == key or (own is None and raising)


def _came(pattern: Pattern, outcome: Outcome, *, raising: bool) -> bool:
    return outcome.made and not (outcome.failed and not (raising if pattern.failed is None else pattern.failed))


RULES = """
rules:
  - {id: once, deny: {tool: s/c}, once: {tool: s/a}}
  - {id: once-since, deny: {tool: s/c}, once: {tool: s/a}, since: {tool: s/b}, within: 7s}
  - {id: count, deny: {tool: s/a}, per: k, count: {tool: s/a, failed: ignored}, reached: 3, within: 9s}
  - {id: count-since, deny: {tool: "*"}, per: k, count: {tool: [s/a, s/b]}, reached: 2, since: {tool: s/c, per: j}}
  - {id: never, deny: {tool: s/c}, per: k, never: {tool: s/a, per: j}, within: 8s}
  - {id: never-since, deny: {tool: s/c}, per: k, never: {tool: s/a}, since: {tool: [s/b, s/c]}}
  - {id: failed, deny: {tool: s/b}, never: {tool: s/a, failed: counts}, also: [{count: {tool: s/c}, reached: 2}]}
  - {id: own, deny: {tool: s/a, where: {k: {over: 1}}}, once: {tool: s/a, where: {k: 2}}, since: {tool: s/a}}
"""
PARSED = read_rules([("a.sequence.yaml", RULES)])
NAMES = st.sampled_from(["s/a", "s/b", "s/c"])
ARGUMENTS = st.fixed_dictionaries({}, optional={"k": st.sampled_from([1, 2, "2"]), "j": st.sampled_from([1, 2])})


@dataclass(frozen=True)
class Moment:
    """A call begins, or (with an ``outcome``) ends."""

    at: float
    call: Call
    outcome: Outcome | None = None


@st.composite
def traces(draw: st.DrawFn) -> list[Moment]:
    moments: list[Moment] = []
    running: list[Call] = []
    at = 100.0
    for index in range(draw(st.integers(1, 25))):
        at += draw(st.sampled_from([-2.0, 0.0, 0.5, 1.0, 3.0, 6.0]))
        what = draw(st.sampled_from(["begin", "begin", "good", "failed", "not made"]))
        if running and what != "begin":
            call = running.pop(draw(st.integers(0, len(running) - 1)))
            moments.append(Moment(at, call, Outcome(made=what != "not made", failed=what == "failed")))
        else:
            running.append(Call(f"c{index}", CallKind.TOOL, draw(NAMES), draw(ARGUMENTS)))
            moments.append(Moment(at, running[-1]))
    return moments


@settings(max_examples=200, deadline=None)
@given(traces())
def test_the_monitor_says_what_a_reading_of_the_whole_history_says(trace: list[Moment]) -> None:
    assert PARSED.faults == ()
    sequences, whole, history = Sequences(PARSED.rules), Whole(), History()
    for moment in trace:
        call = moment.call
        watched = sequences.watched(AGENT, call.kind, call.resource)
        assert watched is not None
        marks = marks_of(watched, call, Look(call)).get("session", ())
        if moment.outcome is not None:
            history.end(call.id, moment.at, kept_of(watched, marks, moment.outcome))
            whole.end(call.id, moment.at, moment.outcome)
        else:
            finding = judge(watched, call, {"session": history}, moment.at, Look(call), {})
            expected = [
                rule.id
                for rule in PARSED.rules
                if rule.trigger.names_it(call.kind, call.resource)
                and rule.trigger.matches(call, Look(call), raising=True)
                and whole.holds(rule, call, moment.at)
            ]
            assert list(finding.rules if finding else ()) == expected
            history.begin(call.id, moment.at, marks)
            whole.begin(call, moment.at)
        history = unpacked(packed(history))  # as it is handed on


def test_what_is_kept_is_bounded_and_what_is_forgotten_refuses() -> None:
    text = RULES.replace("reached: 3, within: 9s}", "reached: 3, keys: 5}").replace("within: 8s}", "keys: 5}")
    rules = {rule.id: rule for rule in read_rules([("a.sequence.yaml", text)]).rules}
    watched = Sequences((rules["count"], rules["never"])).watched(AGENT, CallKind.TOOL, "s/a")
    assert watched is not None
    history = History()
    for index in range(300):
        call = Call(f"c{index}", CallKind.TOOL, "s/a", {"k": index, "j": index})
        marks = marks_of(watched, call, Look(call))["session"]
        assert history.begin(call.id, float(index), marks)
        history.end(call.id, float(index), kept_of(watched, marks, Outcome()))
    assert len(packed(history)) < rules["count"].state_bytes + rules["never"].state_bytes + 500

    def refused(rule: str, name: str, **arguments: int) -> bool:
        call = Call("x", CallKind.TOOL, name, dict(arguments))
        one = Sequences((rules[rule],)).watched(AGENT, CallKind.TOOL, name)
        assert one is not None
        return judge(one, call, {"session": history}, 300.0, Look(call), {}) is not None

    assert refused("count", "s/a", k=3), "a key that was forgotten counts as all that were"
    assert not refused("never", "s/c", k=299)
    assert refused("never", "s/c", k=3), "what a forgotten call had lifted holds again"


def test_a_call_too_many_under_way_is_not_admitted() -> None:
    history = History()
    marks = marks_of(_watched("s/a"), Call("c", CallKind.TOOL, "s/a", {}), frozenset)["session"]
    assert {mark.role for mark in marks} == {PATTERN, SINCE}
    assert all(history.begin(f"c{index}", 0.0, marks) for index in range(MAX_OPEN))
    assert not history.begin("one-more", 0.0, marks)
    assert history.begin("c1", 0.0, marks), "told twice is told once"
    history.end("c1", 1.0, ())
    assert history.begin("one-more", 1.0, marks)


def test_what_was_lost_with_a_gateway_counts_as_if_every_rule_held() -> None:
    call = Call("c", CallKind.TOOL, "s/c", {"k": 1})
    finding = judge(_watched("s/c"), call, {"session": History()}, 0.0, Look(call), {"session": ("g1",)})
    assert finding is not None
    assert "g1 was lost" in finding.reason
    assert finding.rules == ("once", "once-since", "count-since", "never", "never-since")


def test_another_window_keeps_what_is_known_and_another_pattern_begins_anew() -> None:
    rule = PARSED.rules[0]
    wider = read_rules([("a.sequence.yaml", RULES.replace("{tool: s/a}}", "{tool: s/a}, within: 1h}", 1))]).rules[0]
    other = read_rules([("a.sequence.yaml", RULES.replace("{tool: s/a}}", "{tool: s/b}}", 1))]).rules[0]
    assert wider.conditions[0].id == rule.conditions[0].id != other.conditions[0].id
    assert replace(rule, reason="x").conditions == rule.conditions


def _watched(name: str) -> Watched:
    found = Sequences(PARSED.rules).watched(AGENT, CallKind.TOOL, name)
    assert found is not None
    return found
