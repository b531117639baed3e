"""Which trace a call belongs to: that of its client, or that of its session."""

from __future__ import annotations

from functools import lru_cache

from tenure.kernel.ids import session_trace

of_session = lru_cache(maxsize=4096)(session_trace)


@lru_cache(maxsize=4096)
def of_traceparent(value: str) -> tuple[str, str] | None:
    """(trace id, parent span id) of a W3C ``traceparent``; None for one that must be ignored (section 3.2)."""
    parts = value.strip().split("-")
    if len(parts) < 4 or parts[0] == "ff" or (parts[0] == "00" and len(parts) != 4):
        return None
    sizes = (2, 32, 16, 2)
    for part, size in zip(parts, sizes, strict=False):
        if len(part) != size or any(letter not in "0123456789abcdef" for letter in part):
            return None
    if not parts[1].strip("0") or not parts[2].strip("0"):
        return None
    return parts[1], parts[2]
