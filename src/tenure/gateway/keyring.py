"""What gateways of one installation can check of each other without asking anybody: marks, seals and signatures under
the keys that they share. Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterator, Mapping

from joserfc import jwe, jws
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from tenure.kernel.errors import Refused

_SIGNED = jws.JWSRegistry(algorithms=["HS256"])
_SEALED = jwe.JWERegistry(algorithms=["dir", "A256GCM"])
_MARK = 12  # bytes of a mark: 96 bits that nobody can guess


class Keyring:
    """Works with ``secrets`` (id to 32 bytes in base64url): the greatest id makes what is new, all of them check. One
    that begins with ``~`` only checks yet, until every gateway has heard of it.

    Each purpose has keys of its own, so that nothing made for one can be shown for another."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self.secrets = secrets
        self._keys: dict[tuple[str, str], bytes] = {}

    def _key(self, ident: str, purpose: str) -> bytes:
        known = self._keys.get((ident, purpose))
        if known is None:
            secret = self.secrets[ident].removeprefix("~")
            root = base64.urlsafe_b64decode(secret + "=" * (-len(secret) % 4))
            known = self._keys[ident, purpose] = hmac.digest(root, f"tenure {purpose} v1".encode(), "sha256")
        return known

    def _newest(self) -> str:
        if not self.secrets:
            raise Refused(
                "no_gateway_keys",
                "The gateway has no keys of its installation.",
                fix="Try again when the control plane has started.",
                status=503,
            )
        return max(ident for ident, secret in self.secrets.items() if not secret.startswith("~"))

    def _all(self, purpose: str) -> Iterator[bytes]:
        return (self._key(ident, purpose) for ident in sorted(self.secrets, reverse=True))

    # -- marks: short, and made anew to be compared
    def mark(self, purpose: str, *parts: str) -> str:
        """16 characters that only these gateways can make for these parts."""
        return _mark(self._key(self._newest(), purpose), parts)

    def is_mark(self, mark: str, purpose: str, *parts: str) -> bool:
        """Whether ``mark`` is one for these parts, under any key that is believed."""
        given = mark.encode()
        return any(hmac.compare_digest(_mark(key, parts).encode(), given) for key in self._all(purpose))

    # -- signatures: to be read by others, and believed here
    def sign(self, purpose: str, payload: bytes) -> str:
        """A compact JWS (HS256) of ``payload``."""
        ident = self._newest()
        header = {"alg": "HS256", "kid": ident, "typ": purpose}
        return jws.serialize_compact(header, payload, OctKey.import_key(self._key(ident, purpose)), registry=_SIGNED)

    def signed(self, purpose: str, token: str) -> bytes | None:
        """The payload of what ``sign`` made for this purpose; None for anything else."""
        try:
            found = jws.extract_compact(token.encode("ascii"), registry=_SIGNED)
            header = found.headers()
            if header.get("typ") != purpose or header.get("alg") != "HS256" or header.get("kid") not in self.secrets:
                return None
            key = OctKey.import_key(self._key(header["kid"], purpose))
            return found.payload if jws.validate_compact(found, key, registry=_SIGNED) else None
        except (JoseError, ValueError, TypeError, AttributeError, RecursionError):
            return None

    # -- seals: to be kept by others, and read here only
    def seal(self, purpose: str, payload: bytes) -> str:
        """A compact JWE (dir, A256GCM) of ``payload``."""
        ident = self._newest()
        header = {"alg": "dir", "enc": "A256GCM", "kid": ident}
        return jwe.encrypt_compact(header, payload, OctKey.import_key(self._key(ident, purpose)), registry=_SEALED)

    def opened(self, purpose: str, sealed: str) -> bytes | None:
        """What ``seal`` was given for this purpose; None for anything else."""
        for key in self._all(purpose):
            try:
                return jwe.decrypt_compact(sealed, OctKey.import_key(key), registry=_SEALED).plaintext
            except (JoseError, ValueError, TypeError, AttributeError, RecursionError):
                continue
        return None


def _mark(key: bytes, parts: tuple[str, ...]) -> str:
    digest = hmac.digest(key, b"\x1f".join(part.encode("utf-8", "replace") for part in parts), hashlib.sha256)
    return base64.urlsafe_b64encode(digest[:_MARK]).decode()
