"""The key sets of outside issuers: OpenID Connect discovery, and then the keys. Kept for a while.

Nothing of a token is an address here: it is the rule that names the issuer.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import httpx2

from tenure.kernel.errors import Failed
from tenure.kernel.json import JsonObject
from tenure.trust.model import trusted_issuer

FRESH_S = 600.0
"""How long a key set is taken for the present one, in seconds."""

AGAIN_S = 10.0
"""How soon it is asked for again because a token names a key that it does not have, in seconds."""

_MAX_BYTES = 1 << 20
_known: dict[str, tuple[float, Sequence[JsonObject]]] = {}


def keys_of(issuer: str, kid: object) -> Sequence[JsonObject]:
    """The public keys of an issuer. ``kid``: one that should be among them; a new one is looked for at once, but not
    more often than every 10 seconds. Raises Failed (502) when the issuer cannot be heard."""
    now, kept = time.monotonic(), _known.get(issuer)
    if kept is not None:
        age = now - kept[0]
        has = kid is None or any(jwk.get("kid") == kid for jwk in kept[1])
        if age < AGAIN_S or (has and age < FRESH_S):
            return kept[1]
    document = _answer(issuer.rstrip("/") + "/.well-known/openid-configuration")
    if document.get("issuer") != issuer:
        raise Failed("issuer_unavailable", f"{issuer} says that it is somebody else.", status=502)
    found = _answer(trusted_issuer(str(document.get("jwks_uri")))).get("keys")
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise Failed("issuer_unavailable", f"{issuer} shows no key set.", status=502)
    _known[issuer] = (now, found)
    return found


def _answer(url: str) -> Mapping[str, Any]:
    where = urlsplit(url).netloc
    try:
        with httpx2.Client(timeout=5, trust_env=False, follow_redirects=False) as client:
            answer = client.get(url)
            if answer.status_code != 200 or len(answer.content) > _MAX_BYTES:
                raise Failed("issuer_unavailable", f"{where} answered {answer.status_code}.", status=502)
            told = answer.json()
    except (httpx2.HTTPError, ValueError) as error:
        raise Failed("issuer_unavailable", f"{where} does not answer.", status=502, retry=True) from error
    if not isinstance(told, dict):
        raise Failed("issuer_unavailable", f"{where} answers nonsense.", status=502)
    return told
