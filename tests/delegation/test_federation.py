"""Outside issuers and SPIFFE trust domains: what a rule lets in, and everything that it does not, with its Event."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from typer.testing import CliRunner

from tenure.app.main import whole
from tenure.kernel.errors import Refused
from tests.delegation.conftest import BEARER, EXCHANGE, JWT, OPERATOR, Offices, spiffe
from tests.sim.outside_issuer import Issuer, issuing
from tests.sim.spire import Domain, certificate, proof

WORKLOAD = "system:serviceaccount:payments:asker"
PATH = "/ns/payments/sa/asker"


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with issuing() as running_issuer:
        yield running_issuer


@pytest.fixture
def trusting(offices: Offices, issuer: Issuer) -> Iterator[Offices]:
    """An installation that takes the issuer's word for one workload."""
    client = offices.console.client
    body = {"agent": "asker", "issuer": issuer.url, "subject": WORKLOAD, "claims": {"cluster": "eu-*"}}
    client.put("/v1/trust/k8s", dict, body)
    yield offices
    for rule in client.get("/v1/trust", dict)["rules"]:
        client.request("DELETE", f"/v1/trust/{rule['name']}", dict)


def _mint(offices: Offices, issuer: Issuer, by: str = "own", **changes: Any) -> str:
    claims = {"sub": WORKLOAD, "aud": [offices.console.url], "cluster": "eu-1"} | changes
    return issuer.mint(by, **claims)


def _bearer(offices: Offices, token: str, agent: str = "asker", **more: Any) -> httpx2.Response:
    return offices.ask(grant_type=BEARER, client_id=spiffe(agent), assertion=token, **more)


@pytest.mark.req("R024")
def test_a_workload_of_an_outside_issuer_is_the_agent_that_a_rule_names(trusting: Offices, issuer: Issuer) -> None:
    first = _bearer(trusting, _mint(trusting, issuer))
    assert first.status_code == 200, first.text
    found = trusting.read(first.json()["access_token"])
    assert (found.workspace, found.agent, found.on_behalf_of, found.chain) == ("default", "asker", None, ())
    told = trusting.told("token.issued")[-1].data
    assert (told["rule"], told["outside"], told["issuer"], told["by"]) == ("k8s", WORKLOAD, issuer.url, "oidc")
    # The same by token exchange (RFC 8693), and the same workload is the same instance.
    form = {"grant_type": EXCHANGE, "client_id": spiffe("asker"), "subject_token_type": JWT}
    second = trusting.ask(**form, subject_token=_mint(trusting, issuer))
    assert trusting.read(second.json()["access_token"]).instance == found.instance
    # And what it was given is good for all that an agent's token is good for: to act for a person.
    acting = trusting.exchanged("asker", second.json()["access_token"], trusting.operator)
    assert trusting.read(acting).on_behalf_of == OPERATOR


@pytest.mark.req("R024")
def test_outside_tokens_that_no_rule_believes_are_refused_and_told(trusting: Offices, issuer: Issuer) -> None:
    now = int(time.time())
    wrong: dict[str, list[str]] = {
        "wrong_subject": [_mint(trusting, issuer, sub="system:serviceaccount:payments:other")],
        "wrong_audience": [_mint(trusting, issuer, aud="https://elsewhere.example"), _mint(trusting, issuer, aud=None)],
        "wrong_claims": [_mint(trusting, issuer, cluster="us-1"), _mint(trusting, issuer, cluster=None)],
        "token_expired": [_mint(trusting, issuer, exp=now - 120)],
        "malformed": [_mint(trusting, issuer, exp=None), _mint(trusting, issuer, exp="soon"), "nonsense", "a.b.c"],
        "token_from_the_future": [_mint(trusting, issuer, nbf=now + 600), _mint(trusting, issuer, iat=now + 600)],
        "bad_signature": [_mint(trusting, issuer, "stranger")],
        "bad_algorithm": [_mint(trusting, issuer, "none"), _mint(trusting, issuer, "hmac")],
        "unknown_issuer": [_mint(trusting, issuer, iss="https://evil.example")],
    }
    for why, tokens in wrong.items():
        for token in tokens:
            trusting.refused(_bearer(trusting, token), "invalid_grant", why, "asker")
    good = _mint(trusting, issuer)
    trusting.refused(_bearer(trusting, good, "helper"), "invalid_grant", "unknown_issuer", "helper")
    trusting.refused(_bearer(trusting, good, scope="tool:*"), "invalid_scope", "no_scopes", "asker")
    nobody = trusting.ask(grant_type=BEARER, client_id="somebody", assertion=good)
    trusting.refused(nobody, "invalid_request", "no_agent")
    assert _bearer(trusting, good).status_code == 200


def test_a_new_key_of_an_issuer_is_found_and_it_is_not_asked_without_end(trusting: Offices, issuer: Issuer) -> None:
    assert _bearer(trusting, _mint(trusting, issuer)).status_code == 200
    before = issuer.asked()
    for _ in range(5):
        assert _bearer(trusting, _mint(trusting, issuer)).status_code == 200
        assert _bearer(trusting, _mint(trusting, issuer, "stranger")).status_code == 400
    assert issuer.asked() == before


def test_a_rule_that_is_taken_away_lets_nobody_in(trusting: Offices, issuer: Issuer) -> None:
    trusting.console.client.request("DELETE", "/v1/trust/k8s", dict)
    answer = _bearer(trusting, _mint(trusting, issuer))
    trusting.refused(answer, "invalid_grant", "unknown_issuer", "asker")
    assert [one.data["name"] for one in trusting.told("trust.removed")][-1] == "k8s"


# -- SPIFFE ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def domain(offices: Offices) -> Iterator[Domain]:
    """A trust domain whose workload is trusted."""
    found = Domain()
    _trust(offices, found)
    yield found
    offices.console.client.request("DELETE", "/v1/trust/spire", dict)


def _trust(offices: Offices, domain: Domain, bundle: str | None = None) -> None:
    body = {"agent": "asker", "issuer": domain.id, "subject": f"{domain.id}{PATH}"}
    offices.console.client.put("/v1/trust/spire", dict, body | {"bundle": bundle or domain.bundle()})


@pytest.mark.req("R024")
def test_a_jwt_svid_is_believed_by_its_bundle(offices: Offices, domain: Domain) -> None:
    here = offices.console.url
    good = _bearer(offices, domain.jwt_svid(PATH, here))
    assert offices.read(good.json()["access_token"]).agent == "asker"
    assert offices.told("token.issued")[-1].data["by"] == "jwt-svid"
    impostor = Domain()
    wrong = {
        "bad_signature": impostor.jwt_svid(PATH, here),
        "wrong_subject": domain.jwt_svid("/ns/payments/sa/other", here),
        "wrong_audience": domain.jwt_svid(PATH, "https://elsewhere.example"),
        "unknown_issuer": Domain("example.net").jwt_svid(PATH, here),
        "malformed": domain.jwt_svid(PATH, here, exp=None),
        "token_expired": domain.jwt_svid(PATH, here, exp=int(time.time()) - 120),
        "bad_svid": domain.jwt_svid("/ns/../sa/asker", here),
    }
    for why, token in wrong.items():
        offices.refused(_bearer(offices, token), "invalid_grant", why, "asker")


@pytest.mark.req("R024")
@pytest.mark.parametrize("shape", ["bundle", "pem"])
def test_an_x509_svid_is_believed_by_its_chain(offices: Offices, domain: Domain, shape: str) -> None:
    here = offices.console.url
    if shape == "pem":
        _trust(offices, domain, domain.root[0].public_bytes(Encoding.PEM).decode())
    pair = domain.workload(PATH)
    answer = _bearer(offices, proof(pair, here))
    assert answer.status_code == 200, answer.text
    assert offices.read(answer.json()["access_token"]).agent == "asker"
    assert offices.told("token.issued")[-1].data["by"] == "x509-svid"
    between = certificate([domain.id], domain.root, authority=True)
    below = certificate([f"{domain.id}{PATH}"], between)
    longer = _bearer(offices, proof(below, f"{here}/oauth/token", between[0]))
    assert longer.status_code == 200, longer.text
    once = proof(pair, here)
    assert _bearer(offices, once).status_code == 200
    offices.refused(_bearer(offices, once), "invalid_grant", "assertion_replayed", "asker")


@pytest.mark.req("R024")
def test_certificates_that_prove_nothing_are_refused_and_told(offices: Offices, domain: Domain) -> None:
    here, own = offices.console.url, f"{domain.id}{PATH}"
    pair, stranger = domain.workload(PATH), Domain()
    between = certificate([domain.id], domain.root, authority=True)
    leaf_as_authority = certificate([own], pair)
    no_uri = certificate(["https://example.org/asker"], domain.root)
    signs = x509.KeyUsage(True, False, False, False, False, True, False, False, False)
    wrong = {
        "an expired certificate": ("bad_chain", proof(domain.workload(PATH, starts=-7200, ends=-3600), here)),
        "one that is not valid yet": ("bad_chain", proof(domain.workload(PATH, starts=3600, ends=7200), here)),
        "another authority of the same name": ("bad_chain", proof(stranger.workload(PATH), here)),
        "a link that is missing": ("bad_chain", proof(certificate([own], between), here)),
        "a leaf that signed another": ("bad_chain", proof(leaf_as_authority, here, pair[0])),
        "a leaf that may sign certificates": ("bad_chain", proof(domain.workload(PATH, usage=signs), here)),
        "an authority as a leaf": ("bad_chain", proof(certificate([own], domain.root, authority=True), here)),
        "two names": ("bad_svid", proof(certificate([own, f"{own}2"], domain.root), here)),
        "a name that is none of SPIFFE's": ("bad_svid", proof(no_uri, here, sub=own)),
        "another's name in the token": (
            "wrong_subject",
            proof(domain.workload("/ns/payments/sa/other"), here, sub=own),
        ),
        "another's certificate": ("wrong_subject", proof(domain.workload("/ns/payments/sa/other"), here)),
        "another trust domain": ("unknown_issuer", proof(Domain("example.net").workload(PATH), here)),
        "another key than the certificate's": ("bad_signature", proof(pair, here, key=stranger.root)),
        "no jti": ("malformed", proof(pair, here, jti=None)),
        "a long life": ("malformed", proof(pair, here, exp=int(time.time()) + 7200)),
        "another audience": ("wrong_audience", proof(pair, "https://elsewhere.example")),
    }
    for what, (why, token) in wrong.items():
        answer = _bearer(offices, token)
        assert (answer.status_code, answer.json().get("error")) == (400, "invalid_grant"), what
        assert offices.told("token.refused")[-1].data["why"] == why, what


def test_a_bundle_that_has_expired_lets_nobody_in(offices: Offices) -> None:
    old = Domain("old.example", ends=-60)
    _trust(offices, old)
    refused = _bearer(offices, proof(old.workload(PATH), offices.console.url))
    offices.console.client.request("DELETE", "/v1/trust/spire", dict)
    offices.refused(refused, "invalid_grant", "bad_chain", "asker")


# -- rules -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("rule_too_wide", {"subject": "*"}),
        ("rule_too_wide", {"subject": "**", "claims": {"a": "*"}}),
        ("bad_issuer", {"issuer": "http://issuer.example"}),
        ("bad_issuer", {"issuer": "https://issuer.example/?x=1"}),
        ("bad_issuer", {"issuer": "spiffe://Example/x"}),
        ("no_bundle", {"issuer": "spiffe://example.org", "subject": "spiffe://example.org/a"}),
        ("bad_subject", {"issuer": "spiffe://example.org", "subject": "spiffe://example.orgy/a"}),
        ("bad_bundle", {"bundle": "nonsense"}),
        ("bad_bundle", {"bundle": '{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}'}),
        ("bad_bundle", {"bundle": '{"keys": []}'}),
        ("bad_days", {"days": 5000}),
        ("bad_rule", {"subject": "a\u0000"}),
    ],
)
def test_a_rule_that_says_too_little_is_refused(offices: Offices, code: str, changes: dict[str, Any]) -> None:
    body = {"agent": "asker", "issuer": "https://issuer.example", "subject": "someone"} | changes
    with pytest.raises(Refused) as refused:
        offices.console.client.put("/v1/trust/wrong", dict, body)
    assert (refused.value.code, refused.value.status) == (code, 422)


def test_the_commands(offices: Offices, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENURE_URL", offices.console.url)
    monkeypatch.setenv("TENURE_TOKEN", offices.operator)
    monkeypatch.setenv("COLUMNS", "200")
    bundle = tmp_path / "bundle.json"
    bundle.write_text(Domain().bundle())
    runner = CliRunner()
    assert "Nobody outside is trusted" in runner.invoke(whole(), ["trust", "list"]).output
    words = ["trust", "add", "spire", "--agent", "asker", "--issuer", "spiffe://example.org"]
    words += ["--subject", "spiffe://example.org/ns/*", "--bundle", str(bundle), "--claim", "team=payments"]
    made = runner.invoke(whole(), words)
    assert (made.exit_code, made.output) == (0, "spiffe://example.org is trusted for agent asker\n")
    [rule] = json.loads(runner.invoke(whole(), ["trust", "list", "--json"]).output)
    assert (rule["keys"], rule["claims"], rule["created_by"]) == (2, {"team": "payments"}, f"person:{OPERATOR}")
    assert "team=payments" in runner.invoke(whole(), ["trust", "list"]).output
    assert runner.invoke(whole(), [*words, "--claim", "nonsense"]).exit_code == 2
    assert runner.invoke(whole(), ["trust", "remove", "spire", "--yes"]).output == "spire is trusted no longer\n"
    assert runner.invoke(whole(), ["trust", "remove", "spire", "--yes"]).exit_code == 2
