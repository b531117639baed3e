"""The engine that every route, verb and page asks: roles as Cedar policies, scopes that only narrow."""

from __future__ import annotations

import ast
import itertools
from pathlib import Path

import pytest

from tenure.base import access
from tenure.base.access import ACTIONS, Thing, check_scopes, may, permit
from tenure.kernel.errors import Refused
from tenure.kernel.values import PEOPLE, Actor, Role

SOURCE = Path(access.__file__).resolve().parents[1]
READ = {action for action in ACTIONS if action.endswith(":read")} - {"agent:read"}
OWN = {"tokens:manage", "sessions:manage"}
# What each role may do besides reading and looking after its own credentials: the table by hand.
MORE = {
    Role.VIEWER: set(),
    Role.AUDITOR: set(),
    Role.OWNER: {"agents:apply", "events:import"},
    Role.APPROVER: {
        *("agents:decide", "agents:promote", "agents:suspend", "agents:resume"),
        *("approvals:decide", "precedents:propose", "precedents:revoke", "tools:switch", "tools:decide"),
    },
    Role.OPERATOR: {
        *("agents:apply", "agents:change", "agents:ask", "agents:try", "agents:suspend", "agents:resume"),
        *("agents:retire", "agents:finish", "agents:run", "instances:tend", "approvals:decide", "breakers:reset"),
        *("precedents:propose", "precedents:revoke"),
        *(
            "policies:reload",
            "policies:publish",
            "events:import",
            "people:manage",
            "people:link",
            "services:manage",
            "tools:switch",
            "limits:set",
        ),
        *("workspaces:create", "keys:rotate"),
    },
}
ANSWERS = {"agents:change", "agents:ask", "agents:try", "agents:suspend", "agents:retire", "agents:run"}


def _person(
    *roles: Role, workspace: str = "w", name: str = "person:ann@x", scopes: tuple[str, ...] | None = None
) -> Actor:
    return Actor(workspace, name, frozenset(roles), scopes=scopes)


@pytest.mark.req("R038")
@pytest.mark.parametrize("role", sorted(PEOPLE))
def test_a_role_may_do_exactly_this(role: Role) -> None:
    known = {action for action in ACTIONS if may(_person(role), action)}
    expected = READ | OWN | MORE[role]
    missing = {action for action in known ^ expected if action in MORE[role] or action not in known}
    assert not missing
    # What came since with a slice of its own may be there, and is in docs/roles.md; nothing of this table may be more.
    assert not (known - expected) & set().union(*MORE.values())


def test_an_owner_answers_for_the_own_agents_only() -> None:
    for action in ANSWERS:
        assert may(_person(Role.OWNER), action, Thing(owners=("Ann@X", "bob@x"), agent="clerk"))
        assert not may(_person(Role.OWNER), action, Thing(owners=("bob@x",), agent="clerk"))
        assert not may(_person(Role.VIEWER), action, Thing(owners=("ann@x",), agent="clerk"))


@pytest.mark.parametrize("action", list(ACTIONS))
def test_nobody_reaches_into_another_workspace(action: str) -> None:
    everything = _person(*Role)
    assert not may(everything, action, Thing(workspace="other", owners=("ann@x",), started_by="person:ann@x"))


def test_oversight_and_credentials_are_a_persons() -> None:
    for kind in ("service:ci", "agent:clerk", "gateway:local", "system:x"):
        program = _person(*Role, name=kind)
        for action in ("approvals:decide", "breakers:reset", "tokens:manage", "sessions:manage", "people:link"):
            assert not may(program, action), (kind, action)


def test_an_agent_reads_itself_and_nothing_else() -> None:
    agent = Actor("w", "agent:clerk")
    assert may(agent, "agent:read", Thing(agent="clerk"))
    assert not may(agent, "agent:read", Thing(agent="boss"))
    assert [action for action in ACTIONS if may(agent, action)] == ["agents:spawn", "spans:send"]


def test_scopes_narrow_and_never_add() -> None:
    for scopes in (("agents:read",), ("agents:*",), ("*:read",), ("people:manage",), ()):
        for role in PEOPLE:
            free, bound = _person(role), _person(role, scopes=scopes)
            for action in ACTIONS:
                covered = bool(set(access.scope_names(action)) & set(scopes))
                assert may(bound, action) == (covered and may(free, action)), (role, action, scopes)


def test_a_scope_covers_something_and_no_more_than_who_asks_for_it() -> None:
    assert check_scopes(["agents:read", "agents:read"], None) == ("agents:read",)
    assert check_scopes(["agents:read"], ("agents:*",)) == ("agents:read",)
    for scopes, holder, code in (
        (["agents:fly"], None, "bad_scope"),
        ([], None, "bad_scope"),
        (["*"], None, "bad_scope"),
        (["agents:*"], ("agents:read",), "scope_too_wide"),
        (["people:manage"], ("agents:*", "*:read"), "scope_too_wide"),
    ):
        with pytest.raises(Refused) as refused:
            check_scopes(scopes, holder)
        assert refused.value.code == code


def test_a_refusal_says_who_may() -> None:
    for actor, action, words in (
        (_person(Role.VIEWER), "agents:decide", "it takes the role approver"),
        (_person(Role.VIEWER), "agents:retire", "operator or owner of the agent"),
        (_person(Role.OPERATOR, scopes=("agents:read",)), "people:manage", "scopes of this credential do not cover it"),
        (_person(Role.OPERATOR), "gateway:facts", "gateway"),
    ):
        with pytest.raises(Refused, match=words) as refused:
            permit(actor, action)
        assert (refused.value.code, refused.value.status) == ("not_permitted", 403)


def test_every_action_is_asked_for_somewhere_and_every_question_is_an_action() -> None:
    asked = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in ACTIONS:
                asked.add(node.value) if path.name != "access.py" else None
    by_table = {f"agents:{step}" for step in ("decide", "ask", "provision", "try", "promote", "suspend")}
    by_table |= {"agents:resume", "agents:retire", "agents:finish"}  # in registry.model.TRANSITIONS without the family
    assert set(ACTIONS) - asked - by_table == set()
    for left, right in itertools.pairwise(access.table()):
        assert left[0] != right[0]
