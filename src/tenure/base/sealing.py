"""A box that one reader can open: what the control plane sends to one gateway, and no other, may know. Pure."""

from __future__ import annotations

from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from tenure.kernel.errors import Refused

HEADER = "x-tenure-box"
"""The header in which a gateway sends the public key of its box."""
_SEALED = jwe.JWERegistry(algorithms=["ECDH-ES", "A256GCM"])


def seal_for(box: str, payload: bytes) -> str:
    """A compact JWE (ECDH-ES over X25519, A256GCM) for who has the private key to ``box`` (the ``x`` of its JWK).
    Raises Refused for a box that is none."""
    try:
        key = OKPKey.import_key({"kty": "OKP", "crv": "X25519", "x": box})
        return jwe.encrypt_compact({"alg": "ECDH-ES", "enc": "A256GCM"}, payload, key, registry=_SEALED)
    except (JoseError, ValueError, TypeError) as error:
        raise Refused("bad_box", "That is no public key to seal for.", status=422) from error


class Box:
    """A key pair that was just made and is kept nowhere. ``public`` goes to whoever seals."""

    def __init__(self) -> None:
        self._key = OKPKey.generate_key("X25519")
        self.public = str(self._key.as_dict(private=False)["x"])

    def opened(self, sealed: str) -> bytes:
        """What was sealed for this box. Raises ValueError for anything else."""
        try:
            return bytes(jwe.decrypt_compact(sealed, self._key, registry=_SEALED).plaintext or b"")
        except (JoseError, ValueError, TypeError) as error:
            raise ValueError("this was not sealed for this gateway") from error
