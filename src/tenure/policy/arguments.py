"""A Call's arguments as policies see them: scalars by dotted path, in four bags by type.

Cedar knows 64-bit integers, decimals of four places, strings and booleans, and its records are closed. So arguments are
carried as entity tags: ``context.longs.getTag("customer.id")``. Paths join object keys and list positions by dots
(``items.0.price``); a dot or backslash inside a key is written ``\\.`` or ``\\\\``, so that no key can pose as a path.
A list also has ``<path>.length``. A null is as good as absent.

Numbers: an integer is carried in ``longs`` and in ``decimals``; a fraction of at most four places in ``decimals``
only; ``100.0`` is the integer 100, as JSON Schema has it. Anything else is carried nowhere. ``decide`` refuses a call
that gives an argument in a type its policies do not read it as: a limit must not be dodged by sending 100.5 or "500"
where the policy expects a whole number.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

BAGS = ("longs", "decimals", "strings", "bools")
TAG_TYPE = {"longs": "Longs", "decimals": "Decimals", "strings": "Strings", "bools": "Bools"}
MAX_DEPTH = 64

_I64 = 1 << 63
_FLOAT_EXACT = float(1 << 53)
_DECIMAL_MAX = Decimal("922337203685477.5807")
_DECIMAL_STEP = Decimal("0.0001")
_MISSING = object()

Carried = dict[str, Any]
"""Bag name -> value as Cedar's entity JSON writes it."""


def segments(path: str) -> tuple[str, ...]:
    """The keys of a dotted path, with escapes taken off."""
    out, word, escaped = [], "", False
    for char in path:
        if escaped:
            word, escaped = word + char, False
        elif char == "\\":
            escaped = True
        elif char == ".":
            out.append(word)
            word = ""
        else:
            word += char
    return (*out, word)


def escape(key: str) -> str:
    """An object key as one segment of a path."""
    return key.replace("\\", "\\\\").replace(".", "\\.") if "." in key or "\\" in key else key


def lookup(arguments: Any, path: tuple[str, ...]) -> Any:
    """The value at ``path``, or ``None`` when there is none."""
    value = arguments
    for key in path:
        value = _step(value, key)
        if value is _MISSING:
            return None
    return value


def _step(value: Any, key: str) -> Any:
    if isinstance(value, dict):
        return value.get(key, _MISSING)
    if isinstance(value, list | tuple):
        if key == "length":
            return len(value)
        if (
            key.isascii()
            and key.isdigit()
            and (key == "0" or key[0] != "0")
            and len(key) < 10
            and int(key) < len(value)
        ):
            return value[int(key)]
    return _MISSING


def carry(value: Any) -> Carried:
    """The bags that can hold ``value``; empty for an object, a list, and what Cedar cannot represent."""
    if isinstance(value, bool):
        return {"bools": value}
    if isinstance(value, str):
        return {} if _broken(value) else {"strings": value}
    if isinstance(value, float):
        return _carry_float(value)
    if isinstance(value, int):
        out: Carried = {"longs": value} if -_I64 <= value < _I64 else {}
        if abs(value) <= _DECIMAL_MAX:
            out["decimals"] = _decimal(Decimal(value))
        return out
    return {}


def _carry_float(value: float) -> Carried:
    if (
        not abs(value) < _FLOAT_EXACT
    ):  # also NaN and infinities; beyond this a float no longer says which integer it was
        return {}
    if value.is_integer():
        return carry(int(value))
    exact = Decimal(repr(value))
    return {} if exact % _DECIMAL_STEP else {"decimals": _decimal(exact)}


def _decimal(value: Decimal) -> Any:
    return {"__extn": {"fn": "decimal", "arg": f"{value:.4f}"}}


def _broken(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate, which JSON can write and UTF-8 cannot
        return True
    return False


def leaves(arguments: Any) -> Iterator[tuple[str, Any]]:
    """(path, scalar) of every scalar and every list's length. Nested deeper than MAX_DEPTH, the container itself is
    given in place of its content, so that it counts as unrepresentable."""
    stack: list[tuple[str, Any, int]] = [("", arguments, 0)]
    while stack:
        path, value, depth = stack.pop()
        prefix = f"{path}." if depth else ""
        if isinstance(value, dict) and depth <= MAX_DEPTH:
            stack.extend((prefix + escape(str(key)), item, depth + 1) for key, item in value.items())
        elif isinstance(value, list | tuple) and depth <= MAX_DEPTH:
            yield f"{prefix}length", len(value)
            stack.extend((f"{prefix}{index}", item, depth + 1) for index, item in enumerate(value))
        elif value is not None:
            yield path, value


def unrepresentable(arguments: Any) -> bool:
    """Whether anything in ``arguments`` can be carried in no bag (``context.unrepresentable``)."""
    return any(not carry(value) for _, value in leaves(arguments))
