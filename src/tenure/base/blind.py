"""Words under a key, so that content can be searched that lies sealed: who has the key finds a word, who has not learns
no more than that two rows of one subject share one.

A word's mark is 18 bits of its AES-256 encryption under a key that is made of the subject's own: without that key it
cannot be told from chance which word it stands for, and with the key destroyed nobody can any more. Other words have
the same mark now and then: what is found by marks has to be looked at. A mark is three characters. Those of an Event
stand in the order of their ciphertexts, each once: neither the order of the words nor how often each was said can be
read off. See docs/decisions/0033-words-under-keys.md.
"""

from __future__ import annotations

import hashlib
import hmac
import threading
from array import array
from collections.abc import Collection

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

MAX_BYTES = 64
"""So much of a word counts; words that begin alike for so long have the same mark."""
MAX_CACHED = 50_000
SIZE = 3
"""Characters of a mark."""
_CHARACTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_" * 4
"""The character of each byte: its lower six bits count."""


class _Blocks(dict[bytes, bytes]):
    """A word as a block of AES: a digest, kept at hand because most words come again and again."""

    def __missing__(self, word: bytes) -> bytes:
        if len(self) >= MAX_CACHED:
            self.clear()
        block = self[word] = hashlib.blake2b(word[:MAX_BYTES], digest_size=16).digest()
        return block


_blocks = _Blocks()


class Blind:
    """The marks of words under a subject's key. Safe to use from several threads."""

    def __init__(self, key: bytes | bytearray) -> None:
        own = hmac.digest(key, b"tenure words", "sha256")
        # Each block by itself: blocks of one call are digests of different words, so no two are the same.
        self._cipher = Cipher(algorithms.AES256(own), modes.ECB()).encryptor()  # noqa: S305 (as said above)
        self._lock = threading.Lock()

    def marks(self, words: Collection[bytes]) -> str:
        """The marks of different words, one after the other."""
        blocks = b"".join(map(_blocks.__getitem__, words))
        with self._lock:
            sealed = self._cipher.update(blocks)
        drawn = array("I", sorted(array("I", sealed)[::4])).tobytes()  # four bytes of each block
        marks = bytearray(SIZE * len(words))
        for place in range(SIZE):
            marks[place::SIZE] = drawn[place::4]
        return marks.translate(_CHARACTERS).decode("ascii")
