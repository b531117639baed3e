"""Everything that is wrong with a request for a token is refused, in OAuth's words, and told as an Event."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from tenure.base.room import World
from tenure.identity import people
from tenure.kernel.errors import Refused
from tenure.kernel.values import Actor, LifecycleState, Role
from tenure.oauth import service
from tenure.registry import service as registry
from tests.oauth.conftest import ANYBODY, Clerk, by_hand, employ, signed
from tests.sim.clock import FakeClock
from tests.sim.manifests import manifest

RSA = RSAKey.generate_key(2048)
EVIL = ECKey.generate_key("P-256", auto_kid=True)
ED = OKPKey.generate_key("Ed25519", auto_kid=True)
P384 = ECKey.generate_key("P-384")


def _header(**header: Any) -> Callable[[Clerk], str]:
    """Truly signed by the registered key, with a header that says more."""
    return lambda c: signed(c.claims(), c.key, **({"alg": "ES256", "kid": c.key.kid} | header))


def _claims(**changes: Any) -> Callable[[Clerk], str]:
    return lambda c: c.assertion(**changes)


def _hs256_with_the_public_key(clerk: Clerk) -> str:
    secret = ECKey.import_key(clerk.key.as_dict(private=False)).as_pem(private=False)
    return by_hand({"alg": "HS256", "kid": clerk.key.kid}, clerk.claims(), secret)


def _swapped(clerk: Clerk) -> str:
    head, _, signature = clerk.assertion().split(".")
    other = clerk.assertion(jti="another").split(".")[1]
    return f"{head}.{other}.{signature}"


BOSS = "spiffe://tenure/default/agent/boss"
TABLE: Mapping[str, tuple[Callable[[Clerk], str], str]] = {
    "nothing": (lambda _: "x", "assertion_malformed"),
    "a forged signature": (lambda c: signed(c.claims(), EVIL, alg="ES256", kid=c.key.kid), "assertion_bad_signature"),
    "a forged signature without kid": (lambda c: signed(c.claims(), EVIL, alg="ES256"), "assertion_bad_signature"),
    "a key that nobody registered": (lambda c: signed(c.claims(), EVIL, alg="ES256", kid=EVIL.kid), "unknown_client"),
    "other claims under a true signature": (_swapped, "assertion_bad_signature"),
    "expired": (_claims(iat=1, exp=2), "assertion_expired"),
    "no expiry": (_claims(exp=...), "assertion_malformed"),
    "an endless life": (_claims(exp=9e12), "assertion_malformed"),
    "more than an hour": (lambda c: c.assertion(exp=c.claims()["iat"] + 3700), "assertion_malformed"),
    "from the future": (lambda c: c.assertion(iat=c.claims()["iat"] + 60), "assertion_malformed"),
    "not yet": (lambda c: c.assertion(nbf=c.claims()["iat"] + 60), "assertion_malformed"),
    "another audience": (_claims(aud="https://elsewhere.example/token"), "assertion_wrong_audience"),
    "two audiences": (lambda c: c.assertion(aud=[c.endpoint, "https://evil.example"]), "assertion_wrong_audience"),
    "no audience": (_claims(aud=...), "assertion_wrong_audience"),
    "the resource as audience": (_claims(aud="tenure-gateway"), "assertion_wrong_audience"),
    "no jti": (_claims(jti=...), "assertion_malformed"),
    "a long jti": (_claims(jti="x" * 256), "assertion_malformed"),
    "for another agent": (_claims(iss=BOSS, sub=BOSS), "unknown_client"),
    "iss and sub apart": (_claims(sub=BOSS), "assertion_malformed"),
    "the agent of another workspace": (
        _claims(iss="spiffe://tenure/other/agent/clerk", sub="spiffe://tenure/other/agent/clerk"),
        "unknown_client",
    ),
    "no agent's name": (_claims(iss="clerk", sub="clerk"), "unknown_client"),
    "alg none": (lambda c: by_hand({"alg": "none", "kid": c.key.kid}, c.claims()), "assertion_malformed"),
    "alg nOnE": (lambda c: by_hand({"alg": "nOnE", "kid": c.key.kid}, c.claims()), "assertion_malformed"),
    "no alg": (lambda c: by_hand({"kid": c.key.kid}, c.claims()), "assertion_malformed"),
    "HS256 with the public key": (_hs256_with_the_public_key, "assertion_malformed"),
    "HS256 of its own": (
        lambda c: signed(c.claims(), OctKey.generate_key(256), alg="HS256", kid=c.key.kid),
        "assertion_malformed",
    ),
    "RS256 under the kid of an ES256 key": (
        lambda c: signed(c.claims(), RSA, alg="RS256", kid=c.key.kid),
        "assertion_malformed",
    ),
    "Ed25519 under the kid of an ES256 key": (
        lambda c: signed(c.claims(), ED, alg="Ed25519", kid=c.key.kid),
        "assertion_bad_signature",
    ),
    "ES384": (lambda c: signed(c.claims(), P384, alg="ES384", kid=c.key.kid), "assertion_malformed"),
    "its own key in the header": (
        lambda c: signed(c.claims(), EVIL, alg="ES256", kid=c.key.kid, jwk=EVIL.as_dict(private=False)),
        "assertion_malformed",
    ),
    "the true key in the header": (lambda c: _header(jwk=c.key.as_dict(private=False))(c), "assertion_malformed"),
    "an address of keys": (_header(jku="https://evil.example/keys"), "assertion_malformed"),
    "an address of a certificate": (_header(x5u="https://evil.example/cert"), "assertion_malformed"),
    "a certificate": (_header(x5c=["MIIB"]), "assertion_malformed"),
    "critical extensions": (_header(crit=["kid"]), "assertion_malformed"),
    "a token's type": (_header(typ="at+jwt"), "assertion_malformed"),
    "a proof's type": (_header(typ="dpop+jwt"), "assertion_malformed"),
    "a kid that is a path": (_header(kid="../../dev/null"), "unknown_client"),
    "a kid that is no text": (lambda c: by_hand({"alg": "ES256", "kid": {"a": 1}}, c.claims()), "assertion_malformed"),
    "oversized": (_claims(more="x" * 9000), "assertion_malformed"),
    "claims that are a list": (
        lambda c: signed(b"[]", c.key, alg="ES256", kid=c.key.kid),
        "assertion_malformed",
    ),
    "claims that are deep": (
        lambda c: signed(b"[" * 3000, c.key, alg="ES256", kid=c.key.kid),
        "assertion_malformed",
    ),
}


@pytest.mark.req("R024", "R039")
@pytest.mark.parametrize("name", TABLE)
def test_what_is_wrong_with_an_assertion_is_refused_and_told(clerk: Clerk, name: str) -> None:
    make, why = TABLE[name]
    employ(clerk.world, "boss")
    sent = make(clerk)
    with pytest.raises(Refused) as refused:
        clerk.ask(sent)
    assert (refused.value.code, refused.value.status) == ("invalid_client", 401)
    assert refused.value.details["why"] == why
    assert clerk.told("token.issued") == []
    (told,) = clerk.told("token.refused")
    assert (told.data["error"], told.data["why"], told.workspace) == ("invalid_client", why, "default")
    assert sent not in repr(told)


def test_the_same_request_with_nothing_wrong_is_answered(clerk: Clerk) -> None:
    assert clerk.ask().expires_in == 600
    assert clerk.ask(clerk.assertion(aud=service.metadata(clerk.world.config)["issuer"])).token
    assert clerk.ask(clerk.assertion(aud=[clerk.endpoint])).token
    assert clerk.ask(signed(clerk.claims(), clerk.key, alg="ES256", typ="JWT")).token
    assert len(clerk.told("token.issued")) == 4
    assert clerk.told("token.refused") == []


@pytest.mark.req("R024")
def test_an_assertion_is_good_once_also_when_the_grant_was_refused(clerk: Clerk, clock: FakeClock) -> None:
    sent = clerk.assertion()
    clerk.ask(sent)
    for _ in range(2):
        with pytest.raises(Refused) as refused:
            clerk.ask(sent)
        assert refused.value.details["why"] == "assertion_replayed"
    registry.transition(clerk.world, ANYBODY, "clerk", LifecycleState.SUSPENDED, "a test")
    other = clerk.assertion()
    whys = []
    for _ in range(2):
        with pytest.raises(Refused) as refused:
            clerk.ask(other)
        whys.append((refused.value.code, refused.value.details["why"]))
    assert whys == [("unauthorized_client", "agent_suspended"), ("invalid_client", "assertion_replayed")]
    clock.advance(66)
    with pytest.raises(Refused) as refused:
        clerk.ask(sent)
    assert refused.value.details["why"] == "assertion_expired"  # and by now it need not be remembered


@pytest.mark.req("R037")
def test_a_revoked_key_and_an_old_one_prove_nothing(clerk: Clerk, clock: FakeClock) -> None:
    young = clerk.key
    assert clerk.registered is not None
    service.revoke_key(clerk.world, ANYBODY, "clerk", clerk.registered.thumbprint)
    with pytest.raises(Refused) as refused:
        clerk.ask()
    assert refused.value.details["why"] == "key_revoked"
    with pytest.raises(Refused) as again:
        service.add_key(clerk.world, ANYBODY, "clerk", young.as_dict(private=False))
    assert again.value.code == "key_exists"
    clerk.key = ECKey.generate_key("P-256", auto_kid=True)
    service.add_key(clerk.world, ANYBODY, "clerk", clerk.key.as_dict(private=False), days=1)
    assert clerk.ask().token
    clock.advance(86_400)
    with pytest.raises(Refused) as refused:
        clerk.ask()
    assert refused.value.details["why"] == "key_expired"


@pytest.mark.req("R038")
def test_a_key_of_one_agent_proves_no_other_not_even_of_the_same_name_elsewhere(clerk: Clerk) -> None:
    world = clerk.world
    with world.begin() as conn:
        people.ensure_workspace(conn, "other", "person:x", world.clock())
    there = Actor("other", "person:root@example.com", frozenset(Role))
    registry.apply(world, there, manifest("clerk", "http://127.0.0.1:1/v1"))
    employ(world, "boss")
    for name in ("spiffe://tenure/other/agent/clerk", BOSS):
        with pytest.raises(Refused) as refused:
            clerk.ask(clerk.assertion(iss=name, sub=name))
        assert refused.value.details["why"] == "unknown_client"
    with pytest.raises(Refused) as refused:
        clerk.ask(client_id=BOSS)
    assert refused.value.code == "invalid_client"
    told = [(event.workspace, event.agent) for event in clerk.told("token.refused")]
    assert told == [("other", "clerk"), ("default", "boss"), ("default", "boss")]
    with pytest.raises(Refused) as refused:
        service.revoke_key(world, there, "clerk", clerk.key.thumbprint())
    assert refused.value.code == "unknown_key"


def _proof_header(**header: Any) -> Callable[[Clerk], str]:
    return lambda c: c.proof(EVIL, header=header)


PROOFS: Mapping[str, Callable[[Clerk], str]] = {
    "rubbish": lambda _: "x.y.z",
    "another type": _proof_header(typ="JWT"),
    "no key": _proof_header(jwk=None),
    "a private key": _proof_header(jwk=EVIL.as_dict(private=True)),
    "another key than the one that signed": _proof_header(jwk=ED.as_dict(private=False)),
    "a key besides": _proof_header(jku="https://evil.example"),
    "a point off the curve": _proof_header(jwk=EVIL.as_dict(private=False) | {"x": "A" * 43}),
    "another method": lambda c: c.proof(EVIL, method="GET"),
    "another address": lambda c: c.proof(EVIL, url="https://evil.example/oauth/token"),
    "an old one": lambda c: c.proof(EVIL, iat=c.claims()["iat"] - 61),
    "one from the future": lambda c: c.proof(EVIL, iat=c.claims()["iat"] + 10),
    "no time": lambda c: c.proof(EVIL, iat=...),
    "no jti": lambda c: c.proof(EVIL, jti=...),
    "two of them": lambda c: f"{c.proof(EVIL)}, {c.proof(EVIL)}",
}


@pytest.mark.req("R039")
@pytest.mark.parametrize("name", PROOFS)
def test_what_is_wrong_with_a_proof_is_refused_and_told(clerk: Clerk, name: str) -> None:
    with pytest.raises(Refused) as refused:
        clerk.ask(proof=PROOFS[name](clerk))
    assert (refused.value.code, refused.value.status) == ("invalid_dpop_proof", 400)
    assert [event.data["error"] for event in clerk.told("token.refused")] == ["invalid_dpop_proof"]


@pytest.mark.req("R039")
def test_a_proof_is_good_once_and_binds_the_token(clerk: Clerk) -> None:
    sent = clerk.proof(EVIL)
    assert clerk.ask(proof=sent).token
    (issued,) = clerk.told("token.issued")
    assert issued.data["jkt"] == EVIL.thumbprint()
    with pytest.raises(Refused) as refused:
        clerk.ask(proof=sent)
    assert refused.value.details["why"] == "dpop_replayed"


@pytest.mark.req("R040")
def test_a_client_gets_so_many_tokens_and_other_clients_do_not_wait_for_it(clerk: Clerk, clock: FakeClock) -> None:
    employ(clerk.world, "boss")
    boss = Clerk(clerk.world, client_id=BOSS)
    service.add_key(clerk.world, ANYBODY, "boss", boss.key.as_dict(private=False))
    for _ in range(60):
        clerk.ask()
    with pytest.raises(Refused) as refused:
        clerk.ask()
    assert (refused.value.code, refused.value.status) == ("slow_down", 429)
    assert boss.ask().token
    clock.advance(1)
    assert clerk.ask().token


@pytest.mark.req("R040")
def test_a_flood_of_refusals_is_told_in_few_events_and_slows_nobody_else(clerk: Clerk, clock: FakeClock) -> None:
    codes = []
    for _ in range(80):
        with pytest.raises(Refused) as refused:
            clerk.ask("rubbish", address="10.0.0.9")
        codes.append(refused.value.code)
    assert codes == ["invalid_client"] * 60 + ["slow_down"] * 20
    assert len(clerk.told("token.refused")) == 20
    assert clerk.ask(address="10.0.0.9").token  # it names its client, which those did not
    clock.advance(1)
    with pytest.raises(Refused):
        clerk.ask("rubbish", address="10.0.0.9")
    assert clerk.told("token.refused")[-1].data["count"] == 41


@pytest.mark.usefixtures("clerk")
def test_a_private_key_and_one_of_another_kind_are_not_registered(world: World) -> None:
    wrong: list[Any] = [
        EVIL.as_dict(private=True),
        RSA.as_dict(private=False),
        P384.as_dict(private=False),
        OctKey.generate_key(256).as_dict(private=True),
        EVIL.as_dict(private=False) | {"x": "A" * 43},
        EVIL.as_dict(private=False) | {"y": 1},
        {"kty": ["EC"], "crv": "P-256"},
        {},
        [],
    ]
    for jwk in wrong:
        with pytest.raises(Refused) as refused:
            service.add_key(world, ANYBODY, "clerk", jwk)
        assert refused.value.code == "bad_key", jwk
        assert str(EVIL.as_dict(private=True)["d"]) not in str(refused.value)
