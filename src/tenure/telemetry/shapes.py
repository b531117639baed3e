"""What arguments and results are like, as facts: how large, which fields, and whether the same was there before. Pure.

Arguments and results are content, kept under a key. What is told of them here is not: their size, a digest of the names
of their outermost fields (as a tool's definition gives them), and a mark of 16 bits. A mark is salted with the run and
the tool: two in one run that are alike are the same but for one in 65,536, and nobody learns from one what was said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256

import msgspec

from tenure.kernel.json import Json, JsonObject
from tenure.kernel.values import Event

ARGUMENTS, RESULT = "tenure.arguments", "tenure.result"
"""The attributes that hold what is told: ``size`` (bytes of JSON), ``mark`` and, of arguments, ``fields``."""
_ASKED, _ANSWERED = "gen_ai.tool.call.arguments", "gen_ai.tool.call.result"
_READ = 20_000
"""Arguments that came as text are read as JSON up to so many characters."""
_encode = msgspec.json.Encoder(order="deterministic").encode


def shaped(event: Event) -> Event:
    """The Event of a tool call with facts about its arguments and its result; any other as it is."""
    data = event.data
    asked, answered = data.get(_ASKED), data.get(_ANSWERED)
    if asked is None and answered is None:
        return event
    salt = (
        f"{event.session or event.trace_id or event.id}\0{data.get('tenure.resource') or data.get('gen_ai.tool.name')}"
    )
    told: JsonObject = {}
    if asked is not None:
        asked = _read(asked)
        told = {ARGUMENTS: {**_told(asked, salt), "fields": _fields(asked)}}
    if answered is not None:
        told = {**told, RESULT: _told(answered, salt)}
    return replace(event, data={**data, **told})


def _read(value: Json) -> Json:
    if isinstance(value, str) and len(value) <= _READ and value.lstrip().startswith("{"):
        try:
            read: Json = msgspec.json.decode(value)
        except msgspec.DecodeError:
            return value
        return read
    return value


def _told(value: Json, salt: str) -> JsonObject:
    raw = value.encode(errors="replace") if isinstance(value, str) else _encode(value)
    return {"size": len(raw), "mark": sha256(salt.encode(errors="replace") + b"\0" + raw).hexdigest()[:4]}


def _fields(value: Json) -> str:
    if not isinstance(value, Mapping):
        return "-"
    return sha256("\0".join(sorted(map(str, value))).encode(errors="replace")).hexdigest()[:8]
