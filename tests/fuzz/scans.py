"""What holds for scanning and redaction, whatever the text."""

from __future__ import annotations

from typing import Any

import msgspec

from tenure.base.scan.rules import RULES
from tenure.base.scan.texts import clean, kinds, look, words
from tests.fuzz.source import Source

_NAMES = (
    *("content", "text", "password", "api_key", "Authorization", "\\u0061", "\\/", '{"a":"', "\\", '"', "\n", "[" * 40),
    *(rule.example for rule in RULES),
    *(rule.near for rule in RULES),
)
_KINDS = tuple(sorted({rule.kind for rule in RULES}))


def scan(data: bytes) -> None:
    """Looking at a value and cleaning it never fail. What was JSON is JSON after it, of the same shape; nothing of the
    kinds that were asked for is left, and nothing else is changed."""
    source = Source(data)
    mode = source.byte() % 4
    if mode == 0:
        value: Any = source.rest()
    elif mode == 1:
        value = source.rest().decode("utf-8", "replace")
    else:
        value = source.json(_NAMES)
        for _ in range(source.byte() % 6 and source.byte() * 3):  # deeper than a walk reaches
            value = [value]
        value = msgspec.json.encode(value) if mode == 2 else value
    found = look(value)
    assert all(count > 0 for count in found.values())
    assert kinds(found) <= words(found)
    _check(value, _KINDS)
    _check(value, (source.pick(_KINDS),))


def _check(value: Any, what: tuple[str, ...]) -> None:
    cleaned = clean(value, what)
    deep = cleaned in ("[redacted:nested too deep]", b'"[redacted:nested too deep]"')
    assert deep or type(cleaned) is type(value)
    if not deep and not kinds(look(value)) & set(what):
        assert cleaned == value
    if isinstance(value, bytes):
        if _is_json(value):
            assert _is_json(cleaned)
        assert len(cleaned) <= 16 * len(value) + 4096
    else:
        assert len(msgspec.json.encode(cleaned)) <= 16 * len(msgspec.json.encode(value)) + 4096
    assert clean(cleaned, what) == cleaned


def _is_json(body: Any) -> bool:
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True
