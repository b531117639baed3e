"""Events as they come in over HTTP: taken whole, or refused whole with the place and the reason. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from tenure.kernel.errors import Refused
from tenure.kernel.values import Event

MAX_BATCH = 5000
"""The most Events that one request may bring."""
MAX_DEPTH = 100
"""The deepest that an Event's data may be nested; JSON readers further on stop at 200."""

_decode = msgspec.json.Decoder(Event).decode
_split = msgspec.json.Decoder(list[msgspec.Raw]).decode


def parse_events(body: bytes, types: Iterable[str]) -> list[Event]:
    """The Events of a request: a JSON array or one JSON object a line. Raises Refused for the whole when one of them is
    malformed or of another type than ``types``, with its index and the reason."""
    try:
        raw = _split(body) if body.lstrip()[:1] == b"[" else [line for line in body.split(b"\n") if line.strip()]
    except (msgspec.DecodeError, RecursionError) as error:
        raise Refused(
            "malformed_events",
            f"The body is not JSON: {error}",
            fix="Send a JSON array of Events, or one Event a line.",
            status=422,
        ) from error
    if len(raw) > MAX_BATCH:
        raise Refused(
            "too_many_events", f"{len(raw)} Events in one request.", fix=f"Send at most {MAX_BATCH}.", status=413
        )
    allowed = frozenset(types)
    return [_parsed(index, item, allowed) for index, item in enumerate(raw)]


def _parsed(index: int, item: Any, allowed: frozenset[str]) -> Event:
    try:
        event = _decode(item)
        text = bytes(item)
        deep = text.count(b"{") + text.count(b"[") > MAX_DEPTH and _depth(event.data) > MAX_DEPTH
        reason = f"data is nested deeper than {MAX_DEPTH}" if deep else _fault(event, allowed)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        reason = str(error)
    if reason:
        raise Refused(
            "malformed_event",
            f"Event {index}: {reason}. None of the batch was kept.",
            fix="See docs/events.md for the shape of an Event.",
            status=422,
            details={"index": index, "problem": reason},
        )
    return event


def _depth(value: Any) -> int:
    """How deep a JSON value is nested, as far as it matters: one more than ``MAX_DEPTH`` at most."""
    depth, level = 0, [value]
    while level and depth <= MAX_DEPTH:
        depth += 1
        inner = [item for item in level if isinstance(item, dict | list)]
        level = [part for item in inner for part in (item.values() if isinstance(item, dict) else item)]
    return depth


_LENGTHS = {"id": 64, "workspace": 63, "type": 63, "agent": 63}
_TEXTS = ("actor", "release", "instance", "session", "trace_id", "span_id", "parent_span_id", "policy_version")


def _fault(event: Event, allowed: frozenset[str]) -> str:
    """What is wrong with an Event, empty when nothing is."""
    if event.type not in allowed:
        return f"type {event.type!r} may not be sent here; {', '.join(sorted(allowed))} may"
    for name, limit in _LENGTHS.items():
        value = getattr(event, name)
        if value is None and name == "agent":
            continue
        if not value or len(value) > limit or "\0" in value:
            return f"{name} must be 1 to {limit} characters"
    for name in _TEXTS:
        value = getattr(event, name)
        if value is not None and (len(value) > 512 or "\0" in value):
            return f"{name} must be at most 512 characters"
    if event.time.tzinfo is None:
        return "time must name its offset from UTC"
    if event.duration_us is not None and not 0 <= event.duration_us < 2**53:
        return "duration_us must be microseconds, 0 or more"
    return ""
