"""Agents with keys of their own, as clients of the authorization server: Authlib and joserfc, and nothing of ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from authlib.integrations.requests_client import OAuth2Session  # type: ignore[import-untyped]  # (ships no types)
from authlib.oauth2.rfc7523 import PrivateKeyJWT  # type: ignore[import-untyped]  # (as above)
from joserfc.jwk import ECKey, OKPKey

KINDS: Mapping[str, Any] = {"ES256": ECKey, "Ed25519": OKPKey}


def key_pair(alg: str = "ES256") -> ECKey | OKPKey:
    """A key pair of the kind that ``alg`` takes."""
    if alg == "ES256":
        return ECKey.generate_key("P-256", auto_kid=True)
    return OKPKey.generate_key("Ed25519", auto_kid=True)


def session(client_id: str, key: ECKey | OKPKey, alg: str = "ES256") -> OAuth2Session:
    """An OAuth client that signs its assertions with ``key``."""
    auth = PrivateKeyJWT(alg=alg, headers={"alg": alg, "kid": key.kid})
    client = OAuth2Session(client_id, key, token_endpoint_auth_method="private_key_jwt")
    client.register_client_auth_method(auth)
    client.trust_env = False
    return client
