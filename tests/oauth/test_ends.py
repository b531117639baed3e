"""What a token is still worth, and its end: asked over HTTP, by whom it concerns and by whom it does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient
from joserfc.jwk import ECKey

from tenure.base.room import World
from tenure.credentials import service as credentials
from tenure.identity import people
from tenure.identity import service as identity
from tenure.kernel.values import Actor, LifecycleState, Role
from tenure.oauth import service
from tenure.oauth.model import ASSERTION_TYPE
from tenure.oauth.room import ROOM
from tenure.registry import service as registry
from tenure.revocation import service as revocation
from tenure.revocation.model import Kind
from tests.oauth.conftest import ANYBODY, Clerk, by_hand, employ
from tests.sim.clock import FakeClock
from tests.sim.manifests import manifest
from tests.sim.served import application

ELSEWHERE = Actor("other", "person:root@example.com", frozenset(Role))
NO = {"active": False}


@dataclass
class Desk:
    """The endpoints, as ``clerk`` and others ask them."""

    http: TestClient
    clerk: Clerk

    def ask(self, what: str, token: str, by: Clerk | None = None, **more: str) -> httpx2.Response:
        """``introspect`` or ``revoke``, by an agent that shows its key for this endpoint."""
        who = by or self.clerk
        assertion = who.assertion(aud=f"{who.endpoint.removesuffix('/token')}/{what}")
        shown = {"client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion, "token": token}
        return self.http.post(f"/oauth/{what}", data=shown | more)

    def active(self, token: str, by: Clerk | None = None) -> bool:
        """Whether it counts."""
        answer = self.ask("introspect", token, by)
        assert answer.status_code == 200, answer.text
        return bool(answer.json()["active"])

    def ended(self) -> frozenset[str]:
        """The tokens that gateways refuse."""
        world = self.clerk.world
        with world.read() as conn:
            facts = revocation.facts(conn, world.clock(), ["default"], "default")
        return facts["default"].tokens if facts else frozenset()


@pytest.fixture
def desk(clerk: Clerk) -> Desk:
    routers = [ROOM.router] if ROOM.router else []
    return Desk(TestClient(application(clerk.world, routers), base_url="http://127.0.0.1:7700"), clerk)


def another(world: World, name: str = "boss") -> Clerk:
    """Another agent with a key."""
    employ(world, name)
    made = Clerk(world, client_id=f"spiffe://tenure/default/agent/{name}")
    service.add_key(world, ANYBODY, name, made.key.as_dict(private=False))
    return made


def elsewhere(world: World) -> Clerk:
    """The agent of the same name in another workspace."""
    with world.begin() as conn:
        people.ensure_workspace(conn, "other", "person:x", world.clock())
    registry.apply(world, ELSEWHERE, manifest("clerk", "http://127.0.0.1:1/v1"))
    for state in (LifecycleState.APPROVED, LifecycleState.CREATED, LifecycleState.PROVISIONED, LifecycleState.STAGING):
        registry.transition(world, ELSEWHERE, "clerk", state, "a test")
    made = Clerk(world, client_id="spiffe://tenure/other/agent/clerk")
    service.add_key(world, ELSEWHERE, "clerk", made.key.as_dict(private=False))
    return made


def issuer(clerk: Clerk) -> str:
    """What an assertion for any endpoint may name as its audience."""
    return identity.issuer(clerk.world.config)


def forged(clerk: Clerk) -> str:
    return by_hand({"alg": "HS256", "kid": "x", "typ": "at+jwt"}, clerk.claims(), b"secret")


@pytest.mark.req("R024")
def test_an_agent_asks_about_its_own_token_and_ends_it(desk: Desk) -> None:
    first, second = desk.clerk.ask().token, desk.clerk.ask().token
    said = desk.ask("introspect", first, token_type_hint="refresh_token").json()
    assert (said["active"], said["sub"], said["token_type"]) == (True, desk.clerk.client_id, "Bearer")
    assert said["exp"] - desk.clerk.world.clock().timestamp() == 600
    answer = desk.ask("revoke", first)
    assert (answer.status_code, answer.content, answer.headers["cache-control"]) == (200, b"{}", "no-store")
    assert desk.ask("introspect", first).json() == NO
    assert desk.active(second), "its others live on"
    assert desk.ended() == {said["jti"]}
    assert desk.ask("revoke", first).status_code == 200
    assert [event.data["jti"] for event in desk.clerk.told("agent_token.revoked")] == [said["jti"]], "told once"


@pytest.mark.req("R024")
def test_what_was_ended_is_forgotten_when_it_has_expired(desk: Desk, clock: FakeClock) -> None:
    desk.ask("revoke", desk.clerk.ask().token)
    world = desk.clerk.world
    assert desk.ended()
    clock.advance(610)
    assert not desk.ended()
    with world.begin() as conn:
        assert revocation.forgettable(conn, world.clock())
        assert revocation.forget(conn, world.clock()) == 1
        assert not revocation.forgettable(conn, world.clock())


FOREIGN: Mapping[str, Callable[[Desk], str]] = {
    "nothing that is a token": lambda _: "nonsense",
    "an empty one": lambda _: "",
    "a forged one": lambda desk: forged(desk.clerk),
    "another agent's": lambda desk: another(desk.clerk.world).ask().token,
    "the one of the same name in another workspace": lambda desk: elsewhere(desk.clerk.world).ask().token,
    "an unknown refresh token": lambda _: "tnf_" + "x" * 43,
    "a person's": lambda desk: (desk.clerk.world.config.data_dir / "operator.token").read_text().strip(),
    "a very long one": lambda _: "x" * 8000,
}


@pytest.mark.req("R024", "R038")
@pytest.mark.parametrize("name", FOREIGN)
def test_a_token_that_is_none_of_the_askers_is_answered_like_one_that_is_none(desk: Desk, name: str) -> None:
    token = FOREIGN[name](desk)
    told = desk.ask("introspect", token)
    assert (told.status_code, told.json()) == (200, NO)
    done, known = desk.ask("revoke", token, client_id=desk.clerk.client_id), desk.ask("revoke", "nonsense")
    assert (done.status_code, done.content, dict(done.headers)) == (200, known.content, dict(known.headers))
    assert not desk.ended(), "nothing was ended"
    assert not desk.clerk.told("agent_token.revoked")


@pytest.mark.req("R038")
def test_people_ask_about_the_agents_of_their_workspace_and_of_no_other(desk: Desk) -> None:
    world, mine = desk.clerk.world, desk.clerk.ask().token
    operator = {"authorization": f"Bearer {(world.config.data_dir / 'operator.token').read_text().strip()}"}
    theirs = elsewhere(world).ask().token
    for token, active in ((mine, True), (theirs, False)):
        told = desk.http.post("/oauth/introspect", data={"token": token}, headers=operator)
        assert told.json()["active"] is active
        assert desk.http.post("/oauth/revoke", data={"token": token}, headers=operator).status_code == 200
    assert not desk.active(mine)
    assert len(desk.clerk.told("agent_token.revoked")) == 1


EVIL = ECKey.generate_key("P-256", auto_kid=True)
STRANGERS: Mapping[str, Callable[[Clerk], dict[str, str]]] = {
    "nobody": lambda _: {},
    "who only says so": lambda c: {"client_id": c.client_id},
    "a secret": lambda c: {"client_id": c.client_id, "client_secret": "x"},
    "an assertion by another key": lambda c: {
        "client_assertion": Clerk(c.world, EVIL, c.client_id).assertion(aud=issuer(c))
    },
    "one for another server": lambda c: {"client_assertion": c.assertion(aud="https://elsewhere.example")},
    "one that has expired": lambda c: {"client_assertion": c.assertion(aud=issuer(c), iat=1, exp=2)},
    "no assertion at all": lambda _: {"client_assertion": "x"},
}


@pytest.mark.req("R024")
@pytest.mark.parametrize("what", ["introspect", "revoke"])
@pytest.mark.parametrize("name", STRANGERS)
def test_who_does_not_show_who_it_is_is_told_nothing_and_ends_nothing(desk: Desk, what: str, name: str) -> None:
    token = desk.clerk.ask().token
    shown = STRANGERS[name](desk.clerk)
    if "client_assertion" in shown:
        shown["client_assertion_type"] = ASSERTION_TYPE
    bodies = {desk.http.post(f"/oauth/{what}", data=shown | {"token": sent}).content for sent in (token, "nonsense")}
    answer = desk.http.post(f"/oauth/{what}", data=shown | {"token": token})
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    assert len(bodies) == 1, "whatever the token"
    assert desk.active(token)


def test_an_assertion_is_good_once_here_too(desk: Desk) -> None:
    token = desk.clerk.ask().token
    sent = {
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": desk.clerk.assertion(aud=issuer(desk.clerk)),
        "token": token,
    }
    assert desk.http.post("/oauth/introspect", data=sent).json()["active"] is True
    again = desk.http.post("/oauth/revoke", data=sent)
    assert (again.status_code, again.json()["error"]) == (401, "invalid_client")
    assert desk.active(token)


def _suspended(world: World, _said: Mapping[str, Any]) -> None:
    registry.transition(world, ANYBODY, "clerk", LifecycleState.SUSPENDED, "a test")


def _key_revoked(world: World, said: Mapping[str, Any]) -> None:
    (key,) = [one for one in _keys(world) if one.instance == said["instance"]]
    service.revoke_key(world, ANYBODY, "clerk", key.thumbprint)


def _keys(world: World) -> list[Any]:
    with world.read() as conn:
        return list(service.list_keys(conn, "default", "clerk"))


def _release_revoked(world: World, said: Mapping[str, Any]) -> None:
    credentials.revoke(world, ANYBODY, Kind.RELEASE, said["release"], "a test")


def _signer_revoked(world: World, _said: Mapping[str, Any]) -> None:
    with world.read() as conn:
        kid = next(key.kid for key in identity.list_keys(conn, ANYBODY) if key.signs_at is not None)
    credentials.revoke(world, ANYBODY, Kind.KEY, kid, "a test")


@pytest.mark.req("R009", "R024")
@pytest.mark.parametrize("ends", [_suspended, _key_revoked, _release_revoked, _signer_revoked])
def test_whatever_was_revoked_makes_it_worthless(desk: Desk, ends: Callable[..., None]) -> None:
    token = desk.clerk.ask().token
    said = desk.ask("introspect", token).json()
    ends(desk.clerk.world, said)
    operator = (desk.clerk.world.config.data_dir / "operator.token").read_text().strip()
    told = desk.http.post("/oauth/introspect", data={"token": token}, headers={"authorization": f"Bearer {operator}"})
    assert told.json() == NO
