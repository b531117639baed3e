"""Which workspace a stranger means: as far as a request without a credential that counts says so."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec

from tenure.gateway.http import Request
from tenure.identity.model import MAX_TOKEN_CHARS, verified
from tenure.kernel.errors import Refused
from tenure.kernel.snapshot import Snapshot


class _Any:
    """Holds every audience."""

    def __contains__(self, _: object) -> bool:
        return True


def addressed(request: Request, snapshot: Snapshot | None, home: str) -> str:
    """That of the token, where this installation signed it (it has expired, or is meant for another service); of the
    agent that is called by its name, where one workspace alone has such an agent; the only one there is; else
    ``home``, which is the installation's own."""
    if snapshot is None:
        return home
    if found := _of_token(request, snapshot):
        return found
    _, _, rest = request.path.partition("/a2a/")
    name = rest.partition("/")[0]
    having = {fact.workspace for fact in snapshot.agents.values() if fact.name == name} if name else set()
    for known in (having, set(snapshot.workspaces)):
        if len(known) == 1:
            return known.pop()
    return home


def _of_token(request: Request, snapshot: Snapshot) -> str:
    token = request.headers.get("authorization", "").partition(" ")[2].strip()
    if token.count(".") != 2 or len(token) > MAX_TOKEN_CHARS:
        return ""
    try:
        payload = token.split(".")[1].encode("ascii")
        claims: Any = msgspec.json.decode(base64.urlsafe_b64decode(payload + b"=" * (-len(payload) % 4)))
        at = claims["iat"] if isinstance(claims, dict) else None
        if not isinstance(at, int | float):
            return ""
        return verified(token, snapshot.keys, snapshot.issuer, _Any(), float(at)).principal.workspace
    except (Refused, ValueError, KeyError, RecursionError, binascii.Error, msgspec.DecodeError):
        return ""
