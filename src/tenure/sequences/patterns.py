"""What a pattern of a sequence rule matches: calls by what is called, by their arguments and by what is found in them.

Every pattern stands in a place where a match makes refusals more likely (``raising``) or less so. In doubt (an argument
of another type than the pattern reads, letters in another case, a key that a call does not say) a raising pattern
matches and a lowering one does not. Pure.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tenure.kernel.json import Json, JsonObject
from tenure.kernel.values import Call, CallKind

_MISSING = object()


@dataclass(frozen=True, slots=True)
class Test:
    """One condition on an argument. ``op`` is ``is`` (one of), ``like``, ``unlike``, ``over`` or ``under``."""

    path: str
    op: str
    operands: tuple[str | int | float | bool, ...]


@dataclass(frozen=True, slots=True)
class Pattern:
    """Calls of ``kind`` to what one of ``names`` matches (``*`` stands for any text), all of whose ``tests`` hold.

    ``found`` and ``returned`` are classes or rules of which one is found in what goes out, and in what came back.
    ``per`` is where the key stands in such a call's arguments, empty for none. ``failed``: whether a call that failed
    is one; None for what is safe, which is yes for raising ones only."""

    kind: CallKind
    names: tuple[str, ...]
    tests: tuple[Test, ...] = ()
    found: frozenset[str] = frozenset()
    returned: frozenset[str] = frozenset()
    per: str = ""
    failed: bool | None = None

    def names_it(self, kind: CallKind, resource: str) -> bool:
        """Whether it may match a call to that, whatever the arguments."""
        return kind is self.kind and any(like(resource, name) for name in self.names)

    def matches(self, call: Call, found: Callable[[], frozenset[str]], *, raising: bool) -> bool:
        """Whether it matches a call of what it names. ``found`` looks at what goes out, when that is asked for."""
        for test in self.tests:
            if not _holds(test.op, test.operands, value_at(call.arguments, test.path), raising):
                return False
        return not self.found or not self.found.isdisjoint(found())


def like(text: str, pattern: str) -> bool:
    """Whether ``pattern``, in which ``*`` stands for any text, is all of ``text``. Linear."""
    first, *rest = pattern.split("*")
    if not rest:
        return text == pattern
    last = rest.pop()
    if not text.startswith(first) or len(text) < len(first) + len(last) or not text.endswith(last):
        return False
    at, end = len(first), len(text) - len(last)
    for part in rest:
        at = text.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True


def value_at(arguments: JsonObject, path: str) -> object:
    """The argument at a path of names and numbers with dots between; ``*`` takes all items of a list. None where there
    is none."""
    found = _walk(arguments, path.split("."))
    return None if found is _MISSING else found


def _walk(value: object, parts: Sequence[str]) -> object:
    for index, part in enumerate(parts):
        if part == "*" and isinstance(value, list | tuple):
            rest = (_walk(item, parts[index + 1 :]) for item in value)
            return [item for item in rest if item is not _MISSING]
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list | tuple) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            return _MISSING
    return value


def _holds(op: str, operands: tuple[str | int | float | bool, ...], value: object, raising: bool) -> bool:
    if op == "unlike":
        return not _holds("like", operands, value, not raising)
    if value is None:
        return False
    if isinstance(value, list | tuple):
        each = [_holds(op, operands, item, raising) for item in value]
        return any(each) if raising else bool(each) and all(each)
    return raising if isinstance(value, dict) else _is(op, operands, value, raising)


def _is(op: str, operands: tuple[str | int | float | bool, ...], value: object, raising: bool) -> bool:
    if op == "is":
        return any(_same(value, operand, raising) for operand in operands)
    if op == "like":
        text = _folded(value) if raising else value
        return isinstance(text, str) and any(
            like(text, _folded(operand) if raising else str(operand)) for operand in operands
        )
    number, limit = _number(value, raising), float(operands[0])
    if number is None:
        return raising
    return number > limit if op == "over" else number < limit


def _same(value: object, operand: object, raising: bool) -> bool:
    if raising:
        return _folded(value) == _folded(operand)
    if isinstance(value, bool) or isinstance(operand, bool):
        return value is operand
    return value == operand


def _number(value: object, raising: bool) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and not raising:
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _folded(value: object) -> str:
    """One spelling of what a tool may take for the same: 7, 7.0 and "7", "Case-1" and "case-1 "."""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = " ".join(str(value).split()).casefold()
    try:
        number = float(text)
    except (ValueError, OverflowError):
        return text
    whole = math.isfinite(number) and number.is_integer() and abs(number) < 1 << 53
    return str(int(number)) if whole else text


def key_of(call: Call, path: str, *, raising: bool) -> str | None:
    """The key of a call: a short digest of the argument at ``path``, "" where a rule has no key; None for one that does
    not say it. For a raising pattern, spellings of the same are one key; for a lowering one they are several."""
    if not path:
        return ""
    value = value_at(call.arguments, path)
    if value is None or isinstance(value, dict | list | tuple):
        return None
    text = _folded(value) if raising else json.dumps(_plain(value))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:20]


def _plain(value: object) -> Json:
    return value if isinstance(value, str | int | float | bool) else str(value)
