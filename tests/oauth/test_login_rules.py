"""The pure rules of logging in: where a browser may be sent, what a request must say, what a document may be."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import pytest

from tenure.base.addresses import is_public
from tenure.kernel.errors import Refused
from tenure.oauth.login import model
from tenure.oauth.login.model import Asked, Program, Turned

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ISSUER, GATEWAY = "http://127.0.0.1:7700", "http://127.0.0.1:7710"
BACK = "http://127.0.0.1:1/callback"
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")
GOOD = {
    "response_type": "code",
    "client_id": "p",
    "redirect_uri": BACK,
    "code_challenge": CHALLENGE,
    "code_challenge_method": "S256",
    "resource": f"{GATEWAY}/mcp",
    "state": "s",
    "scope": "tool:crm/*",
}


def program(*redirects: str) -> Program:
    return Program("p", "default", "P", redirects or (BACK,), "operator", NOW, "person:op@example.com")


def ask(**changes: str | None) -> Asked | Turned:
    found = {name: value for name, value in (GOOD | changes).items() if value is not None}
    return model.asked(found, program(), ISSUER, GATEWAY)


@pytest.mark.parametrize(
    "uri",
    [
        "https://app.example/cb",
        "https://app.example:8443/cb?x=1",
        "http://127.0.0.1/cb",
        "http://127.0.0.1:3000/cb",
        "http://[::1]:3000/cb",
        "http://localhost:3000/cb",
        "cursor://anysphere.cursor/callback",
        "com.example.app:/oauth",
    ],
)
def test_a_browser_may_be_sent_to_a_program(uri: str) -> None:
    assert model.checked_redirect(uri) == uri


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "x",
        "/cb",
        "http://app.example/cb",
        "http://127.0.0.1.evil.example/cb",
        "http://localhost.evil.example/cb",
        "http://127.0.0.1@evil.example/cb",
        "https://user@app.example/cb",
        "https://app.example/cb#x",
        "https://*.example/cb",
        "https:///cb",
        "https:app.example",
        "http:\\\\127.0.0.1/cb",
        "http://127.0.0.1\\@evil.example/cb",
        "https://app.example/c b",
        "https://app.example/cb\n",
        'https://app.example/"onclick',
        "https://app.example:99999/",
        "https://[::1/",
        "javascript:alert(1)",
        "JavaScript://127.0.0.1/%0aalert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "blob:https://x/1",
        "about:blank",
        "ftp://x/y",
        "https://é.example/",
    ],
)
def test_a_browser_is_never_sent_there(uri: str) -> None:
    with pytest.raises(Refused) as refused:
        model.checked_redirect(uri)
    assert refused.value.code == "invalid_redirect_uri"


@pytest.mark.parametrize(
    ("registered", "asked", "same"),
    [
        (BACK, BACK, True),
        (BACK, "http://127.0.0.1:49152/callback", True),
        ("http://127.0.0.1/callback", "http://127.0.0.1:49152/callback", True),
        ("http://localhost:1/callback", "http://localhost:2/callback", True),
        ("http://[::1]/callback", "http://[::1]:9/callback", True),
        (BACK, "http://127.0.0.1:1/callback/", False),
        (BACK, "http://127.0.0.1:1/callback?x=1", False),
        (BACK, "http://127.0.0.1:1/Callback", False),
        (BACK, "http://localhost:1/callback", False),
        (BACK, "https://127.0.0.1:1/callback", False),
        (BACK, "http://127.0.0.1:1@evil.example/callback", False),
        (BACK, "http://127.0.0.1.evil.example/callback", False),
        (BACK, "http://127.0.0.1:99999/callback", False),
        (BACK, "http://127.0.0.1:0/callback", False),
        (BACK, "", False),
        ("https://app.example/cb", "https://app.example:444/cb", False),
        ("https://app.example/cb", "https://app.example/cb/../x", False),
        ("https://app.example/cb", "https://APP.example/cb", False),
        ("app:/cb", "app:/cb2", False),
    ],
)
def test_an_address_is_the_registered_one_to_the_letter_but_for_a_port_here(
    registered: str, asked: str, same: bool
) -> None:
    assert model.same_place(registered, asked) is same


def test_a_request_that_keeps_every_rule() -> None:
    found = ask()
    assert isinstance(found, Asked)
    assert (found.redirect, found.audience, found.scopes) == (BACK, f"{GATEWAY}/mcp", ("tool:crm/*",))
    assert (found.state, found.challenge) == ("s", CHALLENGE)


@pytest.mark.parametrize(
    ("changes", "error", "why"),
    [
        ({"response_type": "token"}, "unsupported_response_type", "response_type"),
        ({"response_type": None}, "unsupported_response_type", "response_type"),
        ({"code_challenge_method": "plain"}, "invalid_request", "pkce"),
        ({"code_challenge_method": None}, "invalid_request", "pkce"),
        ({"code_challenge_method": "s256"}, "invalid_request", "pkce"),
        ({"code_challenge": None}, "invalid_request", "pkce"),
        ({"code_challenge": "x" * 42}, "invalid_request", "pkce"),
        ({"code_challenge": "x" * 42 + "="}, "invalid_request", "pkce"),
        ({"request": "eyJ"}, "request_not_supported", "request_object"),
        ({"request_uri": "https://x/"}, "request_not_supported", "request_object"),
        ({"resource": None}, "invalid_target", "resource"),
        ({"resource": ISSUER}, "invalid_target", "resource"),
        ({"resource": f"{GATEWAY}.evil.example/mcp"}, "invalid_target", "resource"),
        ({"resource": f"{GATEWAY}/a2a/x/../../mcp"}, "invalid_target", "resource"),
        ({"scope": "everything"}, "invalid_scope", "scope"),
        ({"scope": "agents:apply"}, "invalid_scope", "scope"),
        ({"dpop_jkt": "x"}, "invalid_request", "dpop_jkt"),
    ],
)
def test_a_broken_rule_is_answered_at_the_program(changes: dict[str, str | None], error: str, why: str) -> None:
    found = ask(**changes)
    assert isinstance(found, Turned)
    assert found.why == why
    told = parse_qs(urlsplit(found.location).query)
    assert found.location.startswith(f"{BACK}?")
    assert (told["error"], told["state"], told["iss"]) == ([error], ["s"], [ISSUER])
    assert "code" not in told


def test_nobody_is_sent_to_an_address_that_is_not_the_programs() -> None:
    with pytest.raises(Refused) as refused:
        ask(redirect_uri="https://evil.example/cb")
    assert refused.value.code == "wrong_redirect_uri"
    with pytest.raises(Refused):
        model.asked(GOOD | {"redirect_uri": ""}, program(BACK, "https://app.example/cb"), ISSUER, GATEWAY)
    assert isinstance(ask(redirect_uri=None), Asked)  # one only: there is nothing to choose


@pytest.mark.parametrize("query", ["state=a&state=b", "x=%ff", "a=1" * 4000, "&".join(f"a{n}=1" for n in range(60))])
def test_what_could_be_read_in_two_ways_is_not_read(query: str) -> None:
    with pytest.raises(Refused) as refused:
        model.parameters(query)
    assert refused.value.code == "bad_authorization_request"


def test_without_scopes_a_surface_is_asked_for_with_all_that_belongs_to_it() -> None:
    words = {
        "/mcp": ("data:*", "tool:*"),
        "/a2a": ("agent:*", "data:*"),
        "/a2a/billing": ("agent:billing", "data:*"),
        "/v1": ("data:*", "model:*"),
        "": ("agent:*", "data:*", "model:*", "tool:*"),
    }
    for path, scopes in words.items():
        found = ask(resource=GATEWAY + path, scope="offline_access")
        assert isinstance(found, Asked)
        assert found.scopes == scopes
        assert found.audience == GATEWAY + path


def test_the_answer_keeps_what_the_address_had() -> None:
    found = model.answer("https://app.example/cb?a=1", ISSUER, "s t", code="c")
    assert found == "https://app.example/cb?a=1&code=c&state=s%20t&iss=http%3A%2F%2F127.0.0.1%3A7700"
    assert model.answer("app:/cb", ISSUER, "", code="c").startswith("app:/cb?code=c&iss=")


@pytest.mark.parametrize("verifier", [VERIFIER[:-1] + "w", CHALLENGE, "", "v" * 42, "v" * 129, VERIFIER + "é"])
def test_only_the_verifier_itself_proves_anything(verifier: str) -> None:
    assert model.proves(VERIFIER, CHALLENGE)
    assert not model.proves(verifier, CHALLENGE)


@pytest.mark.parametrize(
    ("address", "loopback", "public"),
    [
        ("93.184.216.34", False, True),
        ("2606:4700::1111", False, True),
        ("127.0.0.1", False, False),
        ("127.0.0.1", True, True),
        ("::1", True, True),
        ("::ffff:127.0.0.1", False, False),
        ("::ffff:10.0.0.1", True, False),
        ("10.0.0.1", True, False),
        ("172.16.0.1", False, False),
        ("192.168.1.1", False, False),
        ("169.254.169.254", True, False),
        ("100.64.0.1", False, False),
        ("0.0.0.0", True, False),  # noqa: S104 (nobody listens there)
        ("224.0.0.1", False, False),
        ("255.255.255.255", False, False),
        ("fe80::1%eth0", False, False),
        ("fc00::1", False, False),
        ("2002:7f00:1::", False, False),
        ("64:ff9b::a00:1", False, False),
        ("::", True, False),
        ("name", True, False),
    ],
)
def test_a_strangers_document_is_fetched_from_the_public_network_only(
    address: str, loopback: bool, public: bool
) -> None:
    assert is_public(address, loopback=loopback) is public


@pytest.mark.parametrize(
    "address",
    [
        "http://app.example/c.json",
        "https://app.example",
        "https://app.example/",
        "https://app.example/a/../c.json",
        "https://app.example/./c.json",
        "https://app.example/c.json#x",
        "https://user:pw@app.example/c.json",
        "https://127.0.0.1/c.json",
        "https://localhost/c.json",
        "https://app.example:0/c.json",
        "https://app.example:99999/c.json",
        "https:///c.json",
        "https://app.example/c d",
        "https://app.example/" + "x" * 500,
    ],
)
def test_an_address_that_is_no_documents(address: str) -> None:
    with pytest.raises(Refused) as refused:
        model.checked_document_address(address, loopback=False)
    assert refused.value.code == "bad_client_document"


DOCUMENT = {"client_id": "https://app.example/c.json", "client_name": "  App\u202e\n ", "redirect_uris": [BACK]}


def test_a_document_says_who_a_program_is() -> None:
    found = model.program_of_document("https://app.example/c.json", DOCUMENT, "default", NOW)
    assert (found.name, found.redirects, found.how) == ("App", (BACK,), "document")
    nameless = {**DOCUMENT, "client_name": 7}
    assert model.program_of_document("https://app.example/c.json", nameless, "default", NOW).name == "app.example"


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": "https://other.example/c.json"},
        {"client_secret": "x"},
        {"token_endpoint_auth_method": "client_secret_basic"},
        {"token_endpoint_auth_method": "private_key_jwt"},
        {"redirect_uris": []},
        {"redirect_uris": "https://app.example/cb"},
        {"redirect_uris": [7]},
        {"redirect_uris": ["javascript:alert(1)"]},
        {"redirect_uris": [BACK] * 21},
        {"grant_types": ["client_credentials"]},
    ],
)
def test_a_document_that_says_something_else(changes: dict[str, object]) -> None:
    with pytest.raises(Refused):
        model.program_of_document("https://app.example/c.json", DOCUMENT | changes, "default", NOW)
    with pytest.raises(Refused):
        model.program_of_document("https://app.example/c.json", [DOCUMENT], "default", NOW)


def test_scopes_in_words() -> None:
    words = model.words_of(["tool:*", "tool:crm/*", "tool:crm/read", "agent:billing", "data:public"])
    assert words[0] == "Use every tool that the agent was granted"
    assert words[1:] == [
        "Use the tools crm/*",
        "Use the tool crm/read",
        "Give work to the agent billing",
        "Work with data of class public",
    ]
