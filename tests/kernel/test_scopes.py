"""Bounds narrow: whatever is added, in whatever order, and whoever asks."""

from __future__ import annotations

import itertools
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenure.kernel.errors import Refused
from tenure.kernel.scopes import KINDS, MAX_SCOPES, bound, covers, joined, uncovered, widening, within
from tenure.kernel.snapshot import PeerGrant
from tenure.kernel.values import CallKind, Principal

# A small alphabet, so that patterns meet names often.
words = st.text("ab/*.", min_size=1, max_size=6)
names = st.text("ab/.", min_size=1, max_size=6)
kinds = st.sampled_from(sorted(KINDS))
scope = st.builds("{}:{}".format, kinds, words)
Bounds = tuple[tuple[str, ...], ...]
Attempt = tuple[CallKind, str]
bounds = st.lists(st.lists(scope, max_size=4).map(bound), max_size=4).map(tuple)
calls = st.tuples(st.sampled_from([CallKind.TOOL, CallKind.LLM, CallKind.AGENT]), names)


@pytest.mark.req("R035")
@given(bounds, bounds, calls)
def test_what_is_added_never_widens(held: Bounds, more: Bounds, call: Attempt) -> None:
    both = joined(held, more)
    assert within(both, *call) == (within(held, *call) and within(more, *call))


@pytest.mark.req("R035")
@given(bounds, calls, st.randoms())
def test_the_order_does_not_matter(held: Bounds, call: Attempt, random: Random) -> None:
    shuffled = list(held)
    random.shuffle(shuffled)
    assert within(joined(*((one,) for one in shuffled)), *call) == within(held, *call)


@pytest.mark.req("R043")
@given(bounds, st.lists(scope, max_size=4).map(bound), calls)
def test_scopes_that_do_not_widen_reach_nothing_more(held: Bounds, wanted: tuple[str, ...], call: Attempt) -> None:
    """``widening`` looks at patterns alone, and must be right about all that they stand for."""
    if not widening(wanted, held) and within((wanted,), *call):
        assert within(held, *call)


def test_a_pattern_within_a_pattern_is_no_widening() -> None:
    held = (("tool:crm/*", "agent:b*"), ("tool:*", "agent:*"))
    assert widening(("tool:crm/read*", "agent:billing"), held) == ""
    assert widening(("tool:crm/read", "tool:c*"), held) == "tool:c*"
    assert widening(("model:gpt-5",), held) == "model:gpt-5"


@given(st.lists(scope, min_size=1, max_size=5), calls)
def test_a_scope_taken_away_never_widens(scopes: list[str], call: Attempt) -> None:
    for fewer in itertools.combinations(scopes, len(scopes) - 1):
        assert not within((fewer,), *call) or within((scopes,), *call)


def test_nothing_covers_nothing_and_no_bound_covers_all() -> None:
    assert not within(((),), CallKind.TOOL, "crm/read")
    assert within((), CallKind.TOOL, "crm/read")
    assert not within((("tool:*",),), CallKind.LLM, "gpt-5"), "a kind that is not named is not covered"


def test_a_class_of_data_that_is_not_covered_refuses_all() -> None:
    scopes = (("tool:*", "data:public"),)
    assert uncovered(scopes, CallKind.TOOL, "crm/read", ("public",)) == ""
    assert uncovered(scopes, CallKind.TOOL, "crm/read", ("public", "health")) == "data:health"
    assert uncovered(scopes, CallKind.LLM, "gpt-5", ()) == "model:gpt-5"


def test_a_folder_is_not_left_by_climbing() -> None:
    assert covers(("tool:files/home/*",), "tool:files/home/a")
    assert not covers(("tool:files/home/*",), "tool:files/home/../etc")
    assert widening(("tool:files/home/../*",), (("tool:files/home/*",),))


@pytest.mark.parametrize(
    "wrong", ["crm/*", "tool:", "tools:crm", "tool:a b", 'tool:"', "tool:é", "tool:" + "a" * 201, ""]
)
def test_what_is_no_scope_is_refused(wrong: str) -> None:
    with pytest.raises(Refused, match="is no scope"):
        bound(["tool:crm/*", wrong])


def test_scopes_are_in_order_once_each_and_not_too_many() -> None:
    assert bound(["tool:b", "agent:a", "tool:b"]) == ("agent:a", "tool:b")
    with pytest.raises(Refused, match="More than"):
        bound([f"tool:{n}" for n in range(MAX_SCOPES + 1)])


def test_a_grant_bounds_what_is_reached_and_not_the_model() -> None:
    assert PeerGrant("b").bounds == ()
    [only] = PeerGrant("b", tools=("crm/*",)).bounds
    assert all(within((only,), kind, "any") for kind in (CallKind.LLM, CallKind.AGENT))
    assert within((only,), CallKind.TOOL, "crm/x")
    assert not within((only,), CallKind.TOOL, "mail/x")


@pytest.mark.req("R035")
def test_siblings_have_one_root() -> None:
    def who(agent: str, chain: tuple[str, ...] = (), person: str | None = None) -> str:
        return Principal("w", agent, "r", "i", "s", 1, on_behalf_of=person, chain=chain).root

    assert who("a") == who("b", ("a",)) == who("c", ("a", "b")) == "agent:a"
    assert {who(f"child{n}", ("a",), "ann@x.example") for n in range(9)} == {"person:ann@x.example"}
