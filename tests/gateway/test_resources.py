"""A client that knows the gateway's address and nothing else finds out where to log in."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from mcp.client.auth.utils import (
    build_protected_resource_metadata_discovery_urls,
    extract_field_from_www_auth,
    extract_resource_metadata_from_www_auth,
    extract_scope_from_www_auth,
)
from mcp.shared.auth import ProtectedResourceMetadata
from mcp.shared.auth_utils import check_resource_allowed

from tests.sim.control import ISSUER

PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


@pytest.fixture
def house(shared_house: Any) -> Any:
    """One gateway for all of this file."""
    return shared_house


@pytest.mark.parametrize(
    ("surface", "where", "scope"),
    [
        ("/mcp", "/mcp", "tool:* data:*"),
        ("/a2a", "/a2a", "agent:* data:*"),
        ("/a2a/front-desk", "/a2a/front-desk", "agent:front-desk data:*"),
        ("/a2a/front-desk/message:send", "/a2a/front-desk", "agent:front-desk data:*"),
        ("/a2a/front-desk/.well-known/agent-card.json", "/a2a/front-desk", "agent:front-desk data:*"),
        ("/a2a/NOT A NAME", "/a2a", "agent:* data:*"),
    ],
)
def test_who_is_turned_away_is_told_where_to_log_in(house: Any, surface: str, where: str, scope: str) -> None:
    with httpx2.Client(base_url=house.gateway.url, trust_env=False) as client:
        refused = client.post(surface, json=PING)
        assert refused.status_code == 401
        told = extract_resource_metadata_from_www_auth(refused)
        assert told == f"{house.gateway.url}/.well-known/oauth-protected-resource{where}"
        assert extract_scope_from_www_auth(refused) == scope
        assert extract_field_from_www_auth(refused, "error") is None  # nothing was sent that could be wrong
        assert len(refused.headers.get_list("www-authenticate")) == 1

        found = ProtectedResourceMetadata.model_validate_json(client.get(told).content)
        assert str(found.resource) == house.gateway.url + where
        assert [str(server) for server in found.authorization_servers] == [ISSUER]
        assert found.scopes_supported == scope.split()
        assert found.bearer_methods_supported == ["header"]

        wrong = client.post(surface, json=PING, headers={"authorization": "Bearer nonsense"})
        assert (wrong.status_code, extract_field_from_www_auth(wrong, "error")) == (401, "invalid_token")


def test_a_client_that_guesses_the_document_by_the_address_finds_it_too(house: Any) -> None:
    guesses = build_protected_resource_metadata_discovery_urls(None, f"{house.gateway.url}/mcp")
    assert len(guesses) == 2
    for guess in guesses:
        answer = httpx2.get(guess, trust_env=False)
        resource = str(ProtectedResourceMetadata.model_validate_json(answer.content).resource)
        assert check_resource_allowed(f"{house.gateway.url}/mcp", resource)
        assert answer.headers["cache-control"] == "public, max-age=60"
        assert httpx2.head(guess, trust_env=False).content == b""


def test_there_is_no_document_of_what_is_not_protected_and_none_is_written(house: Any) -> None:
    where = f"{house.gateway.url}/.well-known/oauth-protected-resource"
    for path in ("/v1", "/healthz", "/a2a/UPPER", "/a2a/a/b", "/mcp/x"):
        assert httpx2.get(where + path, trust_env=False).status_code == 404
    assert httpx2.get(where + "-not", trust_env=False).status_code == 404
    assert httpx2.post(f"{where}/mcp", json={}, trust_env=False).status_code == 405


def test_a_call_that_is_let_in_carries_no_challenge(house: Any) -> None:
    headers = {"authorization": f"Bearer {house.control.token('clerk')}"}
    answer = httpx2.post(f"{house.gateway.url}/mcp", json=PING, headers=headers, trust_env=False)
    assert (answer.status_code, answer.headers.get("www-authenticate")) == (200, None)
