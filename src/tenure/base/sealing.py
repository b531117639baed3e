"""Sealing: keys as bytes, and a box that one reader can open: what the control plane sends to one gateway. Pure."""

from __future__ import annotations

from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from tenure.kernel.errors import Refused

KEY_BYTES = 32
"""Of every symmetric key that keeps something."""
HEADER = "x-tenure-box"
"""The header in which a gateway sends the public key of its box."""
_SEALED = jwe.JWERegistry(algorithms=["ECDH-ES", "A256GCM"])


def wipe(*buffers: bytearray) -> None:
    """Overwrites what is in them."""
    for buffer in buffers:
        buffer[:] = bytes(len(buffer))


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
