"""Sequence rules that do not run yet, over recorded sessions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tenure.kernel.values import Call, CallKind, Decision, Effect
from tenure.policy.cases import read_cases
from tenure.policy.model import Found, compile_bundle
from tenure.policy.past.replay import Past, replay

PERMIT = ("all.cedar", '@id("all") permit (principal, action, resource);')
RULES = """
rules:
  - {id: two, deny: {tool: shop/refund}, count: {tool: shop/refund, failed: ignored}, reached: 2}
  - {id: secret, hold: {tool: mail/send}, once: {tool: files/read, returned: [secret]}}
"""
TEST = """
agents: {clerk: {tools: [shop/refund, mail/send, files/read]}}
tests: [{name: t, agent: clerk, tool: mail/send, expect: allow}]
"""


def past(
    index: int, tool: str, session: str = "s", *, effect: Effect = Effect.ALLOW, failed: bool = False, back: str = ""
) -> Past:
    at = datetime(2026, 3, 4, tzinfo=UTC) + timedelta(seconds=index)
    found = Found((), (back,) if back else ())
    call = Call(f"c{index}", CallKind.TOOL, tool)
    return Past(call.id, at, "clerk", session, call, None, (), "f", found, False, Decision(effect, ""), True, failed)


@pytest.mark.req("R052")
def test_a_candidate_says_which_calls_of_recorded_sessions_it_would_have_refused() -> None:
    agent = read_cases([("a.test.yaml", TEST)])[0][0].agent
    refund = "shop/refund"
    pasts = [
        *(past(0, refund), past(1, refund, failed=True), past(2, refund, effect=Effect.DENY), past(3, refund)),
        *(past(4, refund), past(5, refund), past(6, refund, "other")),
        *(
            past(7, "mail/send"),
            past(8, "files/read", back="secret"),
            past(9, "mail/send"),
            past(10, "mail/send", "other"),
        ),
    ]
    found = replay(pasts, lambda _: agent, compile_bundle([PERMIT, ("a.sequence.yaml", RULES)]))
    changed = {change.id: (change.after, change.policies) for change in found.changes if change.before is Effect.ALLOW}
    assert changed == {
        "c4": (Effect.DENY, ("two",)),
        "c5": (Effect.DENY, ("two",)),
        "c9": (Effect.HOLD, ("secret",)),
    }
