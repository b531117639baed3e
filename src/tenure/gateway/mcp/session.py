"""Sessions and what a client is able to be asked, as values. No I/O.

A session's id says whom it belongs to and what its client can do, so that no gateway has to remember either.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from tenure.kernel.json import Json, JsonObject
from tenure.kernel.values import Principal

ASKS = {"sampling/createMessage": "sampling", "elicitation/create": "elicitation", "roots/list": "roots"}
"""What a server can ask of its client, and the capability that lets it."""
LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
"""Levels of log messages, least first."""
DEFAULT_LEVEL = "info"
_FLAGS = {"s": ("sampling",), "t": ("sampling", "tools"), "e": ("elicitation", "form"), "u": ("elicitation", "url")}
_FLAGS |= {"r": ("roots",)}


def session_id(principal: Principal, nonce: str, flags: str = "") -> str:
    """The id of a session, derived from whom it belongs to; ``flags`` are those of ``flags_of``. It is no secret and
    opens nothing: every request shows the agent's token as well."""
    said = f"{nonce}.{flags}."
    owner = "\x1f".join((said, principal.workspace, principal.agent, principal.instance))
    return said + hashlib.sha256(owner.encode()).hexdigest()[:32]


def owns_session(principal: Principal, session: str) -> bool:
    """Whether ``session`` was opened by this very instance."""
    parts = session.split(".")
    return len(parts) == 3 and session == session_id(principal, parts[0], parts[1])


RESUME_BYTES = 4096
"""How long the id of an event may be: it comes back in a header, and proxies take 8 KB of those."""
_UNPACKED = 256 << 10


@dataclass(frozen=True, slots=True)
class Resume:
    """What the id of an event tells a gateway that has never seen the session: ``seq`` counts what the process ``boot``
    has told; ``level`` is that of log messages; ``uris`` are subscribed to. It is the client's own word and opens
    nothing: every subscription is decided on again."""

    boot: str
    seq: int
    level: str
    uris: tuple[str, ...] = ()


def resume_id(state: Resume) -> str:
    """``state`` as the id of an event."""
    packed = zlib.compress(msgspec.json.encode([state.boot, state.seq, state.level, state.uris]), 9)
    return base64.urlsafe_b64encode(packed).decode()


def read_resume_id(text: str) -> Resume | None:
    """The state in a ``Last-Event-ID``; None for what is not one of ours."""
    try:
        unpacked = zlib.decompressobj().decompress(base64.urlsafe_b64decode(text[: RESUME_BYTES * 2]), _UNPACKED)
        boot, seq, level, uris = msgspec.json.decode(unpacked, type=tuple[str, int, str, tuple[str, ...]])
    except (binascii.Error, zlib.error, msgspec.DecodeError, UnicodeError, ValueError):
        return None
    return Resume(boot, seq, level, uris) if level in LEVELS else None


def flags_of(capabilities: Json) -> str:
    """What of a client's capabilities matters later, as a few letters."""
    given = capabilities if isinstance(capabilities, dict) else {}
    elicitation = given.get("elicitation")
    if isinstance(elicitation, dict) and not {"form", "url"}.intersection(elicitation):
        given = {**given, "elicitation": {"form": {}}}  # what an empty one means since 2025-11-25
    return "".join(flag for flag, path in _FLAGS.items() if _has(given, path))


def capabilities_of(session: str) -> JsonObject:
    """The client's capabilities that a session's id tells."""
    out: dict[str, Any] = {}
    parts = session.split(".")
    for flag in parts[1] if len(parts) == 3 else "":
        name, *inner = _FLAGS.get(flag, ("",))
        if name:
            out.setdefault(name, {}).update({key: {} for key in inner})
    return out


def _has(value: Json, path: Iterable[str]) -> bool:
    for step in path:
        if not isinstance(value, dict) or value.get(step) is None:
            return False
        value = value[step]
    return True


def within(capabilities: Json, asks: Iterable[str]) -> JsonObject:
    """A client's capabilities as a server is told them: what it may not ask for is not there."""
    given = capabilities if isinstance(capabilities, dict) else {}
    allowed = set(asks)
    return {key: value for key, value in given.items() if key not in ASKS.values() or key in allowed}


def wanted_inputs(result: JsonObject) -> dict[str, tuple[str, JsonObject]]:
    """The input requests of an ``input_required`` result: key -> (method, params). Malformed ones are under the method
    ``""``, which nobody is granted."""
    requests = result.get("inputRequests")
    out: dict[str, tuple[str, JsonObject]] = {}
    for key, request in requests.items() if isinstance(requests, dict) else ():
        method = request.get("method") if isinstance(request, dict) else None
        params = request.get("params") if isinstance(request, dict) else None
        out[key] = (method if isinstance(method, str) else "", params if isinstance(params, dict) else {})
    return out


def hears(level: str, message: Json) -> bool:
    """Whether a client that set ``level`` is told a log message of level ``message``."""
    return message in LEVELS and LEVELS.index(message) >= LEVELS.index(level)
