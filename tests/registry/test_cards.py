"""Cards of agents elsewhere: read, verified when they are signed, refused when a signature does not hold."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from a2a.server.request_handlers.response_helpers import agent_card_to_dict
from a2a.types import AgentCapabilities, AgentCard, AgentInterface, AgentSkill
from a2a.utils.signing import create_agent_card_signer
from joserfc.jwk import ECKey
from jwt import PyJWK

from tenure.base.room import World
from tenure.kernel.errors import Failed, Refused
from tenure.kernel.values import Actor, Role
from tenure.registry import externals, service
from tenure.registry.cards import card_of, payload_of
from tests.sim.manifests import manifest

OPERATOR = Actor("default", "person:ada@example.com", frozenset({Role.OPERATOR}))


class Site:
    """A web site with JSON on it."""

    def __init__(self) -> None:
        pages: dict[str, Any] = {}
        self.pages = pages

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = pages.get(self.path)
                body = found if isinstance(found, bytes) else json.dumps(found).encode()
                self.send_response(200 if found is not None else 404)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Says nothing."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def site() -> Iterator[Site]:
    found = Site()
    yield found
    found.server.shutdown()
    found.server.server_close()


def signed_card(site: Site) -> dict[str, Any]:
    """A card as the SDK signs and serves it, with the fields of older versions beside those of 1.0; its key at the
    site."""
    key = ECKey.generate_key("P-256", {"use": "sig", "alg": "ES256"}, auto_kid=True)
    site.pages["/keys"] = {"keys": [key.as_dict(private=False)]}
    card = AgentCard(
        name="Über Übersetzer",
        description="Translates",
        version="1",
        supported_interfaces=[AgentInterface(url=site.url, protocol_binding="JSONRPC", protocol_version="1.0")],
        capabilities=AgentCapabilities(streaming=True),
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        skills=[AgentSkill(id="t", name="T", description="Translates", tags=["x"])],
    )
    header: Any = {"kid": key.kid, "alg": "ES256", "jku": f"{site.url}/keys", "typ": "JOSE"}
    create_agent_card_signer(PyJWK(key.as_dict(private=True)), header)(card)
    return agent_card_to_dict(card)


@pytest.mark.req("R184")
@pytest.mark.asi("ASI04", "An agent's card is signed, and a changed one refused")
def test_a_card_that_the_sdk_signed_is_verified_and_a_changed_one_refused(world: World, site: Site) -> None:
    card = signed_card(site)
    # Servers put the fields of older versions into the same document; they are no part of what was signed.
    card |= {"protocolVersion": "0.3.0", "preferredTransport": "JSONRPC", "url": site.url}
    site.pages["/.well-known/agent-card.json"] = card
    found = externals.import_card(world, OPERATOR, url=site.url)
    assert (found.name, found.signature.state, found.signature.jku) == (
        "ber-bersetzer",
        "verified",
        f"{site.url}/keys",
    )
    site.pages["/.well-known/agent-card.json"] = {**card, "description": "Steals"}
    with pytest.raises(Refused, match="none of its signatures holds"):
        externals.import_card(world, OPERATOR, url=site.url)
    site.pages["/keys"] = {"keys": []}
    with pytest.raises(Refused, match="none of its signatures holds"):
        externals.import_card(world, OPERATOR, card=card)


@pytest.mark.parametrize(
    ("card", "why"),
    [
        ([], "not a JSON object"),
        ({}, "has no name"),
        ({"name": "x"}, "has no description"),
        ({"name": "x", "description": "y"}, "the address 'None'"),
        ({"name": "x", "description": "y", "url": "ftp://x/"}, "not an http or https address"),
        ({"name": "x", "description": "y", "url": "http://u:p@x/"}, "not an http or https address"),
        ({"name": "x", "description": "y", "url": "http://x/", "preferredTransport": "GRPC"}, "offers neither"),
        ({"name": "x", "description": "y", "url": "http://x/", "protocolVersion": "9.9"}, "offers neither"),
        ({"name": "!", "description": "y", "url": "http://x/"}, "cannot be the name"),
    ],
)
def test_what_is_no_card_is_refused(world: World, card: Any, why: str) -> None:
    with pytest.raises(Refused, match=why):
        externals.import_card(world, OPERATOR, card=card)


def test_an_address_that_serves_no_card(world: World, site: Site) -> None:
    site.pages |= {"/junk": b"{", "/long": b" " * (300 << 10)}
    for path, why in (("/none", "answers 404"), ("/junk", "not JSON"), ("/long", "longer than")):
        with pytest.raises(Refused, match=why):
            externals.import_card(world, OPERATOR, url=site.url + path)
    with pytest.raises(Refused, match="not an http or https address"):
        externals.import_card(world, OPERATOR, url="file:///etc/passwd")
    with pytest.raises(Failed, match="cannot be fetched"):
        externals.import_card(world, OPERATOR, url="http://127.0.0.1:9/card")


def test_a_name_is_an_agents_here_or_one_elsewhere(world: World) -> None:
    card = {"name": "x", "description": "y", "url": "http://x/"}
    service.apply(world, OPERATOR, manifest("clerk", "http://127.0.0.1:9/v1"))
    with pytest.raises(Refused, match="is the name of an agent"):
        externals.import_card(world, OPERATOR, card=card, name="clerk")
    externals.import_card(world, OPERATOR, card=card, name="elsewhere")
    with pytest.raises(Refused) as refused:
        service.apply(world, OPERATOR, manifest("elsewhere", "http://127.0.0.1:9/v1"))
    assert refused.value.details["faults"][0]["problem"] == "elsewhere is the name of an external agent"
    with pytest.raises(Refused) as refused:
        service.apply(world, OPERATOR, manifest("asker", "http://127.0.0.1:9/v1", agents=[{"name": "elsewher"}]))
    assert refused.value.details["faults"][0]["hint"] == "did you mean elsewhere?"
    service.apply(world, OPERATOR, manifest("asker", "http://127.0.0.1:9/v1", agents=[{"name": "elsewhere"}]))
    externals.remove(world, OPERATOR, "elsewhere")
    with pytest.raises(Refused, match="no external agent"):
        externals.remove(world, OPERATOR, "elsewhere")


def test_a_published_card_is_its_own_canonical_form() -> None:
    skill = {"id": "t", "name": "T", "description": "D", "tags": ["x"], "input_modes": ["text/plain"]}
    spec = {"purpose": "p", "a2a": {"url": "http://x", "protocol": "1.0", "version": "1", "skills": [skill]}}
    card = card_of("clerk", spec, "http://gateway")
    assert card is not None
    assert [row["protocolBinding"] for row in card["supportedInterfaces"]] == ["JSONRPC"]
    assert card["skills"][0]["inputModes"] == ["text/plain"]
    bare = {key: value for key, value in card.items() if key not in ("capabilities", "securityRequirements")}
    assert {key: payload_of(card)[key] for key in bare} == bare


@pytest.mark.parametrize(
    ("spec", "path", "problem"),
    [
        ({"agents": [{"name": "asker"}]}, "spec.agents[0].name", "lets the agent call itself"),
        ({"agents": [{"name": "asker", "tools": []}]}, "spec.agents[0].tools", "is empty"),
        ({"a2a": {"skills": []}}, "spec.a2a.skills", "is empty"),
        ({"callbacks": ["http://x/"]}, "spec.callbacks[0]", "must be a host"),
    ],
)
def test_what_a_manifest_cannot_mean(world: World, spec: dict[str, Any], path: str, problem: str) -> None:
    with pytest.raises(Refused) as refused:
        service.apply(world, OPERATOR, manifest("asker", "http://127.0.0.1:9/v1", **spec))
    fault = refused.value.details["faults"][0]
    assert fault["path"] == path
    assert problem in fault["problem"]
