"""Workspaces, and people who belong to more than one."""

from __future__ import annotations

import pytest

from tenure.base.room import World
from tenure.identity import logins, people, service, tokens
from tenure.identity.model import Session, secret_hash
from tenure.kernel.errors import Refused
from tenure.kernel.values import PEOPLE, Actor, Role

HERE = logins.Visitor("10.0.0.1", "a browser")


@pytest.fixture
def op(world: World) -> Actor:
    """The first operator, of an installation that was just started."""
    boot = service.bootstrap(world)
    return Actor("default", f"person:{boot.email}", PEOPLE)


@pytest.fixture
def beta_op(world: World, op: Actor) -> Actor:
    """Bea, the only person of workspace beta."""
    made = people.create_workspace(world, op, "beta")
    people.add_person(world, made.actor, "bea@example.com", ["operator"])
    bea = Actor("beta", "person:bea@example.com", frozenset({Role.OPERATOR}))
    people.remove_person(world, bea, service.FIRST_OPERATOR)
    return bea


def _logged_in(world: World, op: Actor, email: str) -> Session:
    return logins.login(world, logins.login_link(world, op, email).code, HERE)


def _who(world: World, session: Session) -> Actor | None:
    return service.authenticate(world, None, session.token)


def test_who_makes_a_workspace_has_every_role_in_it_and_may_switch(world: World, op: Actor) -> None:
    people.create_workspace(world, op, "beta")
    with world.read() as conn:
        assert [place.workspace for place in people.places(conn, op)] == ["beta", "default"]
        assert service.workspaces(conn) == ["beta", "default"]
    before = _logged_in(world, op, service.FIRST_OPERATOR)
    after = logins.enter(world, before.token, "beta", HERE)
    assert _who(world, before) is None, "the cookie that was there before opens nothing"
    assert _who(world, after) == Actor("beta", op.name, PEOPLE)
    assert after.expires_at == before.expires_at, "switching does not lengthen a session"
    with pytest.raises(Refused) as refused:
        logins.enter(world, after.token, "gamma", HERE)
    assert refused.value.status == 404


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a b", "a/b", "..", "a" * 64, "ä"])
def test_a_workspace_has_a_name_that_is_safe_everywhere(world: World, op: Actor, name: str) -> None:
    with pytest.raises(Refused) as refused:
        people.create_workspace(world, op, name)
    assert refused.value.code == "bad_workspace"


def test_a_name_is_given_once_and_by_the_installations_operators_only(world: World, op: Actor, beta_op: Actor) -> None:
    with pytest.raises(Refused) as refused:
        people.create_workspace(world, op, "beta")
    assert refused.value.code == "workspace_exists"
    for actor in (beta_op, Actor("default", "person:v@example.com", frozenset({Role.VIEWER}))):
        with pytest.raises(Refused) as refused:
            people.create_workspace(world, actor, "gamma")
        assert refused.value.code == "not_permitted"
    with pytest.raises(Refused):
        service.rotate_key(world, beta_op)


def test_an_address_does_not_make_a_person_of_one_workspace_one_of_another(
    world: World, op: Actor, beta_op: Actor
) -> None:
    """Beta's operator gives itself a login link for the address of the other workspace's operator, and gets no further
    than beta."""
    people.add_person(world, beta_op, service.FIRST_OPERATOR, ["viewer"])
    session = _logged_in(world, beta_op, service.FIRST_OPERATOR)
    actor = _who(world, session)
    assert actor is not None
    assert actor.workspace == "beta"
    with pytest.raises(Refused) as refused:
        logins.enter(world, session.token, "default", HERE)
    assert refused.value.status == 404
    with pytest.raises(Refused) as refused:
        tokens.create_token(world, actor, "mine", workspace="default")
    assert refused.value.status == 404
    with world.read() as conn:
        assert [place.workspace for place in people.places(conn, actor)] == ["beta"]
        assert [place.workspace for place in people.places(conn, op)] == ["default"]


def test_joining_takes_the_session_of_one_and_the_code_of_the_other(world: World, op: Actor, beta_op: Actor) -> None:
    people.add_person(world, beta_op, service.FIRST_OPERATOR, ["viewer"])
    stale = _logged_in(world, beta_op, service.FIRST_OPERATOR)
    code = logins.login_link(world, beta_op, service.FIRST_OPERATOR).code
    with pytest.raises(Refused) as refused:
        people.join(world, op, secret_hash("a guess"))
    assert refused.value.code == "bad_code"
    joined = people.join(world, op, secret_hash(code))
    assert (joined.workspace, joined.home, joined.roles) == ("beta", "default", frozenset({Role.VIEWER}))
    assert _who(world, stale) is None, "what was opened as beta's own person is over"
    session = logins.enter(world, _logged_in(world, op, service.FIRST_OPERATOR).token, "beta", HERE)
    assert _who(world, session) == Actor("beta", op.name, frozenset({Role.VIEWER}))
    with pytest.raises(Refused) as refused:
        logins.login_link(world, beta_op, service.FIRST_OPERATOR)
    assert refused.value.code == "home_elsewhere", "beta may not say who somebody of another workspace is"
    secret, _ = tokens.create_token(world, op, "beta-shell", workspace="beta")
    assert service.authenticate(world, f"Bearer {secret}", None) == Actor("beta", op.name, frozenset({Role.VIEWER}))


def test_a_code_for_somebody_else_is_no_way_in(world: World, op: Actor, beta_op: Actor) -> None:
    code = logins.login_link(world, beta_op, "bea@example.com").code
    with pytest.raises(Refused) as refused:
        people.join(world, op, secret_hash(code))
    assert refused.value.code == "other_person"
    assert logins.login(world, code, HERE).actor == beta_op, "and it is not used up by that"


def test_who_is_removed_has_nothing_left_here_or_where_this_was_the_home(
    world: World, op: Actor, beta_op: Actor
) -> None:
    people.add_person(world, op, "ann@example.com", ["viewer"])
    ann = Actor("default", "person:ann@example.com", frozenset({Role.VIEWER}))
    people.add_person(world, beta_op, "ann@example.com", ["owner"])
    people.join(world, ann, secret_hash(logins.login_link(world, beta_op, "ann@example.com").code))
    here = _logged_in(world, op, "ann@example.com")
    there = logins.enter(world, _logged_in(world, op, "ann@example.com").token, "beta", HERE)
    secrets = [tokens.create_token(world, ann, "t", workspace=name)[0] for name in ("default", "beta")]
    assert _who(world, there) is not None
    link = logins.login_link(world, op, "ann@example.com")
    people.remove_person(world, op, "ann@example.com")
    assert _who(world, here) is None
    assert _who(world, there) is None
    assert [service.authenticate(world, f"Bearer {secret}", None) for secret in secrets] == [None, None]
    with pytest.raises(Refused):
        logins.login(world, link.code, HERE)
    with pytest.raises(Refused) as refused:
        people.remove_person(world, op, service.FIRST_OPERATOR)
    assert refused.value.code == "last_operator"
