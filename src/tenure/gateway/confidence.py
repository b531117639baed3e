"""How sure an agent says that it is of a call: a number from 0 to 1, in a header on every wire. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from math import isnan

from tenure.kernel.json import Json, JsonObject
from tenure.kernel.values import Call

HEADER = "x-tenure-confidence"
META = "tenure/confidence"
"""Where a call over MCP states it instead, in ``_meta``."""


def percent(stated: str) -> int:
    """What was stated, in whole percent, rounded down. What cannot be read as a number counts as no confidence at all:
    a statement only ever tightens."""
    try:
        value = float(stated)
    except ValueError:
        return 0
    return 0 if isnan(value) else int(min(1.0, max(0.0, value)) * 100 + 1e-9)


def with_stated(headers: Mapping[str, str], stated: Json) -> Mapping[str, str]:
    """``headers`` with what the body of a call states; of both, the smaller."""
    if stated is None:
        return headers
    told = [percent(str(stated))] + ([percent(headers[HEADER])] if HEADER in headers else [])
    return {**headers, HEADER: str(min(told) / 100)}


def stated_of(call: Call) -> JsonObject:
    """The attributes of an Event that tell of it, and of who stands behind the call."""
    out: JsonObject = {"tenure.tier": call.tier} if call.tier else {}
    return out if call.confidence is None else {**out, "tenure.confidence": call.confidence}
