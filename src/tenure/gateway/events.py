"""The event types that a gateway sends upward, each with one line that says what it means (``docs/events.md``)."""

from __future__ import annotations

from collections.abc import Mapping

EVENTS: Mapping[str, str] = {
    "call.completed": "A call was allowed and acted on, whatever the upstream answered.",
    "call.refused": "A call was denied, or nobody approved it in time; nothing was sent upstream.",
    "approval.requested": "A call is held until a person decides on exactly it.",
    "approval.claimed": "A call asks to be the one that uses a granted approval.",
    "gateway.dropped": "So many Events could not be kept, and why: the spool was full or its disk failed.",
}
