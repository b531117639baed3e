"""Arguments that plainly fit a plain schema are told at once; what is not plain is the validator's business. No I/O.

Most tools take a flat object of texts and numbers. A general validator takes longer over one than everything else that
a gateway does to a call, so it is asked only where this cannot say yes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from tenure.kernel.json import Json, JsonObject

Quick: TypeAlias = Callable[[JsonObject], bool]
"""True: the arguments fit. False: perhaps they do."""
_TYPES: dict[str, tuple[type, ...]] = {"string": (str,), "integer": (int,), "number": (int, float), "boolean": (bool,)}
_WORDS = {"$schema", "title", "description", "default", "examples"}  # these forbid nothing
_OBJECT = _WORDS | {"type", "properties", "required", "additionalProperties"}
_VALUE = _WORDS | {"type", "minimum", "maximum", "maxLength", "minLength"}


def quick_check(schema: JsonObject) -> Quick | None:
    """The check for ``schema``, None for one that is not plain: every keyword is known here and means one thing in
    every draft of JSON Schema."""
    properties, required = schema.get("properties", {}), schema.get("required", [])
    more = schema.get("additionalProperties", True)
    if schema.get("type") != "object" or not schema.keys() <= _OBJECT or not isinstance(more, bool):
        return None
    if not isinstance(properties, dict) or not isinstance(required, list):
        return None
    known: dict[str, Callable[[Json], bool]] = {}
    for name, inner in properties.items():
        check = _value_check(inner)
        if check is None:
            return None
        known[name] = check
    wanted = frozenset(required)

    def fits(arguments: JsonObject) -> bool:
        if not wanted <= arguments.keys():
            return False
        for name, value in arguments.items():
            check = known.get(name)
            if check is None:
                if not more:
                    return False
            elif not check(value):
                return False
        return True

    return fits


def _value_check(schema: Json) -> Callable[[Json], bool] | None:
    if not isinstance(schema, dict) or not schema.keys() <= _VALUE:
        return None
    types = _TYPES.get(schema["type"]) if isinstance(schema.get("type"), str) else None
    if types is None:
        return None
    bounds = [_bound(schema.get(word)) for word in ("minimum", "maximum", "minLength", "maxLength")]
    low, high, shortest, longest = bounds

    def check(value: Any) -> bool:
        if type(value) not in types:  # an integer may be written 1.0: the validator knows
            return False
        if types[0] is str:
            return (shortest is None or len(value) >= shortest) and (longest is None or len(value) <= longest)
        return types[0] is bool or ((low is None or value >= low) and (high is None or value <= high))

    return check


def _bound(value: Json) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
