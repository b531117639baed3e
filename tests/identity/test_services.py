"""Service accounts, their keys, and people's API tokens with scopes: on both databases."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from tenure.base.db import metadata
from tenure.base.room import World
from tenure.identity import logins, people, service, tokens
from tenure.kernel.errors import Refused
from tenure.kernel.values import PEOPLE, Actor, Role
from tests.sim.clock import FakeClock


@pytest.fixture
def op(world: World) -> Actor:
    """The first operator, of an installation that was just started."""
    return Actor("default", f"person:{service.bootstrap(world).email}", PEOPLE)


def _who(world: World, secret: str) -> Actor | None:
    return service.authenticate(world, f"Bearer {secret}", None)


@pytest.mark.req("R037", "R038")
def test_a_key_is_shown_once_expires_tells_its_use_and_dies_at_once(world: World, op: Actor, clock: FakeClock) -> None:
    tokens.put_service(world, op, "ci", ["operator"])
    secret, made = tokens.create_key(world, op, "ci", "deploy", ttl_s=3600, scopes=["agents:*", "*:read"])
    assert secret.startswith(made.prefix)
    assert len(made.prefix) < len(secret) / 3
    with world.read() as conn:
        kept = "".join(repr(tuple(row)) for table in metadata.sorted_tables for row in conn.execute(sa.select(table)))
        assert [key.last_used_at for key in tokens.keys(conn, op, "ci")] == [None]
    assert secret not in kept
    actor = Actor("default", "service:ci", frozenset({Role.OPERATOR}), scopes=("*:read", "agents:*"))
    assert _who(world, secret) == actor
    with world.read() as conn:
        assert [key.last_used_at for key in tokens.keys(conn, op, "ci")] == [clock()]
    tokens.put_service(world, op, "ci", ["viewer"])
    now = _who(world, secret)
    assert now is not None
    assert now.roles == {Role.VIEWER}, "a removed role bites on the next call"
    tokens.revoke_key(world, op, "ci", made.id)
    assert _who(world, secret) is None
    later, _ = tokens.create_key(world, op, "ci", "deploy", ttl_s=3600, scopes=["agents:read"])
    clock.advance(timedelta(hours=1).total_seconds())
    assert _who(world, later) is None
    last, _ = tokens.create_key(world, op, "ci", "deploy", ttl_s=3600, scopes=["agents:read"])
    tokens.remove_service(world, op, "ci")
    assert _who(world, last) is None


def test_what_a_key_may_not(world: World, op: Actor) -> None:
    tokens.put_service(world, op, "ci", ["operator", "approver"])
    secret, _ = tokens.create_key(world, op, "ci", "k", ttl_s=60, scopes=["services:*", "people:*", "tokens:*"])
    robot = _who(world, secret)
    assert robot is not None
    for attempt in (
        lambda: tokens.create_token(world, robot, "mine"),
        lambda: logins.login_link(world, robot, service.FIRST_OPERATOR),
        lambda: service.rotate_key(world, robot),
        lambda: tokens.create_key(world, robot, "ci", "wider", ttl_s=60, scopes=["agents:read"]),
    ):
        with pytest.raises(Refused) as refused:
            attempt()
        assert refused.value.status == 403
    assert people.add_person(world, robot, "ann@example.com", ["viewer"]), "what its scopes cover it may"


@pytest.mark.parametrize(("ttl_s", "scopes"), [(0, ["agents:read"]), (367 * 86_400, ["agents:read"]), (60, [])])
def test_a_key_has_an_end_and_limits(world: World, op: Actor, ttl_s: int, scopes: list[str]) -> None:
    tokens.put_service(world, op, "ci", ["viewer"])
    with pytest.raises(Refused) as refused:
        tokens.create_key(world, op, "ci", "k", ttl_s=ttl_s, scopes=scopes)
    assert refused.value.status == 422
    for name in ("nobody", "CI"):
        with pytest.raises(Refused):
            tokens.create_key(world, op, name, "k", ttl_s=60, scopes=["agents:read"])


def test_a_persons_token_with_scopes_makes_no_wider_one_and_no_session(world: World, op: Actor) -> None:
    secret, made = tokens.create_token(world, op, "narrow", 60, scopes=["tokens:manage", "agents:read"])
    assert made.scopes == ("agents:read", "tokens:manage")
    narrow = _who(world, secret)
    assert narrow is not None
    with pytest.raises(Refused) as refused:
        tokens.create_token(world, narrow, "wide", 60, scopes=["people:manage"])
    assert refused.value.code == "scope_too_wide"
    _, same = tokens.create_token(world, narrow, "same", 60)
    assert same.scopes == made.scopes, "without scopes of its own it has those of the one that made it"
    with pytest.raises(Refused) as refused:
        logins.login_link(world, narrow, service.FIRST_OPERATOR)
    assert refused.value.code == "not_permitted", "a login link would be a way around the scopes"


def test_only_operators_make_service_accounts(world: World, op: Actor) -> None:
    ann = Actor("default", "person:ann@example.com", frozenset({Role.VIEWER}))
    tokens.put_service(world, op, "ci", ["viewer"])
    for attempt in (
        lambda: tokens.put_service(world, ann, "mine", ["operator"]),
        lambda: tokens.remove_service(world, ann, "ci"),
        lambda: tokens.create_key(world, ann, "ci", "k", ttl_s=60, scopes=["agents:read"]),
    ):
        with pytest.raises(Refused) as refused:
            attempt()
        assert refused.value.code == "not_permitted"
    with world.read() as conn:
        assert [found.name for found in tokens.list_services(conn, ann)] == ["ci"]
