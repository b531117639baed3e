"""From a value to what is kept of it, and back."""

from __future__ import annotations

import secrets as randomness
from collections.abc import Sequence

from tenure.base import keys, log
from tenure.base.room import World
from tenure.base.sealing import KEY_BYTES, wipe
from tenure.kernel.errors import Failed
from tenure.secrets.model import Sealed, opened, seal

_log = log.get("secrets")


def sealed(world: World, plain: bytearray, about: tuple[str, str, int]) -> Sealed:
    """The value under a new data key; what was given is wiped."""
    key = bytearray(randomness.token_bytes(KEY_BYTES))
    try:
        nonce, ciphertext = seal(plain, key, about)
        kek, wrapped = keys.keys_of(world.config).wrap([key])
        return Sealed(kek, wrapped[0], nonce, ciphertext)
    finally:
        wipe(plain, key)


def opened_by_mark(world: World, kept: Sequence[tuple[tuple[str, str, int], Sealed]]) -> dict[str, bytearray]:
    """What was sealed, by mark; wipe it after use. What was changed, or whose key is gone for good, is left out: it
    must not keep the others back. Raises Failed while the key cannot be had."""
    known = keys.keys_of(world.config)
    kept = [(about, sealed) for about, sealed in kept if known.known(sealed.kek)]
    if not kept:
        return {}
    data_keys = known.unwrap([(sealed.kek, sealed.wrapped) for _, sealed in kept])
    found = {}
    try:
        for (about, sealed), key in zip(kept, data_keys, strict=True):
            try:
                found[sealed.nonce.hex()] = opened(sealed, key, about)
            except Failed:
                _log.error("secret_damaged", workspace=about[0], secret=about[1], version=about[2])
    finally:
        wipe(*data_keys)
    return found
