"""What a client is answered to a call of a tool that is not made: drafted, simulated, or left for a person. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tenure.gateway.mcp import codec
from tenure.gateway.mcp.schemas import first_allowed
from tenure.gateway.modes import words
from tenure.gateway.verdict import Verdict
from tenure.kernel.drafts import OFFER, SIMULATE
from tenure.kernel.json import Json, JsonObject
from tenure.kernel.values import Call

META = "tenure/mode"
_DEPTH = 16
_PLAIN: Mapping[str, Json] = {"string": "", "integer": 0, "number": 0, "boolean": False, "null": None, "array": []}


def set_aside(call: Call, verdict: Verdict, definition: JsonObject) -> dict[str, Any]:
    """The result of a call that was not made. A tool that promises a structure (``outputSchema``) can only be answered
    with one, or with an error: a draft has none, and a simulation one that its schema allows, where one is found."""
    text, mode = words(call, verdict), verdict.mode
    meta = {META: mode, codec.META_DECISION: codec.decision_meta(verdict.decision)}
    promised = isinstance(definition.get("outputSchema"), Mapping)
    result: dict[str, Any] = {"content": [{"type": "text", "text": text}], "isError": False, "_meta": meta}
    if mode == SIMULATE and promised:
        found = example(definition["outputSchema"])
        if found is not None:
            shown = {"type": "text", "text": json.dumps(found, ensure_ascii=False)}
            return {**result, "content": [*result["content"], shown], "structuredContent": found}
    return {**result, "isError": promised or mode == OFFER}


def example(schema: JsonObject) -> dict[str, Any] | None:
    """An object that a schema allows: its own example where it has one, else the least that its words ask for; None
    where neither is allowed by it."""
    given = [*_listed(schema.get("examples")), _least(schema, 0)]
    return first_allowed(schema, given)


def _least(schema: Json, depth: int) -> Json:
    if not isinstance(schema, Mapping) or depth > _DEPTH:
        return None
    for name in ("const", "default"):
        if name in schema:
            return schema[name]
    for name in ("examples", "enum"):
        if listed := _listed(schema.get(name)):
            return listed[0]
    return _of_type(schema, depth)


def _of_type(schema: JsonObject, depth: int) -> Json:
    kind = schema.get("type")
    kind = next(iter(_listed(kind)), None) if isinstance(kind, list | tuple) else kind
    properties = schema.get("properties")
    if kind == "object" or (kind is None and isinstance(properties, Mapping)):
        known = properties if isinstance(properties, Mapping) else {}
        return {str(name): _least(known.get(name, {}), depth + 1) for name in _listed(schema.get("required"))}
    if kind in ("integer", "number"):
        return schema.get("minimum", 0)
    if kind == "array" and schema.get("minItems"):
        return [_least(schema.get("items"), depth + 1)] * int(schema["minItems"])
    return _PLAIN.get(str(kind))


def _listed(value: Json) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []
