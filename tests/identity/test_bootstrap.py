"""The first start, later starts, several at once; the keys it makes and the tokens they sign."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from tenure.base import events, files
from tenure.base.room import World
from tenure.identity import logins, service
from tenure.identity.model import AUDIENCE, LEEWAY_S, MAX_TTL_S, AgentToken, verify
from tenure.kernel.errors import Failed, Refused
from tenure.kernel.values import PEOPLE, Actor, Principal, Role
from tests.sim.clock import FakeClock


def _issue(world: World, ttl_s: int = 600, agent: str = "clerk") -> AgentToken:
    with world.begin() as conn:
        return service.issue_agent_token(
            world,
            conn,
            workspace="default",
            agent=agent,
            release="sha256:ab",
            instance="i1",
            session="s1",
            credential_epoch=3,
            ttl_s=ttl_s,
            on_behalf_of="ann",
        )


def _verify(world: World, token: str) -> Principal:
    with world.read() as conn:
        keys = service.public_keys(conn)
    return verify(token, keys, service.issuer(world.config), AUDIENCE, world.clock().timestamp())


def _secret(world: World, name: str) -> str:
    return (world.config.data_dir / name).read_text().strip()


def _kinds(world: World) -> list[str]:
    with world.read() as conn:
        return [logged.event.type for logged in events.read(conn, 0)]


@pytest.mark.req("R009")
def test_the_first_start_makes_exactly_what_is_needed_and_later_ones_nothing(world: World) -> None:
    first = service.bootstrap(world)
    folder = world.config.data_dir
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.suffix in {".json", ".token"}}
    assert sorted(path.name.split("-")[0] for path in before) == [
        "agents",
        "agents",
        "gateway.token",
        "gateways.json",
        "operator.token",
    ]
    second = service.bootstrap(world)
    after = {path: path.read_bytes() for path in folder.rglob("*") if path.suffix in {".json", ".token"}}
    assert before == after
    assert _kinds(world) == ["workspace.created", "key.created", "key.created", "person.created"]
    assert first.email == second.email
    assert first.login_code
    assert first.login_code not in repr(first)
    assert first.login_code != second.login_code
    assert logins.login(world, first.login_code, logins.Visitor("x")).actor.name == f"person:{first.email}"


def test_secrets_are_files_of_their_owner_alone(world: World) -> None:
    service.bootstrap(world)
    folder = world.config.data_dir
    for path in [*folder.glob("*.token"), *(folder / "keys").iterdir()]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE((folder / "keys").stat().st_mode) == 0o700
    assert not [path for path in folder.rglob(".*") if path.is_file()], "nothing half-written stays behind"


def test_the_token_files_authenticate(world: World) -> None:
    service.bootstrap(world)
    gateway = service.authenticate(world, f"Bearer {_secret(world, 'gateway.token')}", None)
    assert gateway == Actor("default", "gateway:local", frozenset({Role.GATEWAY}))
    person = service.authenticate(world, f"Bearer {_secret(world, 'operator.token')}", None)
    assert person is not None
    assert person.name == "person:operator@localhost"
    assert person.roles == PEOPLE


def test_any_number_may_start_at_once(world: World) -> None:
    with ThreadPoolExecutor(6) as pool:
        starts = list(pool.map(lambda _: service.bootstrap(world), range(6)))
    assert len({start.login_code for start in starts}) == 6
    assert sorted(_kinds(world)) == ["key.created", "key.created", "person.created", "workspace.created"]
    assert len(list((world.config.data_dir / "keys").glob("agents-*"))) == 2
    assert service.authenticate(world, f"Bearer {_secret(world, 'gateway.token')}", None)


def test_a_removed_token_file_is_replaced_and_the_old_token_dies(world: World) -> None:
    service.bootstrap(world)
    old = _secret(world, "gateway.token")
    (world.config.data_dir / "gateway.token").unlink()
    service.bootstrap(world)
    assert _secret(world, "gateway.token") != old
    assert service.authenticate(world, f"Bearer {old}", None) is None
    assert service.authenticate(world, f"Bearer {_secret(world, 'gateway.token')}", None)


def test_a_token_file_with_something_else_in_it_is_refused(world: World) -> None:
    service.bootstrap(world)
    (world.config.data_dir / "gateway.token").write_text("hello\n")
    with pytest.raises(Refused) as refused:
        service.bootstrap(world)
    assert refused.value.code == "bad_token_file"
    assert "hello" not in str(refused.value)


def test_another_data_folder_on_the_same_database_has_keys_and_tokens_of_its_own(world: World, tmp_path: Path) -> None:
    service.bootstrap(world)
    other = replace(world, config=replace(world.config, data_dir=tmp_path / "second"))
    service.bootstrap(other)
    for each in (world, other):
        token = _issue(each).token
        assert _verify(world, token).agent == "clerk"
        assert service.authenticate(world, f"Bearer {_secret(each, 'gateway.token')}", None)
    with world.read() as conn:
        assert len(service.public_keys(conn)) == 4


@pytest.mark.req("R009", "R024")
def test_a_token_is_issued_for_one_instance_and_kept_nowhere(world: World) -> None:
    service.bootstrap(world)
    issued = _issue(world)
    principal = _verify(world, issued.token)
    assert (principal.agent, principal.instance, principal.credential_epoch) == ("clerk", "i1", 3)
    assert principal.on_behalf_of == "ann"
    assert issued.expires_at.timestamp() + LEEWAY_S == principal.expires_at
    actor = service.authenticate(world, f"Bearer {issued.token}", None)
    assert actor is not None
    assert (actor.name, actor.roles, actor.principal) == ("agent:clerk", frozenset(), principal)
    with world.read() as conn:
        event = events.read(conn, 0)[-1].event
    assert (event.type, event.agent, event.instance) == ("token.issued", "clerk", "i1")
    assert issued.token.rsplit(".", 1)[1] not in msgspec.json.encode(event).decode()
    assert issued.token not in repr(issued)


def test_two_tokens_are_told_apart(world: World) -> None:
    service.bootstrap(world)
    assert _issue(world).token != _issue(world).token


def test_a_dead_token_says_why(world: World, clock: FakeClock) -> None:
    service.bootstrap(world)
    token = _issue(world, ttl_s=60).token
    clock.advance(60 + LEEWAY_S)
    with pytest.raises(Refused) as refused:
        service.authenticate(world, f"Bearer {token}", None)
    assert refused.value.code == "token_expired"


@pytest.mark.parametrize("ttl_s", [0, -1, MAX_TTL_S + 1])
def test_a_token_lives_for_a_day_at_most(world: World, ttl_s: int) -> None:
    service.bootstrap(world)
    with pytest.raises(Refused) as refused:
        _issue(world, ttl_s)
    assert refused.value.code == "bad_token_lifetime"
    assert _issue(world, MAX_TTL_S)


def test_what_could_not_be_verified_is_not_issued(world: World) -> None:
    service.bootstrap(world)
    with pytest.raises(Refused):
        _issue(world, agent="x" * 300)
    assert "token.issued" not in _kinds(world)


def test_without_a_key_nothing_is_signed(world: World) -> None:
    with pytest.raises(Failed) as failed:
        _issue(world)
    assert failed.value.code == "no_signing_key"


def test_files_are_whole_private_and_never_overwritten_by_chance(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    assert files.create(path, b"one")
    assert not files.create(path, b"two")
    assert path.read_bytes() == b"one"
    files.replace(path, b"three")
    assert path.read_bytes() == b"three"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["secret"]
    with pytest.raises(Failed):
        files.create(tmp_path / "nowhere" / "secret", b"x")
    with pytest.raises(Failed):
        files.replace(tmp_path, b"x")
    assert [p.name for p in tmp_path.iterdir()] == ["secret"]
