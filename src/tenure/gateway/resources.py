"""How a client that knows the gateway's address and nothing else finds out where to log in (RFC 9728, RFC 6750).

A request without a credential that counts is answered 401 with a challenge, which names a document; the document names
the authorization server. Both are told to anybody: they hold no fact about an agent or a person.
"""

from __future__ import annotations

import re
from dataclasses import replace

import msgspec

from tenure.gateway.http import Request, Response
from tenure.gateway.snapshot import Facts

WELL_KNOWN = "/.well-known/oauth-protected-resource"
_DATA = "data:*"  # without it an agent that declares classes of data could do nothing (``kernel.scopes``)
_PEER = re.compile(r"/a2a/([a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)(?:/|$)")
_HEADERS = (("cache-control", "public, max-age=60"),)
_WHAT = {"/mcp": "tools over MCP", "/a2a": "agents over A2A", "": "the gateway"}


class Resources:
    """What is told of the gateway's own surfaces. ``address`` is where clients reach the gateway, without a slash at
    its end: a client compares it with the address that it was given."""

    def __init__(self, facts: Facts, address: str) -> None:
        self._facts = facts
        self._address = address

    def handle(self, request: Request) -> Response:
        """The document of one surface: of ``/mcp``, ``/a2a``, ``/a2a/<agent>``, and of all of it. Whether there is such
        an agent is not told here."""
        path = request.path.removeprefix(WELL_KNOWN).rstrip("/")
        scopes = _scopes(path)
        if scopes is None:
            return Response(404, _problem("not_found", f"Nothing that is protected is at {path[:200]}."))
        if request.method not in ("GET", "HEAD"):
            return Response(405, _problem("method_not_allowed", "Use GET here."), (("allow", "GET, HEAD"),))
        snapshot = self._facts.current
        if snapshot is None:
            text = "The gateway has not heard from the control plane yet."
            return Response(503, _problem("no_snapshot", text), (("retry-after", "1"),))
        document = {
            "resource": self._address + path,
            "authorization_servers": [snapshot.issuer],
            "scopes_supported": scopes,
            "bearer_methods_supported": ["header"],
            "resource_name": "Tenure: " + (_WHAT.get(path) or f"agent {path.removeprefix('/a2a/')}"),
        }
        return Response(200, msgspec.json.encode(document), _HEADERS)

    def challenged(self, request: Request, response: Response) -> Response:
        """``response``, which says by a challenge where to log in if it is a 401."""
        if response.status != 401:
            return response
        peer = _PEER.match(request.path)
        path = peer[0].rstrip("/") if peer else "/mcp" if request.path == "/mcp" else "/a2a"
        scopes = _scopes(path) or []
        challenge = f'Bearer resource_metadata="{self._address}{WELL_KNOWN}{path}", scope="{" ".join(scopes)}"'
        if "authorization" in request.headers:  # one that sent nothing is told no error (RFC 6750 section 3.1)
            challenge += ', error="invalid_token"'
        kept = tuple(header for header in response.headers if header[0] != "www-authenticate")
        return replace(response, headers=(*kept, ("www-authenticate", challenge)))


def _scopes(path: str) -> list[str] | None:
    """What there is to ask for at a surface, None where there is none."""
    if path == "/mcp":
        return ["tool:*", _DATA]
    if path == "/a2a":
        return ["agent:*", _DATA]
    if not path:
        return ["agent:*", _DATA, "model:*", "tool:*"]
    peer = _PEER.fullmatch(path)
    return [f"agent:{peer[1]}", _DATA] if peer else None


def _problem(code: str, message: str) -> bytes:
    return msgspec.json.encode({"error": code, "error_description": message})
