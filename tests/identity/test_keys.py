"""Signing keys: the next one is published long before it signs."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tenure.app.publish import Publisher
from tenure.base import durable
from tenure.base.room import World
from tenure.identity import flow, service, signing
from tenure.identity.model import MAX_TTL_S, SigningKey, verify
from tenure.kernel.errors import Refused
from tenure.kernel.json import JsonObject
from tenure.kernel.values import Actor
from tests.sim.clock import FakeClock


def issue(world: World, ttl_s: int = 600) -> str:
    """A token of an agent."""
    with world.begin() as conn:
        return service.issue_agent_token(
            world,
            conn,
            workspace="default",
            agent="clerk",
            release="sha256:1",
            instance="i",
            session="s",
            credential_epoch=1,
            ttl_s=ttl_s,
        ).token


def published(world: World) -> dict[str, JsonObject]:
    """The key set as it is now."""
    with world.read() as conn:
        return service.public_keys(conn)


def keys(world: World, operator: Actor) -> list[SigningKey]:
    """Every key, the newest first."""
    with world.read() as conn:
        return service.list_keys(conn, operator)


def held(world: World, key_set: dict[str, JsonObject], token: str) -> str:
    """The key that signed a token. Raises Refused where the key set does not know it."""
    return verify(token, key_set, service.issuer(world.config), "tenure-gateway", world.clock().timestamp()).key


@pytest.mark.req("R174")
@pytest.mark.parametrize("seed", range(2))
def test_a_verifier_with_the_oldest_key_set_that_it_may_keep_knows_every_token(
    world: World, operator: Actor, clock: FakeClock, seed: int
) -> None:
    service.bootstrap(world)
    clock.advance(60)
    rng = random.Random(seed)  # noqa: S311 (chooses steps)
    kept = [(clock(), published(world))]
    signed: set[str] = set()
    for _ in range(40):
        match rng.choice(("rotate", "rotate", "issue", "wait", "wait", "tend", "start")):
            case "rotate":
                service.rotate_key(world, operator)
            case "wait":
                clock.advance(rng.choice((0.2, 5, 59, 61, 4000)))
            case "tend":
                durable.run_due(world, flow.TEND_KEYS, "a test")
            case "start":
                service.bootstrap(world)
        kept.append((clock(), published(world)))
        oldest = clock() - timedelta(seconds=world.config.jwks_max_age_s)
        token = issue(world)
        for at, key_set in kept:
            if at >= oldest:
                signed.add(held(world, key_set, token))
    assert len(signed) > 2


def test_the_next_key_signs_at_once_when_everybody_has_it_and_else_when_they_will(
    world: World, operator: Actor, clock: FakeClock
) -> None:
    service.bootstrap(world)
    following, first = keys(world, operator)
    assert (following.signs_at, first.signs_at) == (None, clock())
    clock.advance(61)
    turned = service.rotate_key(world, operator)
    assert (turned.kid, turned.signs_at) == (following.kid, clock())
    assert held(world, published(world), issue(world)) == following.kid
    again = service.rotate_key(world, operator)
    assert again.signs_at is not None
    assert again.signs_at - clock() == timedelta(seconds=60.5)
    assert held(world, published(world), issue(world)) == following.kid, "not yet"
    assert service.rotate_key(world, operator) == again, "asked again while it is waited for"
    clock.advance(61)
    assert held(world, published(world), issue(world)) == again.kid


def test_a_revoked_key_is_followed_by_one_that_everybody_knows(world: World, operator: Actor, clock: FakeClock) -> None:
    service.bootstrap(world)
    before = published(world)
    following, first = keys(world, operator)
    with world.begin() as conn:
        service.end_key(world, conn, operator, first.kid)
    token = issue(world)
    assert held(world, before, token) == following.kid
    assert first.kid not in published(world)
    clock.advance(61)
    turned = service.rotate_key(world, operator)
    waiting = service.rotate_key(world, operator)
    with world.begin() as conn:
        service.end_key(world, conn, operator, waiting.kid)
    clock.advance(61)
    assert held(world, published(world), issue(world)) == turned.kid, "it goes on, since its follower has ended"
    assert [key.signs_at for key in keys(world, operator)].count(None) == 1
    waiting = service.rotate_key(world, operator)
    waiting = service.rotate_key(world, operator)
    with world.begin() as conn:
        service.end_key(world, conn, operator, keys(world, operator)[2].kid)
    assert held(world, published(world), issue(world)) == waiting.kid, "it need not wait any more"


def test_the_private_half_of_a_replaced_key_is_forgotten(world: World, operator: Actor, clock: FakeClock) -> None:
    service.bootstrap(world)
    old = issue(world, MAX_TTL_S)
    folder = world.config.data_dir / "keys"
    clock.advance(61)
    service.rotate_key(world, operator)
    assert len(list(folder.glob("agents-*"))) == 3
    assert durable.run_due(world, flow.TEND_KEYS, "a test") == 0, "a token may be being signed with it"
    clock.advance(61)
    assert durable.run_due(world, flow.TEND_KEYS, "a test") == 1
    assert len(list(folder.glob("agents-*"))) == 2
    assert durable.run_due(world, flow.TEND_KEYS, "a test") == 0
    assert held(world, published(world), old)
    clock.advance(MAX_TTL_S)
    with pytest.raises(Refused):
        held(world, published(world), old)
    clock.advance(60)
    assert durable.run_due(world, flow.TEND_KEYS, "a test") == 1
    assert len(published(world)) == 2
    assert timedelta(days=1) < signing.BELIEVED < timedelta(days=1, minutes=2)


@pytest.mark.req("R009", "R174")
def test_a_key_that_another_control_plane_ended_signs_nothing_more_and_the_next_one_does(
    world: World, operator: Actor, tmp_path: Path
) -> None:
    service.bootstrap(world)
    other = replace(world, config=replace(world.config, data_dir=tmp_path / "other"))
    service.bootstrap(other)
    publisher = Publisher(world)
    publisher.refresh()
    known = dict(publisher.snapshot.keys)
    ended = held(world, known, issue(world))
    with other.begin() as conn:
        service.end_key(other, conn, operator, ended)
    after = held(world, known, issue(world))
    assert after != ended, "at once, and with a key that every gateway has already"
    assert held(other, known, issue(other)) not in (ended, after), "the other one has its own"
    private = world.config.data_dir / "keys" / f"agents-{ended}.json"
    assert private.exists(), "that folder is not the other one's"
    publisher.refresh()
    assert not private.exists()
    assert ended not in publisher.snapshot.keys
    assert len(publisher.snapshot.keys) == 4, "each has one that signs and one that is next"


def test_what_signs_goes_on_without_being_asked_for_a_token(world: World, operator: Actor, tmp_path: Path) -> None:
    service.bootstrap(world)
    other = replace(world, config=replace(world.config, data_dir=tmp_path / "other"))
    service.bootstrap(other)
    publisher = Publisher(world)
    publisher.refresh()
    ended = held(world, published(world), issue(world))
    with other.begin() as conn:
        service.end_key(other, conn, operator, ended)
    publisher.refresh()
    with world.read() as conn:
        assert signing.signing_key(world, conn)["kid"] in publisher.snapshot.keys
