"""JSON Schemas of tools: whether one is usable, what it says of arguments, what it allows.

They come from upstream servers, so none of their references is ever fetched. The library is loaded with the first list
of tools: it takes four megabytes, and many gateways have models alone behind them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from importlib import import_module
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

from tenure.kernel.json import Json, JsonObject

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError
    from jsonschema.protocols import Validator

_MOST = 10


async def load() -> None:
    """Loads the library, beside the loop: calls of others go on meanwhile."""
    await asyncio.to_thread(import_module, "jsonschema.validators")


def checker(schema: dict[str, Any]) -> tuple[Validator | None, str]:
    """What checks arguments against a schema, or None and why it is not usable."""
    from jsonschema.exceptions import SchemaError  # noqa: PLC0415 (see above)
    from jsonschema.validators import Draft202012Validator, validator_for  # noqa: PLC0415 (see above)
    from referencing import Registry  # noqa: PLC0415 (see above)

    kind = validator_for(schema, default=Draft202012Validator)
    try:
        kind.check_schema(schema)
    except SchemaError as error:
        return None, error.message
    return kind(schema, registry=Registry()), ""


def faults(validator: Validator, arguments: JsonObject) -> str:
    """Empty when ``arguments`` fit; else up to ten faults: where, what is wrong and what is right. Takes seconds for
    arguments of megabytes."""
    from referencing.exceptions import Unresolvable  # noqa: PLC0415 (see above)

    try:
        first = islice(validator.iter_errors(arguments), _MOST)  # an array can have millions
        found = sorted(first, key=lambda fault: list(map(str, fault.absolute_path)))
    except (Unresolvable, RecursionError) as error:
        return f"the input schema that the server gave is not usable: {error}"
    return "; ".join(map(_told, found))


def first_allowed(schema: JsonObject, given: Sequence[Json]) -> dict[str, Any] | None:
    """The first object of some that a schema allows; None where it allows none, or is not usable."""
    from jsonschema.exceptions import SchemaError  # noqa: PLC0415 (see above)
    from jsonschema.validators import Draft202012Validator  # noqa: PLC0415 (see above)
    from referencing import Registry  # noqa: PLC0415 (see above)
    from referencing.exceptions import Unresolvable  # noqa: PLC0415 (see above)

    try:
        check = Draft202012Validator(schema, registry=Registry())
        return next((dict(one) for one in given if isinstance(one, Mapping) and check.is_valid(one)), None)
    except (SchemaError, Unresolvable, RecursionError, TypeError, ValueError):
        return None


def _told(fault: ValidationError) -> str:
    from jsonschema.exceptions import best_match  # noqa: PLC0415 (see above)

    inner = best_match(fault.context) if fault.context else None
    if inner is not None and inner.relative_path:
        fault = inner
    where = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in fault.absolute_path).lstrip(".")
    right = ""
    rule, wanted = fault.validator, cast("Any", fault.validator_value)
    if rule == "type":
        right = f" (give {wanted if isinstance(wanted, str) else ' or '.join(map(str, wanted))})"
    elif rule == "additionalProperties" and isinstance(fault.schema, dict):
        right = f" (known: {', '.join(sorted(fault.schema.get('properties', {}))) or 'none'})"
    elif rule == "required" and isinstance(fault.schema, dict):
        right = f" (required: {', '.join(map(str, fault.schema.get('required', [])))})"
    return f"{where or 'arguments'}: {fault.message[:300]}{right}"
