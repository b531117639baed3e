"""The kernel's values: identifiers, canonical JSON, and Snapshots that change by Deltas."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenure.kernel import ids
from tenure.kernel import json as kernel_json
from tenure.kernel.snapshot import AgentFact, ApprovalFact, Delta, Snapshot, apply, difference, is_empty
from tenure.kernel.values import Event, LifecycleState

START = datetime(2026, 1, 1, tzinfo=UTC)
EMPTY = Snapshot(version=1, issued_at=START)


def _agent(name: str, state: LifecycleState) -> AgentFact:
    return AgentFact("default", name, state, "sha256:0", 0, "owner@example.com")


agents = st.dictionaries(
    st.sampled_from(["a", "b", "c", "d"]), st.sampled_from([LifecycleState.STAGING, LifecycleState.SUSPENDED])
).map(lambda states: {f"default/{name}": _agent(name, state) for name, state in states.items()})
approvals = st.dictionaries(st.sampled_from(["x", "y", "z"]), st.sampled_from(["pending", "granted", "claimed"])).map(
    lambda states: {
        key: ApprovalFact(key, "default", "a", "s/t", "sha256:1", "p", state) for key, state in states.items()
    }
)


@given(agents, agents, approvals, approvals)
def test_a_delta_turns_the_old_snapshot_into_the_new_one(
    old_agents: dict[str, AgentFact],
    new_agents: dict[str, AgentFact],
    old_approvals: dict[str, ApprovalFact],
    new_approvals: dict[str, ApprovalFact],
) -> None:
    old = replace(EMPTY, agents=old_agents, approvals=old_approvals)
    new = replace(EMPTY, version=2, agents=new_agents, approvals=new_approvals)
    delta = difference(old, new)
    over_the_wire = msgspec.json.decode(msgspec.json.encode(delta), type=Delta)
    assert apply(old, over_the_wire) == new
    assert is_empty(delta) == (old_agents == new_agents and old_approvals == new_approvals)


def test_a_delta_for_another_base_is_refused() -> None:
    with pytest.raises(ValueError, match="delta is for version 7"):
        apply(EMPTY, Delta(base=7, version=8, issued_at=START))


def test_ids_are_unique_sorted_by_time_and_of_version_7() -> None:
    made = [ids.new_id() for _ in range(1000)]
    assert len(set(made)) == 1000
    assert [value[:12] for value in made] == sorted(value[:12] for value in made)
    assert {value[12] for value in made} == {"7"}
    assert {value[16] for value in made} <= set("89ab")


def test_a_session_without_traceparent_has_one_trace_of_its_own() -> None:
    assert ids.session_trace("default", "s1") == ids.session_trace("default", "s1")
    assert ids.session_trace("default", "s1") != ids.session_trace("other", "s1")
    trace, span = ids.session_trace("default", "s1")
    assert (len(trace), len(span)) == (32, 16)


@given(st.dictionaries(st.text(max_size=5), st.integers(-1000, 1000), max_size=5))
def test_the_digest_does_not_depend_on_the_order_of_members(value: dict[str, int]) -> None:
    turned = dict(reversed(list(value.items())))
    assert kernel_json.digest(value) == kernel_json.digest(turned)


def test_canonical_json_follows_rfc_8785() -> None:
    # RFC 8785 section 3.2.3: members are sorted by UTF-16 code units, which differs from code points beyond the BMP.
    value = {"\u20ac": "Euro Sign", "\r": "Carriage Return", "\U0001f600": "Emoji", "\ufb33": "Dalet", "1": "One"}
    keys = ['"\\r"', '"1"', '"\u20ac"', '"\U0001f600"', '"\ufb33"']
    text = kernel_json.canonical(value).decode()
    assert sorted(keys, key=text.index) == keys
    with pytest.raises(ValueError, match=r"."):
        kernel_json.canonical({"n": 2**60})


def test_an_event_survives_the_wire() -> None:
    event = Event(
        id=ids.new_id(), type="call.completed", time=START, workspace="default", actor="agent:a", data={"n": 1}
    )
    assert msgspec.json.decode(msgspec.json.encode(event), type=Event) == event
