"""Logging in, sessions, API tokens, people: on both databases."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from tenure.base import events
from tenure.base.db import metadata
from tenure.base.room import World
from tenure.identity import logins, people, service, store, tokens
from tenure.identity.model import Session
from tenure.kernel.errors import Refused
from tenure.kernel.values import Actor, Event, Role
from tests.sim.clock import FakeClock


def _told(world: World) -> list[Event]:
    with world.read() as conn:
        return [logged.event for logged in events.read(conn, 0)]


def _everything_kept(world: World) -> str:
    """Every value of every row of the database, as text."""
    with world.read() as conn:
        return "\n".join(repr(tuple(row)) for table in metadata.sorted_tables for row in conn.execute(sa.select(table)))


@pytest.fixture
def op(world: World) -> Actor:
    """The first operator, of an installation that was just started."""
    boot = service.bootstrap(world)
    return Actor("default", f"person:{boot.email}", frozenset({Role.OPERATOR}))


def _login(world: World, op: Actor, email: str = service.FIRST_OPERATOR) -> Session:
    return logins.login(world, logins.login_link(world, op, email).code, logins.Visitor("10.0.0.1"))


def test_a_code_opens_one_session_and_the_database_keeps_neither(world: World, op: Actor) -> None:
    link = logins.login_link(world, op, service.FIRST_OPERATOR)
    session = logins.login(world, link.code, logins.Visitor("10.0.0.1"))
    assert link.url == f"{world.config.control_url}/login?code={link.code}"
    actor = service.authenticate(world, None, session.token)
    assert actor is not None
    assert actor.name == f"person:{service.FIRST_OPERATOR}"
    assert Role.OPERATOR in actor.roles
    assert Role.SYSTEM not in actor.roles
    kept = _everything_kept(world)
    assert link.code not in kept
    assert session.token not in kept
    assert link.code not in repr(link)
    assert session.token not in repr(session)
    with pytest.raises(Refused) as refused:
        logins.login(world, link.code, logins.Visitor("10.0.0.1"))
    assert (refused.value.code, refused.value.status) == ("bad_code", 401)
    assert link.code not in str(refused.value)
    assert "person.logged_in" in {event.type for event in _told(world)}


def test_who_made_a_login_link_for_whom_is_told(world: World, op: Actor) -> None:
    people.add_person(world, op, "ann@example.com", ["approver"])
    link = logins.login_link(world, op, "ann@example.com")
    (told,) = [event for event in _told(world) if event.type == "login_link.created"]
    assert (told.actor, told.data) == (op.name, {"email": "ann@example.com"})
    assert link.code not in repr(told)


def test_a_code_used_twice_at_once_opens_one_session(world: World, op: Actor) -> None:
    code = logins.login_link(world, op, service.FIRST_OPERATOR).code

    def attempt(number: int) -> bool:
        try:
            logins.login(world, code, logins.Visitor(f"10.0.1.{number}"))
        except Refused:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(8))) == 1


def test_a_code_is_good_for_ten_minutes(world: World, op: Actor, clock: FakeClock) -> None:
    late, early = (logins.login_link(world, op, service.FIRST_OPERATOR).code for _ in range(2))
    clock.advance(599)
    logins.login(world, early, logins.Visitor("10.0.0.1"))
    clock.advance(1)
    with pytest.raises(Refused, match="10 minutes"):
        logins.login(world, late, logins.Visitor("10.0.0.1"))


def test_guessing_is_slowed_down_for_the_one_who_guesses(world: World, op: Actor, clock: FakeClock) -> None:
    for number in range(logins.MAX_FAILURES):
        with pytest.raises(Refused) as refused:
            logins.login(world, f"guess {number}", logins.Visitor("10.0.0.66"))
        assert refused.value.code == "bad_code"
    with pytest.raises(Refused) as refused:
        logins.login(world, "one guess more", logins.Visitor("10.0.0.66"))
    assert (refused.value.code, refused.value.status) == ("too_many_attempts", 429)
    # Whoever shares the address and has a right code is not kept out by the one who guesses.
    assert logins.login(world, logins.login_link(world, op, service.FIRST_OPERATOR).code, logins.Visitor("10.0.0.66"))
    clock.advance(601)
    with pytest.raises(Refused) as refused:
        logins.login(world, "a guess after the window", logins.Visitor("10.0.0.66"))
    assert refused.value.code == "bad_code"


def test_login_links_are_limited(world: World, op: Actor, clock: FakeClock) -> None:
    for _ in range(logins.MAX_CODES - 1):  # the start made one
        logins.login_link(world, op, service.FIRST_OPERATOR)
    with pytest.raises(Refused) as refused:
        logins.login_link(world, op, service.FIRST_OPERATOR)
    assert refused.value.code == "too_many_links"
    clock.advance(3601)
    assert logins.login_link(world, op, service.FIRST_OPERATOR)


def test_a_session_ends_by_time_or_by_logging_out(world: World, op: Actor, clock: FakeClock) -> None:
    first, second = _login(world, op), _login(world, op)
    logins.logout(world, first.token)
    assert service.authenticate(world, None, first.token) is None
    for _ in range(11):  # in use all the time
        clock.advance(3600)
        assert service.authenticate(world, None, second.token) is not None
    clock.advance(3599)
    assert service.authenticate(world, None, second.token) is not None
    clock.advance(1)
    assert service.authenticate(world, None, second.token) is None
    logins.logout(world, None)


@pytest.mark.parametrize("cookie", ["", "x", "tnr_x", "\x00", "é" * 10])
def test_a_stranger_is_nobody(world: World, op: Actor, cookie: str) -> None:
    assert op
    assert service.authenticate(world, None, cookie) is None
    for header in (
        "",
        "Bearer",
        "Bearer ",
        "Basic abc",
        f"Bearer {cookie}",
        "Bearer tnr_unknown",
        "Bearer tng_unknown",
    ):
        assert service.authenticate(world, header, None) is None


def test_a_bad_header_is_not_made_good_by_a_cookie(world: World, op: Actor) -> None:
    session = _login(world, op)
    assert service.authenticate(world, "Bearer tnr_wrong", session.token) is None


def test_people_have_the_roles_they_have_now(world: World, op: Actor) -> None:
    person = people.add_person(world, op, "Ann@Example.com", ["viewer"])
    assert person.email == "ann@example.com"
    session = _login(world, op, "ann@example.com")
    told = len(_told(world))
    assert people.add_person(world, op, "ann@example.com", ["viewer"]) == person
    assert len(_told(world)) == told, "twice the same changes nothing"
    people.add_person(world, op, "ann@example.com", ["approver", "viewer"])
    actor = service.authenticate(world, None, session.token)
    assert actor is not None
    assert actor.roles == {Role.APPROVER, Role.VIEWER}
    kinds = [event.type for event in _told(world)]
    assert kinds.count("person.created") == 2
    assert kinds.count("person.changed") == 1
    with world.read() as conn:
        assert {p.email for p in people.list_people(conn, "default")} == {service.FIRST_OPERATOR, "ann@example.com"}


def test_only_operators_let_people_in_and_the_last_one_stays(world: World, op: Actor) -> None:
    people.add_person(world, op, "ann@example.com", ["viewer"])
    ann = Actor("default", "person:ann@example.com", frozenset({Role.VIEWER}))
    for attempt in (
        lambda: people.add_person(world, ann, "eve@example.com", ["viewer"]),
        lambda: logins.login_link(world, ann, service.FIRST_OPERATOR),
        lambda: service.rotate_key(world, ann),
    ):
        with pytest.raises(Refused) as refused:
            attempt()
        assert refused.value.code == "not_permitted"
    assert logins.login_link(world, ann, "ann@example.com"), "her own she may"
    with pytest.raises(Refused) as refused:
        people.add_person(world, op, service.FIRST_OPERATOR, ["viewer"])
    assert refused.value.code == "last_operator"
    people.add_person(world, op, "ann@example.com", ["operator"])
    people.add_person(world, op, service.FIRST_OPERATOR, ["viewer"])
    with pytest.raises(Refused) as refused:
        logins.login_link(world, op, "nobody@example.com")
    assert refused.value.status == 404


def test_a_person_of_another_workspace_is_not_here(world: World, op: Actor) -> None:
    elsewhere = Actor("other", op.name, frozenset({Role.OPERATOR}))
    with world.read() as conn:
        assert people.list_people(conn, "other") == []
    with pytest.raises(Refused):
        logins.login_link(world, elsewhere, service.FIRST_OPERATOR)


def test_api_tokens_of_people(world: World, op: Actor, clock: FakeClock) -> None:
    secret, kept = tokens.create_token(world, op, "ci", ttl_s=100)
    forever, other = tokens.create_token(world, op, "laptop")
    assert secret.startswith("tnr_")
    assert secret not in _everything_kept(world)
    actor = service.authenticate(world, f"bearer {secret}", None)
    assert actor is not None
    assert actor.name == op.name
    with world.read() as conn:
        assert {token.name for token in tokens.list_tokens(conn, op)} >= {"ci", "laptop"}
    clock.advance(100)
    assert service.authenticate(world, f"Bearer {secret}", None) is None
    stranger = Actor("default", "person:eve@example.com")
    with pytest.raises(Refused):
        tokens.revoke_token(world, stranger, other.id)
    tokens.revoke_token(world, op, other.id)
    assert service.authenticate(world, f"Bearer {forever}", None) is None
    with pytest.raises(Refused):
        tokens.revoke_token(world, op, other.id)
    assert kept.expires_at is not None
    kinds = [event.type for event in _told(world)]
    assert kinds.count("api_token.created") == 2
    assert kinds.count("api_token.revoked") == 1


@pytest.mark.parametrize(("name", "ttl_s"), [("", None), ("x" * 101, None), ("a\nb", None), ("a@b", None), ("ok", 0)])
def test_an_api_token_needs_a_sound_name_and_life(world: World, op: Actor, name: str, ttl_s: int | None) -> None:
    with pytest.raises(Refused):
        tokens.create_token(world, op, name, ttl_s)
    with pytest.raises(Refused) as refused:
        tokens.create_token(world, Actor("default", "gateway:local", frozenset({Role.GATEWAY})), "ok")
    assert refused.value.code == "not_permitted"


def test_old_codes_are_forgotten(world: World, op: Actor, clock: FakeClock) -> None:
    clock.advance(2 * 86_400)
    logins.login_link(world, op, service.FIRST_OPERATOR)
    with world.read() as conn:
        assert conn.execute(sa.select(sa.func.count()).select_from(store.code_table)).scalar_one() == 1
