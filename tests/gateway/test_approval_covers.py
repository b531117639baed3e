"""An approval covers one call and no other: whatever differs (an argument, the tool, the agent, the release, the
person, the chain, the task, the policies that hold it, what goes with it), the call is held again."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tenure.gateway.approvals import Approvals
from tenure.gateway.reach import Reach
from tenure.gateway.snapshot import Facts
from tenure.gateway.spool import Spool
from tenure.gateway.verdict import Verdict
from tenure.kernel.ids import new_id
from tenure.kernel.snapshot import ApprovalFact, Snapshot
from tenure.kernel.values import Call, CallKind, Decision, Effect, Event, Principal

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
WORDS = st.sampled_from(["a", "b", "a/b", "A", ""])
VALUES = st.recursive(
    st.one_of(st.integers(-2, 2), st.booleans(), st.none(), WORDS),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(WORDS, inner, max_size=2)),
    max_leaves=4,
)


@dataclass(frozen=True)
class Asked:
    """A call and all that an approval of it stands on."""

    arguments: Any
    resource: str = "shop/refund"
    content: bytes = b""
    agent: str = "clerk"
    release: str = "r1"
    person: str | None = None
    chain: tuple[str, ...] = ()
    task: str | None = None
    policies: tuple[str, ...] = ("limit",)

    def parts(self) -> tuple[Call, Principal]:
        """As the pipeline has them; the instance and the session are those of the moment, and no part of it."""
        who = Principal("default", self.agent, self.release, new_id(), new_id(), 0, self.person, self.chain, self.task)
        return Call(new_id(), CallKind.TOOL, self.resource, self.arguments, "t" * 32), who


ASKED = st.builds(
    Asked,
    st.dictionaries(WORDS, VALUES, max_size=3),
    resource=st.sampled_from(["shop/refund", "shop/pay"]),
    content=st.sampled_from([b"", b"x"]),
    agent=st.sampled_from(["clerk", "cashier"]),
    release=st.sampled_from(["r1", "r2"]),
    person=st.sampled_from([None, "ann@example.com", "bob@example.com"]),
    chain=st.sampled_from([(), ("desk",), ("desk", "lead"), ("lead", "desk")]),
    task=st.sampled_from([None, "T-1", "T-2"]),
    policies=st.sampled_from([("limit",), ("limit", "night")]),
)


class Waiting(Spool):
    """The held calls of a gateway whose policies hold everything, and a control plane that gives each granted approval
    to the first call that claims it. ``sent``: the Events of the last call."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, 1 << 24)
        self.facts = Facts()
        self.sent: list[Event] = []
        self.policies: tuple[str, ...] = ()

    def append(self, event: Event, *, urgent: bool = False) -> None:  # noqa: ARG002 (a Spool's)
        """Hears what is told, and gives what is claimed."""
        self.sent.append(event)
        if event.type == "approval.claimed":
            known = self.facts.current.approvals if self.facts.current is not None else {}
            fact = known[str(event.data["approval_id"])]
            self._know([replace(fact, state="claimed", claim=str(event.data["claim"]))])

    def _know(self, approvals: list[ApprovalFact]) -> None:
        known = {fact.id: fact for fact in approvals}
        self.facts.replace(Snapshot(1, EPOCH, 600.0, {}, "i", approvals=known), {})

    def _judge(self, call: Call, principal: Principal, *, approved: bool = False) -> Verdict:  # noqa: ARG002 (a Judge's)
        effect = Effect.ALLOW if approved else Effect.HOLD
        return Verdict(Decision(effect, "ask", self.policies, ("approve",), "v1"), None)

    def settle(self, asked: Asked, approvals: list[ApprovalFact]) -> Verdict:
        """What becomes of a call that does not wait, with these approvals. Each is made by a gateway of its own, which
        remembers nothing."""
        self.sent.clear()
        self.policies = asked.policies
        self._know(approvals)
        call, principal = asked.parts()
        held = Approvals(self.facts, self, self._judge, Reach(self.facts), EPOCH.timestamp)
        return asyncio.run(held.settle(call, principal, self._judge(call, principal), 0.0, asked.content))

    def asked_for(self) -> ApprovalFact:
        """The approval that was asked for, granted."""
        (event,) = [one for one in self.sent if one.type == "approval.requested"]
        resource, digest, grounds = (str(event.data[name]) for name in ("resource", "digest", "grounds"))
        ident, agent = str(event.data["approval_id"]), event.agent or ""
        return ApprovalFact(ident, "default", agent, resource, digest, grounds, "granted")


@pytest.fixture(scope="module")
def waiting(tmp_path_factory: pytest.TempPathFactory) -> Waiting:
    """One for all examples: approvals are told apart by what they cover."""
    return Waiting(tmp_path_factory.mktemp("spool"))


@pytest.mark.req("R063")
@pytest.mark.asi("ASI09", "An approval covers the call that was shown, for whom and by whom it is made, and no other")
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(ASKED, ASKED)
@example(Asked({"n": 1}), Asked({"n": True}))
@example(Asked({"n": 1}), Asked({"n": "1"}))
@example(Asked({}, person="ann@example.com"), Asked({}, person="bob@example.com"))
@example(Asked({}, chain=("desk", "lead")), Asked({}, chain=("lead", "desk")))
@example(Asked({}, task="T-1"), Asked({}, task="T-2"))
@example(Asked({}, release="r1"), Asked({}, release="r2"))
@example(Asked({}, agent="clerk"), Asked({}, agent="cashier"))
@example(Asked({}, policies=("limit",)), Asked({}, policies=("limit", "night")))
def test_an_approval_covers_no_other_call(waiting: Waiting, approved: Asked, other: Asked) -> None:
    assert waiting.settle(approved, []).pending
    granted = waiting.asked_for()
    same = repr(approved) == repr(other)  # True is not 1 here
    settled = waiting.settle(other, [granted])
    assert settled.allowed is same
    assert [event.type for event in waiting.sent] == ["approval.claimed" if same else "approval.requested"]
    if not same:
        assert settled.approval_id not in (None, granted.id)
    changed = waiting.settle(other, [replace(granted, edited={"changed": 1})])
    assert not changed.allowed, "what was approved with other arguments lets nothing go with its own"
    assert (changed.edited is not None) is same
