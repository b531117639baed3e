"""Decisions read out of bytes, so that a fuzzer which knows bytes only can make values that have a shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

T = TypeVar("T")

_WORDS = ("", "a", "user", "assistant", "text", "0", "tenure", "é", "\u2028", "\x00", "A" * 300)
_NUMBERS: tuple[Any, ...] = (0, 1, -1, 2**31, 2**63, -(2**63) - 1, 10**30, 0.5, -1e308, 1e-9, 100.0)


class Source:
    """Reads ``data`` from the front. After its end every decision is the first one."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def byte(self) -> int:
        """0 to 255."""
        self._at += 1
        return self._data[self._at - 1] if self._at <= len(self._data) else 0

    def pick(self, options: Sequence[T]) -> T:
        """One of ``options``."""
        return options[self.byte() % len(options)]

    def some(self, size: int) -> bytes:
        """At most ``size`` bytes as they are."""
        part = self._data[self._at : self._at + size]
        self._at += size
        return part

    def rest(self) -> bytes:
        """All that is left."""
        return self.some(max(0, len(self._data) - self._at))

    def json(self, names: Sequence[str], depth: int = 0) -> Any:  # noqa: PLR0911 (one line for each kind of value)
        """A JSON value whose objects have the members ``names``, among others."""
        kind = self.byte() % (8 if depth < 12 else 5)
        match kind:
            case 0:
                return self.pick((None, True, False))
            case 1:
                return self.pick(_NUMBERS)
            case 2:
                return self.pick((*_WORDS, *names))
            case 3:
                return self.some(self.byte() % 24).decode("utf-8", "replace")
            case 4:
                return self.byte() * 256 + self.byte()
            case 5:
                return [self.json(names, depth + 1) for _ in range(self.byte() % 5)]
            case _:
                return {self.pick(names): self.json(names, depth + 1) for _ in range(self.byte() % 8)}

    def pieces(self, body: bytes) -> list[bytes]:
        """``body`` cut anywhere."""
        out = []
        while body:
            size = self.byte() % 23 + 1 if self.byte() % 4 else len(body)
            out.append(body[:size])
            body = body[size:]
        return out
