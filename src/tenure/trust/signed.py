"""Reading signed outside tokens: JWTs (RFC 7519) by the keys of a rule, with none of the freedoms that a header offers.
Pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, OKPKey, RSAKey

from tenure.kernel.json import JsonObject
from tenure.trust.model import MAX_TOKEN, unbelieved

ALGORITHMS = (*("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"),)
_FITTING = {"RSA": ("RS", "PS"), "EC": ("ES",), "OKP": ("Ed",)}
_REGISTRY = jws.JWSRegistry(algorithms=list(ALGORITHMS), strict_check_header=False)
_REGISTRY.max_header_length = MAX_TOKEN  # of the instance: a chain of certificates is in the header
PublicKey = RSAKey | ECKey | OKPKey


def opened(token: str) -> tuple[JsonObject, JsonObject]:
    """(header, claims) of a token that nobody has believed yet. Raises Refused (401) for what is no JWT, and for a
    header that asks for anything unusual."""
    if len(token) > MAX_TOKEN:
        raise unbelieved("malformed", "The token is too long.")
    try:
        found = jws.extract_compact(token.encode("ascii"), registry=_REGISTRY)
        header, claims = found.headers(), msgspec.json.decode(found.payload or b"")
    except (JoseError, ValueError, TypeError, RecursionError, AttributeError, msgspec.DecodeError) as error:
        raise unbelieved("malformed", "This is no JSON Web Token.") from error
    if not isinstance(header, dict) or not isinstance(claims, dict) or "crit" in header or "b64" in header:
        raise unbelieved("malformed", "The token's header asks for what is not understood.")
    if header.get("alg") not in ALGORITHMS:
        raise unbelieved("bad_algorithm", "The token is not signed with an algorithm that is taken.")
    return header, claims


def public_key(jwk: JsonObject) -> PublicKey | None:
    """A public key for signatures; None for any other, and for a weak one."""
    needed = {name: value for name, value in jwk.items() if name in ("kty", "crv", "x", "y", "n", "e", "d")}
    try:
        key = JWKRegistry.import_key(needed)
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    if (
        not isinstance(key, RSAKey | ECKey | OKPKey)
        or key.is_private
        or jwk.get("use") not in (None, "sig", "jwt-svid")
    ):
        return None
    return None if isinstance(key, RSAKey) and key.raw_value.key_size < 2048 else key


def holds(token: str, header: JsonObject, keys: Iterable[PublicKey]) -> bool:
    """Whether one of ``keys`` signed ``token``. A key is used for algorithms of its own kind only."""
    for key in keys:
        if not str(header["alg"]).startswith(_FITTING[key.key_type]):
            continue
        try:
            jws.deserialize_compact(token, key, registry=_REGISTRY)
        except (JoseError, ValueError, TypeError):
            continue
        return True
    return False


def named(keys: Iterable[JsonObject], header: JsonObject) -> list[PublicKey]:
    """The public keys that a header may mean: those of its ``kid``, or all when it has none."""
    kid = header.get("kid")
    found = [public_key(jwk) for jwk in keys if kid is None or jwk.get("kid") == kid]
    return [key for key in found if key is not None]
