"""A chain of delegation in a token: what is signed is what is read, and no claim can be changed to another chain."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey

from tenure.identity.model import AUDIENCE, LEEWAY_S, agent_claims, sign, verify
from tenure.kernel.errors import Refused
from tenure.kernel.scopes import bound
from tenure.kernel.values import Principal

ISSUER, NOW = "http://127.0.0.1:7700", 1_767_225_600.0
PRIVATE: dict[str, Any] = ECKey.generate_key("P-256", {"use": "sig", "alg": "ES256"}, auto_kid=True).as_dict(
    private=True
)
KEYS = {str(PRIVATE["kid"]): {name: value for name, value in PRIVATE.items() if name != "d"}}

words = st.text("abc-", min_size=1, max_size=8)
scopes = st.lists(st.builds("tool:{}".format, words), min_size=1, max_size=3).map(bound)


@st.composite
def principals(draw: st.DrawFn) -> Principal:
    chain = tuple(draw(st.lists(words, max_size=4)))
    own = draw(st.one_of(st.just(()), scopes))
    bounds = tuple(dict.fromkeys([one for one in draw(st.lists(scopes, max_size=3)) if one != own]))
    return Principal(
        "default",
        draw(words),
        "sha256:ab",
        "i1",
        "s1",
        3,
        on_behalf_of=draw(st.one_of(st.none(), st.just("ann@x.example"))),
        chain=chain,
        chain_epochs=tuple(range(len(chain))),
        task=draw(st.one_of(st.none(), words)),
        scopes=own,
        bounds=(*bounds, *((own,) if own else ())),
        expires_at=NOW + 600,
    )


def _claims(principal: Principal) -> dict[str, Any]:
    return agent_claims(principal, issuer=ISSUER, audience=AUDIENCE, issued_at=NOW, jti="j1")


def _read(claims: dict[str, Any]) -> Principal:
    return verify(sign(claims, PRIVATE), KEYS, ISSUER, AUDIENCE, NOW)


@pytest.mark.req("R035")
@given(principals())
def test_what_is_signed_is_what_is_read(principal: Principal) -> None:
    read = replace(_read(_claims(principal)), key="")
    assert read == replace(principal, expires_at=NOW + 600 + LEEWAY_S, issued_at=NOW, token_id="j1")


def test_act_is_nested_as_rfc_8693_has_it() -> None:
    """Section 4.1: the outermost actor is the current one, the least recent one is nested deepest."""
    chain = Principal("w", "c", "r", "i", "s", 1, chain=("a", "b"), chain_epochs=(1, 2), expires_at=NOW + 60)
    claims = _claims(replace(chain, on_behalf_of="ann@x.example"))
    ids = {name: f"spiffe://tenure/w/agent/{name}" for name in "abc"}
    assert claims["sub"] == "person:ann@x.example"
    assert claims["act"] == {"sub": ids["c"], "act": {"sub": ids["b"], "act": {"sub": ids["a"]}}}
    claims = _claims(chain)
    assert (claims["sub"], claims["act"]) == (ids["a"], {"sub": ids["c"], "act": {"sub": ids["b"]}})
    assert "act" not in _claims(Principal("w", "c", "r", "i", "s", 1, expires_at=NOW + 60))


CHAIN = Principal(
    "w", "c", "r", "i", "s", 1, on_behalf_of="ann@x.example", chain=("a", "b"), chain_epochs=(1, 2), expires_at=NOW + 60
)


def _deep() -> dict[str, Any]:
    act: dict[str, Any] = {"sub": "spiffe://tenure/w/agent/x"}
    for _ in range(40):
        act = {"sub": "spiffe://tenure/w/agent/x", "act": act}
    return act | {"sub": "spiffe://tenure/w/agent/c"}


WRONG: dict[str, dict[str, Any]] = {
    "another subject": {"sub": "person:bob@x.example"},
    "the person swapped": {"obo": "bob@x.example"},
    "no person": {"obo": ...},
    "no actors": {"act": ...},
    "another agent acts": {"act": {"sub": "spiffe://tenure/w/agent/z", "act": {"sub": "spiffe://tenure/w/agent/b"}}},
    "an agent left out": {"act": {"sub": "spiffe://tenure/w/agent/c", "act": {"sub": "spiffe://tenure/w/agent/b"}}},
    "an agent of elsewhere": {"act": {"sub": "spiffe://tenure/v/agent/c"}},
    "an actor that is no object": {"act": "spiffe://tenure/w/agent/c"},
    "an actor with more claims": {"act": {"sub": "spiffe://tenure/w/agent/c", "exp": 1}},
    "too deep": {"act": _deep(), "epochs": [1] * 40},
    "epochs that are no numbers": {"epochs": ["1", "2"]},
    "an epoch less": {"epochs": [1]},
    "epochs of truth": {"epochs": [True, 2]},
    "bounds that are text": {"bounds": "tool:*"},
    "a bound that is text": {"bounds": ["tool:*"]},
    "a bound of numbers": {"bounds": [[1]]},
    "a scope that is no text": {"scope": ["tool:*"]},
    "a task that is no text": {"task": 7},
}


@pytest.mark.req("R024")
@pytest.mark.parametrize("name", WRONG)
def test_a_chain_that_does_not_fit_is_refused(name: str) -> None:
    claims = copy.deepcopy(_claims(CHAIN)) | WRONG[name]
    with pytest.raises(Refused) as refused:
        _read({name: value for name, value in claims.items() if value is not ...})
    assert (refused.value.code, refused.value.status) == ("token_malformed", 401)
    assert _read(_claims(CHAIN)).chain == ("a", "b")


@given(
    st.recursive(
        st.none() | st.booleans() | st.text(max_size=3),
        lambda x: st.lists(x, max_size=2) | st.dictionaries(st.sampled_from(["sub", "act"]), x, max_size=2),
    )
)
def test_rubbish_for_a_chain_breaks_nothing(value: Any) -> None:
    for name in ("act", "epochs", "bounds", "scope", "task"):
        try:
            read = _read(msgspec.json.decode(msgspec.json.encode(_claims(CHAIN) | {name: value})))
        except Refused:
            continue
        assert read.chain == CHAIN.chain
