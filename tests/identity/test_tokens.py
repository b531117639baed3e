"""An agent's token is believed when everything about it is right, and refused with the reason when anything is not."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import ECKey

from tenure.identity.model import AUDIENCE, LEEWAY_S, MAX_TTL_S, agent_claims, sign, verify
from tenure.kernel.errors import Refused
from tenure.kernel.json import JsonObject
from tenure.kernel.values import Principal

ISSUER = "http://127.0.0.1:7700"
NOW = 1_767_225_600.0


def _key() -> dict[str, Any]:
    return ECKey.generate_key("P-256", {"use": "sig", "alg": "ES256"}, auto_kid=True).as_dict(private=True)


PRIVATE = _key()
PUBLIC = ECKey.import_key(PRIVATE).as_dict(private=False)
KEYS: Mapping[str, JsonObject] = {str(PUBLIC["kid"]): PUBLIC}
PRINCIPAL = Principal("default", "clerk", "sha256:ab", "i1", "s1", 3, on_behalf_of="ann", expires_at=NOW + 600)


def claims(**changes: Any) -> dict[str, Any]:
    """True claims with some changed; a change to ... takes one away."""
    out = agent_claims(PRINCIPAL, issuer=ISSUER, audience=AUDIENCE, issued_at=NOW, jti="j1") | changes
    return {name: value for name, value in out.items() if value is not ...}


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def raw(header: Any, payload: bytes, signature: bytes = b"") -> str:
    return ".".join((b64(msgspec.json.encode(header)), b64(payload), b64(signature)))


def signed(payload: bytes, **header: Any) -> str:
    """Truly signed with ES256 by our key, whatever the payload and the rest of the header say."""
    head = {"alg": "ES256", "kid": PRIVATE["kid"], **header}
    return jws.serialize_compact(
        head, payload, ECKey.import_key(PRIVATE), registry=jws.JWSRegistry(algorithms=["ES256"])
    )


def check(token: str, now: float = NOW) -> Principal:
    return verify(token, KEYS, ISSUER, AUDIENCE, now)


TRUE = sign(claims(), PRIVATE)


@pytest.mark.req("R024")
@pytest.mark.twin("ASI03")
def test_a_true_token_names_its_principal() -> None:
    principal = check(TRUE)
    assert principal.expires_at == NOW + 600 + LEEWAY_S
    assert (principal.workspace, principal.agent, principal.release) == ("default", "clerk", "sha256:ab")
    assert (principal.instance, principal.session, principal.credential_epoch) == ("i1", "s1", 3)
    assert principal.on_behalf_of == "ann"
    alone = replace(PRINCIPAL, on_behalf_of=None)
    own = agent_claims(alone, issuer=ISSUER, audience=AUDIENCE, issued_at=NOW, jti="j1")
    assert check(sign(own, PRIVATE)).on_behalf_of is None
    assert own["sub"] == "spiffe://tenure/default/agent/clerk"


def _hs256_with_the_public_key() -> str:
    head = raw({"alg": "HS256", "kid": PUBLIC["kid"]}, msgspec.json.encode(claims())).rpartition(".")[0]
    secret = ECKey.import_key(PUBLIC).as_pem(private=False)  # what anybody can read in the key set
    return f"{head}.{b64(hmac.new(secret, head.encode(), hashlib.sha256).digest())}"


def _by_another_key_under_our_kid() -> str:
    return sign(claims(), _key() | {"kid": PRIVATE["kid"]})


def _claims_swapped() -> str:
    header, _, signature = TRUE.split(".")
    return ".".join((header, b64(msgspec.json.encode(claims(agent="boss"))), signature))


FORGED: dict[str, tuple[Callable[[], str], str]] = {
    "another key under our kid": (_by_another_key_under_our_kid, "token_bad_signature"),
    "other claims under a true signature": (_claims_swapped, "token_bad_signature"),
    "a signature of zeros": (lambda: ".".join((*TRUE.split(".")[:2], b64(b"\0" * 64))), "token_bad_signature"),
    "an empty signature": (lambda: ".".join((*TRUE.split(".")[:2], "")), "token_bad_signature"),
    "a cut-off signature": (lambda: TRUE[:-10], "token_bad_signature"),
    "alg none": (
        lambda: raw({"alg": "none", "kid": PUBLIC["kid"]}, msgspec.json.encode(claims())),
        "token_bad_signature",
    ),
    "HS256 with the public key": (_hs256_with_the_public_key, "token_bad_signature"),
    "an unknown key": (lambda: sign(claims(), _key()), "token_unknown_key"),
    "expired": (lambda: sign(claims(iat=NOW - 700, exp=NOW - LEEWAY_S), PRIVATE), "token_expired"),
    "another audience": (lambda: sign(claims(aud="tenure-console"), PRIVATE), "token_wrong_audience"),
    "another issuer": (lambda: sign(claims(iss="http://evil.example"), PRIVATE), "token_wrong_issuer"),
    "from the future": (lambda: sign(claims(iat=NOW + 60), PRIVATE), "token_malformed"),
    "too long a life": (lambda: sign(claims(exp=NOW + MAX_TTL_S + 1), PRIVATE), "token_malformed"),
    "oversized": (lambda: sign(claims(extra="x" * 4096), PRIVATE), "token_malformed"),
    "oversized rubbish": (lambda: "." * 10_000_000, "token_malformed"),
    "empty": (lambda: "", "token_malformed"),
    "one part": (lambda: "abc", "token_malformed"),
    "two parts": (lambda: ".".join(TRUE.split(".")[:2]), "token_malformed"),
    "five parts": (lambda: "a.b.c.d.e", "token_malformed"),
    "not ASCII": (lambda: TRUE.replace(".", "․", 1), "token_malformed"),
    "a header that is no object": (lambda: raw(["ES256"], b"{}"), "token_malformed"),
    "a header that is deep": (lambda: ".".join((b64(b"[" * 1500), "e30", "AA")), "token_malformed"),
    "a header without kid": (lambda: raw({"alg": "ES256"}, b"{}"), "token_malformed"),
    "a kid that is no text": (lambda: raw({"alg": "ES256", "kid": {"a": 1}}, b"{}"), "token_malformed"),
    "a kid that is a path": (lambda: raw({"alg": "ES256", "kid": "../../etc"}, b"{}"), "token_malformed"),
    "a key brought along": (
        lambda: signed(msgspec.json.encode(claims()), jwk=PUBLIC),
        "token_malformed",
    ),
    "another type of token": (
        lambda: signed(msgspec.json.encode(claims()), typ="tenure-audit-checkpoint"),
        "token_malformed",
    ),
    "claims that are no JSON": (lambda: signed(b"nonsense"), "token_malformed"),
    "claims that are a list": (lambda: signed(b"[]"), "token_malformed"),
    "claims that are deep": (lambda: signed(b"[" * 2500), "token_malformed"),
    "the subject of another agent": (
        lambda: sign(claims(sub="spiffe://tenure/default/agent/boss"), PRIVATE),
        "token_malformed",
    ),
}


@pytest.mark.req("R024")
@pytest.mark.parametrize("name", FORGED)
@pytest.mark.asi("ASI03", "A token is believed only whole: key, algorithm, issuer, audience, time")
def test_a_token_that_is_not_right_is_refused_with_its_reason(name: str) -> None:
    make, code = FORGED[name]
    with pytest.raises(Refused) as refused:
        check(make())
    assert (refused.value.code, refused.value.status) == (code, 401)
    assert TRUE.rsplit(".", 1)[1] not in str(refused.value)


WRONG: dict[str, list[Any]] = {
    **{
        name: [..., None, "", 1, True, ["x"], {"a": 1}, "x" * 256]
        for name in ("iss", "sub", "jti", "ws", "agent", "release", "instance", "session")
    },
    "aud": [..., None, "", 1, [AUDIENCE], "x" * 256],
    "exp": [..., None, "soon", True, [NOW + 60], {}, "1e400"],
    "iat": [..., None, "now", False, []],
    "epoch": [..., None, "3", True, 3.0, -1, []],
    "obo": [..., None, "bob", "", 1, True, {}, "x" * 256],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_claim_of_the_wrong_kind_is_refused(name: str, value: Any) -> None:
    with pytest.raises(Refused) as refused:
        check(sign(claims(**{name: value}), PRIVATE))
    assert refused.value.code == "token_malformed"


def test_a_number_beyond_all_numbers_is_refused() -> None:
    payload = msgspec.json.encode(claims()).replace(b'"exp":1767226200.0', b'"exp":1e999')
    assert b"1e999" in payload
    with pytest.raises(Refused) as refused:
        check(signed(payload))
    assert refused.value.code == "token_malformed"


def test_expiry_has_a_little_leeway_and_no_more() -> None:
    end = NOW + 600 + LEEWAY_S
    assert check(TRUE, end - 0.001).agent == "clerk"
    with pytest.raises(Refused) as refused:
        check(TRUE, end)
    assert refused.value.code == "token_expired"


@settings(max_examples=200, deadline=None)
@given(position=st.integers(0, len(TRUE) - 1), letter=st.sampled_from("ABCDEFGHabcdefgh0123456789-_."))
def test_no_changed_letter_makes_another_token(position: int, letter: str) -> None:
    changed = TRUE[:position] + letter + TRUE[position + 1 :]
    try:
        principal = check(changed)
    except Refused:
        return
    # Only bits that base64 throws away can differ without harm: the last letter of a part carries some.
    assert principal == check(TRUE)
    assert [base64.urlsafe_b64decode(part + "==") for part in changed.split(".")] == [
        base64.urlsafe_b64decode(part + "==") for part in TRUE.split(".")
    ]


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=300) | st.from_regex(r"[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,40}"))
def test_rubbish_is_refused_and_breaks_nothing(text: str) -> None:
    with pytest.raises(Refused) as refused:
        check(text)
    assert refused.value.status == 401


def test_verifying_is_fast_enough_for_the_gateway() -> None:
    check(TRUE)
    best = min(_timed(lambda: check(TRUE)) for _ in range(5))
    assert best < 2e-3, f"{best * 1e6:.0f} us"  # some 150 us alone on the machine


def _timed(work: Callable[[], object], times: int = 50) -> float:
    start = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - start) / times
