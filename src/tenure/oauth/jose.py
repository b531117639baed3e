"""Compact JWS (RFC 7515) that others sign: read strictly, checked with one key and one algorithm. Pure.

A header says which key and algorithm to use, and is written by whoever wants in. So the caller says what may stand in
it, and the algorithm is the key's own: ``none``, HS256 with a public key, keys and addresses of keys that a header
brings along, and critical extensions are all refused before any key is touched (RFC 8725).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Container
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import msgspec
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey

from tenure.kernel.json import JsonObject

ALGORITHMS = ("ES256", "Ed25519", "EdDSA")
"""What clients may sign with. EdDSA is what Ed25519 was called before RFC 9864, and still is by most libraries."""

_CALLED = {"ES256": "ES256", "Ed25519": "Ed25519", "EdDSA": "Ed25519"}
_REGISTRY = jws.JWSRegistry(algorithms=["ES256", "Ed25519"])
_PUBLIC = {("EC", "P-256"): ("x", "y"), ("OKP", "Ed25519"): ("x",)}
_ALGORITHM = {"EC": "ES256", "OKP": "Ed25519"}
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


class Unreadable(ValueError):  # noqa: N818 (a finding about what somebody sent)
    """Not what it should be. The message says what is wrong in words that end no sentence."""


@dataclass(frozen=True, slots=True)
class Jws:
    """A JWS whose header was read and whose signature nobody has looked at yet."""

    header: JsonObject
    claims: JsonObject
    signed: jws.CompactSignature


def read(token: str, *, types: Container[str | None], members: frozenset[str], most: int) -> Jws:
    """``token`` as a JWS whose header has nothing but ``members``, a ``typ`` of ``types``, and an algorithm of
    ``ALGORITHMS``; its payload a JSON object. Raises Unreadable. ``most``: characters."""
    if len(token) > most:
        raise Unreadable(f"it is longer than {most} characters")
    try:
        signed = jws.extract_compact(token.encode("ascii"), registry=_REGISTRY)
        header = signed.headers()
        claims = msgspec.json.decode(signed.payload or b"")
    except (JoseError, ValueError, TypeError, RecursionError, AttributeError) as error:
        raise Unreadable("it is no compact JWS of JSON") from error
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise Unreadable("its parts are no JSON objects")
    if extra := sorted(set(header) - members):
        raise Unreadable(f"its header has members that it may not have ({', '.join(map(str, extra))[:100]})")
    kind = header.get("typ")
    if not (kind is None or isinstance(kind, str)) or kind not in types:
        raise Unreadable("its header names another type")
    if header.get("alg") not in ALGORITHMS:
        raise Unreadable(f"it is not signed with {' or '.join(ALGORITHMS)}")
    signed.protected = {"alg": _CALLED[header["alg"]]}  # the bytes that were signed are kept apart from it
    return Jws(header, claims, signed)


def holds(token: Jws, public: JsonObject) -> bool:
    """Whether the signature is that of this key, by the only algorithm that the key is for."""
    if token.signed.protected["alg"] != _ALGORITHM.get(str(public.get("kty"))):
        return False
    try:
        return bool(jws.validate_compact(token.signed, _key(_text(public)).key, registry=_REGISTRY))
    except (JoseError, ValueError, TypeError):
        return False


@dataclass(frozen=True, slots=True)
class _Key:
    key: ECKey | OKPKey
    thumbprint: str


@lru_cache(maxsize=1024)
def _key(public: str) -> _Key:
    jwk = json.loads(public)
    key = ECKey.import_key(jwk) if jwk["kty"] == "EC" else OKPKey.import_key(jwk)
    return _Key(key, key.thumbprint())


def _text(public: JsonObject) -> str:
    return json.dumps(dict(public))


def public_jwk(jwk: Any) -> dict[str, str]:
    """The members of a public key that make it what it is. Raises Unreadable for a private key, for one of another kind
    than P-256 and Ed25519, and for one that is no point of its curve."""
    if not isinstance(jwk, dict):
        raise Unreadable("it is no JSON object")
    if _PRIVATE & set(jwk):
        raise Unreadable("it holds a private key")
    kind, curve = jwk.get("kty"), jwk.get("crv")
    names = _PUBLIC.get((kind, curve)) if isinstance(kind, str) and isinstance(curve, str) else None
    if names is None:
        raise Unreadable("it is no key of the kind P-256 (kty EC) or Ed25519 (kty OKP)")
    if any(not isinstance(jwk.get(name), str) or len(jwk[name]) > 100 for name in names):
        raise Unreadable("its coordinates are missing")
    public = {"kty": cast("str", kind), "crv": cast("str", curve)} | {name: str(jwk[name]) for name in names}
    try:
        _key(_text(public)).thumbprint  # noqa: B018 (the point is looked at when the key is made)
    except (JoseError, ValueError, TypeError) as error:
        raise Unreadable("it is no point of its curve") from error
    return public


def algorithm(public: JsonObject) -> str:
    """The one algorithm that a key is for."""
    return _ALGORITHM[str(public["kty"])]


def thumbprint(public: JsonObject) -> str:
    """The key's name that everybody comes to (RFC 7638, SHA-256): 43 characters."""
    return _key(_text(public)).thumbprint


def claimed_issuer(token: str, most: int) -> str:
    """The ``iss`` that an unchecked token says it is of, to tell of it; empty when it says nothing readable."""
    if len(token) > most:
        return ""
    try:
        payload = token.split(".")[1]
        claims = msgspec.json.decode(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        issuer = claims["iss"]
    except (ValueError, IndexError, KeyError, TypeError, RecursionError):
        return ""
    return issuer if isinstance(issuer, str) else ""
