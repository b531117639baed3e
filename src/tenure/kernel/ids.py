"""Identifiers. All are lower-case hex, so that they survive URLs, SQL, JSON and OTLP unquoted."""

from __future__ import annotations

import hashlib
import os
import time

_ZERO16 = "0" * 16
_VERSION_7 = 0x7 << 76 | 0b10 << 62  # version and variant, as they lie among the lower 80 bits
_RANDOM = (1 << 80) - 1 - (0xF << 76) - (0b11 << 62)


def new_id() -> str:
    """A UUIDv7 (RFC 9562 section 5.7) as 32 hex digits: unique, and sorted by the millisecond it was made in."""
    drawn = int.from_bytes(_draw(), "big") & _RANDOM
    return f"{time.time_ns() // 1_000_000 << 80 | _VERSION_7 | drawn:032x}"


_drawn: list[bytes] = []
os.register_at_fork(after_in_child=_drawn.clear)


def _draw() -> bytes:
    """Ten random bytes. The system is asked for many at once: each time costs more than all the rest of an id."""
    while True:
        try:
            return _drawn.pop()
        except IndexError:
            many = os.urandom(2560)
            _drawn.extend(many[at : at + 10] for at in range(0, 2560, 10))


def stable_id(*parts: str) -> str:
    """32 hex digits that are always the same for the same parts. For things told twice."""
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:32]


def new_span_id() -> str:
    """16 hex digits, never all zero (W3C Trace Context section 3.2.2.4)."""
    span = os.urandom(8).hex()
    return span if span != _ZERO16 else new_span_id()


def moment_span(event: str) -> str:
    """The span id of what has none of its own: a moment of a trace that is told by the Event of this id."""
    return stable_id("span", event)[:16]


def session_trace(workspace: str, session: str) -> tuple[str, str]:
    """(trace id, root span id) of a session whose client sent no ``traceparent``: all its calls share one trace."""
    digest = hashlib.sha256(f"{workspace}\x1f{session}".encode()).hexdigest()
    return digest[:32], digest[32:48]
