"""Passwords: what is kept of them, who is slowed down by guessing and who is not."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
import sqlalchemy as sa
from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from tenure.base.db import metadata
from tenure.base.room import World
from tenure.identity import logins, passwords, people, service
from tenure.identity.model import Session
from tenure.kernel.errors import Refused
from tenure.kernel.values import PEOPLE, Actor
from tests.sim.clock import FakeClock

GOOD = "four words nobody says"
HOME = logins.Visitor("10.0.0.1", "a browser")
ELSEWHERE = logins.Visitor("10.6.6.6", "a robot")
EMAIL = service.FIRST_OPERATOR


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Argon2id at its lowest cost, where a test is about who may guess and not about what a guess costs."""
    monkeypatch.setattr(passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    monkeypatch.setattr(passwords, "_NOBODY", passwords._nobody())


@pytest.fixture
def op(world: World) -> Actor:
    """The first operator, of an installation that was just started."""
    return Actor("default", f"person:{service.bootstrap(world).email}", PEOPLE)


def _by_link(world: World, op: Actor) -> Session:
    return logins.login(world, logins.login_link(world, op, EMAIL).code, HOME)


def _set(world: World, op: Actor, password: str = GOOD, current: str = "", session: Session | None = None) -> Session:
    session = session or _by_link(world, op)
    asyncio.run(passwords.set_password(world, op, session.token, password, current))
    return session


def _login(world: World, password: str = GOOD, email: str = EMAIL, **more: Any) -> passwords.LoggedIn:
    facts: dict[str, Any] = {"workspace": "default", "visitor": HOME, "device": ""} | more
    return asyncio.run(passwords.login(world, email, password, **facts))


def _code(world: World, *args: Any, **more: Any) -> str:
    with pytest.raises(Refused) as refused:
        _login(world, *args, **more)
    return refused.value.code


def test_a_password_logs_in_and_only_its_argon2id_hash_is_kept(world: World, op: Actor) -> None:
    _set(world, op)
    found = _login(world, email=f"  {EMAIL.upper()} ")
    assert service.authenticate(world, None, found.session.token) == op
    with world.read() as conn:
        kept = "".join(repr(tuple(row)) for table in metadata.sorted_tables for row in conn.execute(sa.select(table)))
    assert "$argon2id$v=19$m=65536,t=3,p=4$" in kept
    for secret in (GOOD, found.session.token, found.device):
        assert secret not in kept
    assert GOOD not in repr(found)


@pytest.mark.usefixtures("quick")
def test_whatever_is_wrong_is_told_in_the_same_words(world: World, op: Actor) -> None:
    _set(world, op)
    people.add_person(world, op, "ann@example.com", ["viewer"])
    said = set()
    for email, password in ((EMAIL, "wrong wrong wrong"), ("nobody@example.com", GOOD), ("ann@example.com", GOOD)):
        with pytest.raises(Refused) as refused:
            _login(world, password, email)
        said.add((refused.value.code, refused.value.status, refused.value.message, refused.value.fix))
        assert GOOD not in str(refused.value)
    assert len(said) == 1
    assert _code(world, workspace="nowhere") == "bad_login"


@pytest.mark.usefixtures("quick")
def test_an_address_that_guesses_is_slowed_down(world: World, op: Actor, clock: FakeClock) -> None:
    _set(world, op)
    for number in range(passwords.PER_ADDRESS):
        assert _code(world, "guess guess guess", f"p{number}@example.com", visitor=ELSEWHERE) == "bad_login"
    assert _code(world, "one guess more", "other@example.com", visitor=ELSEWHERE) == "too_many_attempts"
    assert _login(world), "somebody else at another address is not slowed down"
    clock.advance(601)
    assert _code(world, "after a while", visitor=ELSEWHERE) == "bad_login"


@pytest.mark.usefixtures("quick")
def test_guessing_from_everywhere_does_not_lock_out_whose_account_it_is(world: World, op: Actor) -> None:
    _set(world, op)
    device = _login(world).device
    for number in range(passwords.PER_ACCOUNT):
        assert _code(world, "guess guess guess", visitor=logins.Visitor(f"10.1.1.{number}")) == "bad_login"
    assert _code(world, visitor=logins.Visitor("10.9.9.9")) == "too_many_attempts", "not even with the right one"
    assert _code(world, visitor=logins.Visitor("10.9.9.8"), device="made up") == "too_many_attempts"
    assert _login(world, visitor=logins.Visitor("10.9.9.7"), device=device), "from a browser that logged in before"
    assert _by_link(world, op), "and by a link"


@pytest.mark.usefixtures("quick")
def test_a_device_that_guesses_is_slowed_down_too(world: World, op: Actor) -> None:
    _set(world, op)
    device = _login(world).device
    for number in range(passwords.PER_DEVICE):
        assert (
            _code(world, "guess guess guess", device=device, visitor=logins.Visitor(f"10.2.2.{number}")) == "bad_login"
        )
    assert _code(world, device=device, visitor=logins.Visitor("10.3.3.3")) == "too_many_attempts"


@pytest.mark.parametrize(
    "password",
    ["", "short", "x" * 11, "x" * 129, "aaaaaaaaaaaa", "abcabcabcabcabc", "operator@localhost", "operator2026!!"],
)
def test_a_password_that_would_be_guessed_is_refused(world: World, op: Actor, password: str) -> None:
    with pytest.raises(Refused) as refused:
        _set(world, op, password)
    assert refused.value.code == "weak_password"
    assert not password or password not in refused.value.message


@pytest.mark.usefixtures("quick")
def test_changing_takes_the_old_one_and_ends_the_other_sessions(world: World, op: Actor, clock: FakeClock) -> None:
    _set(world, op)
    first, second = _login(world).session, _login(world).session
    with pytest.raises(Refused) as refused:
        _set(world, op, "another four words", "not the old one", first)
    assert refused.value.code == "bad_login"
    _set(world, op, "another four words", GOOD, first)
    assert service.authenticate(world, None, first.token)
    assert service.authenticate(world, None, second.token) is None
    assert _code(world) == "bad_login"
    link = _by_link(world, op)
    clock.advance(passwords.FRESH.total_seconds() + 1)
    with pytest.raises(Refused):
        _set(world, op, "a third set of words", "", link)
    _set(world, op, "a third set of words", "", _by_link(world, op))  # who forgot it has a fresh login link
    assert _login(world, "a third set of words")


@pytest.mark.usefixtures("quick")
def test_who_is_removed_has_no_way_in(world: World, op: Actor) -> None:
    people.add_person(world, op, "ann@example.com", ["operator"])
    ann = Actor("default", "person:ann@example.com", PEOPLE)
    _set(world, op)
    people.remove_person(world, ann, EMAIL)
    assert _code(world) == "bad_login"
    people.add_person(world, ann, EMAIL, ["viewer"])
    assert _code(world) == "bad_login", "who comes back begins anew"


@pytest.mark.usefixtures("quick")
def test_not_more_than_a_few_are_reckoned_at_once(world: World, op: Actor) -> None:
    _set(world, op)

    async def crowd() -> list[Any]:
        tries = [
            asyncio.ensure_future(
                passwords.login(
                    world,
                    f"p{n}@example.com",
                    GOOD,
                    workspace="default",
                    visitor=logins.Visitor(f"10.4.4.{n}"),
                    device="",
                )
            )
            for n in range(40)
        ]
        waiting = set(tries)
        while len(waiting) > 18:  # two are reckoned, sixteen wait
            _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        go_on.set()
        return await asyncio.gather(*tries, return_exceptions=True)

    go_on = threading.Event()
    for _ in range(2):  # both that reckon are at it, for as long as the crowd needs to arrive
        passwords._pool.submit(go_on.wait, 100)
    codes = [error.code for error in asyncio.run(crowd())]
    assert (codes.count("busy"), codes.count("bad_login")) == (22, 18)


def test_what_an_unknown_account_is_held_against_costs_as_much_as_a_password() -> None:
    hasher = PasswordHasher()
    assert not hasher.check_needs_rehash(passwords._NOBODY), "other costs would tell who has an account"
    with pytest.raises(VerifyMismatchError):
        hasher.verify(passwords._NOBODY, GOOD)
