"""What an agent says that a call is for (R050): how it is said on each wire, and where a tool is given a field for it.

It is recorded and shown to whoever decides on the call. Policies can demand that something is said; what is said is
seen by none of them, is not bound into an approval, and reaches no upstream. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from tenure.kernel.json import Json, JsonObject

REASON_HEADER = "x-tenure-reason"
"""On every wire; percent-encoded where it is more than ASCII."""
ARGUMENT = "_reason"
"""The argument that a tool is listed with where a policy demands a reason."""
META = "tenure/reason"
"""In the ``_meta`` of an MCP request."""
_LONGEST = 2000
_FIELD: JsonObject = {
    "type": "string",
    "minLength": 1,
    "maxLength": _LONGEST,
    "description": "What this call is for, in a sentence. People read it; the tool does not get it.",
}


def justification(said: Json) -> str:
    """What was said, within bounds; empty for nothing."""
    if not isinstance(said, str):
        return ""
    return said.strip()[:_LONGEST].strip()


def of_headers(headers: Mapping[str, str]) -> str:
    """What was said in a request's header."""
    said = headers.get(REASON_HEADER)
    return "" if said is None else justification(unquote(said))


def listed(definition: JsonObject) -> JsonObject:
    """A tool's definition with the argument in its input schema; as it is when the tool has one of that name."""
    schema = definition.get("inputSchema")
    properties = schema.get("properties", {}) if isinstance(schema, Mapping) else None
    if not isinstance(schema, Mapping) or not isinstance(properties, Mapping) or ARGUMENT in properties:
        return definition
    required = schema.get("required")
    wanted = [*(required if isinstance(required, list | tuple) else ()), ARGUMENT]
    return {
        **definition,
        "inputSchema": {**schema, "properties": {**properties, ARGUMENT: _FIELD}, "required": wanted},
    }


def parted(arguments: JsonObject, definition: JsonObject) -> tuple[JsonObject, str]:
    """A call's arguments without the one that says what it is for, and what that said. A tool that has an argument of
    that name by itself keeps it."""
    schema = definition.get("inputSchema")
    properties: Any = schema.get("properties") if isinstance(schema, Mapping) else None
    if ARGUMENT not in arguments or (isinstance(properties, Mapping) and ARGUMENT in properties):
        return arguments, ""
    return {key: value for key, value in arguments.items() if key != ARGUMENT}, justification(arguments[ARGUMENT])
