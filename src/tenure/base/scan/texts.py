"""Scanning and redaction of JSON values: every text in them, names of fields included, as its reader would see it.

A value is looked at decoded, so ``\\u0041`` for ``A`` hides nothing; a text that is itself JSON is decoded once more. A
redacted value has the shape it had. Not seen: what is compressed, encrypted, in base64, or cut in two texts.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

import msgspec

from tenure.base.scan import checks
from tenure.base.scan.rules import FIELD, HIDDEN, RULES
from tenure.base.scan.scanner import ends, find, hits, redact, suspect
from tenure.kernel.json import Json

_IS_SECRET = re.compile(HIDDEN, re.IGNORECASE | re.ASCII).fullmatch
_LONG = 12
_ESCAPE = re.compile(rb"\\u00([2-7][0-9a-fA-F])|\\(/)")
_OPEN = frozenset({"{", "[", b"{", b"["})
_NESTED = 3  # JSON in JSON in JSON
_TOO_DEEP = "[redacted:nested too deep]"
_KIND = {rule.id: rule.kind for rule in RULES} | {FIELD: "secret"}

Counts = Mapping[str, int]
"""Rule id -> how often it was found."""


def words(counts: Counts) -> frozenset[str]:
    """What a policy sees of findings: the rules and their classes."""
    return frozenset(counts) | {_KIND[rule] for rule in counts}


def kinds(counts: Counts) -> frozenset[str]:
    """The classes of what was found."""
    return frozenset(_KIND[rule] for rule in counts)


def look(value: Json) -> Counts:
    """What is found in all texts of ``value``. Where there is nothing, this is one pass over them."""
    texts, raws, names = _texts(value)
    fired = hits(_plain("\0".join(texts).encode("utf-8", "surrogatepass")))
    for raw in raws:
        fired += hits(_plain(raw))
    found: Counter[str] = Counter()
    if fired:
        for text in map(_plain, [*map(_bytes, texts), *raws]):
            found.update(finding.rule for finding in find(text, set(hits(text)).intersection(fired)))
    if any(map(_IS_SECRET, names)) and (count := sum(_fields(value))):
        found[FIELD] = count
    return found


def nothing_in(encoded: bytes) -> bool:
    """Whether there is surely nothing to find in a value, from its JSON as msgspec writes it; False may mean that it
    has to be looked at. Costs half of ``look``, because no text is made: the escapes are undone in the whole, and each
    text then stands there as ``look`` sees it, between quotes, which end a word as its edges do. What holds a
    backslash even so may be JSON in a text, or only look like it."""
    encoded = _unescaped(encoded)
    return b"\\" not in encoded and not suspect(encoded)


def suspects(encoded: Sequence[bytes]) -> list[int]:
    """Which of several values ``nothing_in`` does not clear, in order. They are looked at together, and again without
    those in which a match ended, until none is left with one: two or three passes where each by itself took one."""
    plain = list(map(_unescaped, encoded))
    found = {at for at, text in enumerate(plain) if b"\\" in text}
    while left := [at for at in range(len(plain)) if at not in found]:
        edges = list(accumulate(len(plain[at]) + 1 for at in left))
        places = ends(b"\n".join(plain[at] for at in left))
        if not places:
            break
        found.update(left[bisect_left(edges, end)] for end in places)
    return sorted(found)


def _unescaped(encoded: bytes) -> bytes:
    # Python has every escape of JSON with the same meaning, and these bytes are not UTF-8 to it.
    return encoded.decode("unicode_escape").encode("latin-1") if b"\\" in encoded else encoded


def spans(text: str, what: Collection[str]) -> list[tuple[int, int, str]]:
    """(start, end, rule) of the findings in a text whose class or rule is in ``what``, in characters and in order. The
    text is looked at as it is: JSON in it and escapes are not undone."""
    data = _bytes(text)
    found = [finding for finding in find(data, hits(data)) if finding.kind in what or finding.rule in what]
    ends = [len(data[:at].decode("utf-8", "surrogatepass")) for one in found for at in (one.start, one.end)]
    return [(ends[2 * number], ends[2 * number + 1], one.rule) for number, one in enumerate(found)]


def clean(value: Json, what: Collection[str]) -> Json:
    """``value`` with ``[redacted:RULE]`` in place of every finding whose class or rule is in ``what``; the same object
    where there is none. What is nested deeper than can be walked (hundreds of levels) is taken out as a whole."""
    return _walked(value, what, 0)


def _walked(value: Json, what: Collection[str], nested: int) -> Json:
    try:
        return _clean(value, what, nested)
    except RecursionError:
        return _TOO_DEEP


def _texts(value: Json) -> tuple[list[str], list[bytes], set[str]]:
    """Every text (each name of a field once), everything in bytes, and those names. What is JSON in a text is told as
    what is in it."""
    texts: list[str] = []
    raws: list[bytes] = []
    names: set[str] = set()
    stack: list[Any] = [value]
    deeper: list[str | bytes] = []
    for left in reversed(range(_NESTED + 1)):
        while stack:
            item = stack.pop()
            if isinstance(item, str | bytes) and left and item[:1] in _OPEN:
                deeper.append(item)
            elif isinstance(item, str):
                texts.append(item)
            elif isinstance(item, dict):
                names.update(item)
                stack.extend(item.values())
            elif isinstance(item, list | tuple):
                stack.extend(item)
            elif isinstance(item, bytes):
                raws.append(item)
        for item in deeper:
            inner = _inner(item)
            if inner is not None:
                stack.append(inner)
            elif isinstance(item, str):
                texts.append(item)
            else:
                raws.append(item)
        deeper = []
    texts += names
    return texts, raws, names


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")


def _inner(text: str | bytes) -> Any:
    """The object or list that a text is in JSON, None for any other."""
    if text[:1] not in _OPEN:
        return None
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def _fields(value: Json) -> Iterator[int]:
    """1 for every field whose name says that its value is a secret."""
    stack: list[tuple[Any, int]] = [(value, 0)]
    while stack:
        item, nested = stack.pop()
        if isinstance(item, dict):
            for key, part in item.items():
                if _is_secret(key, part):
                    yield 1
                stack.append((part, nested))
        elif isinstance(item, list | tuple):
            stack.extend((part, nested) for part in item)
        elif isinstance(item, str | bytes) and nested < _NESTED and (inner := _inner(item)) is not None:
            stack.append((inner, nested + 1))


def _is_secret(key: Any, value: Any) -> bool:
    if not isinstance(value, str) or not isinstance(key, str) or not _IS_SECRET(key):
        return False
    text = _bytes(value)
    return checks.password(text) or (len(text) >= _LONG and checks.given(text))


def _plain(text: bytes) -> bytes:
    """``text`` with the escapes undone that JSON allows and does not need: as good in JSON, and plain to read."""
    return _ESCAPE.sub(_character, text) if b"\\u00" in text or b"\\/" in text else text


def _character(match: re.Match[bytes]) -> bytes:
    char = bytes([int(match[1], 16)]) if match[1] else b"/"
    return match[0] if char in b'"\\\x7f' else char


def _clean(value: Json, what: Collection[str], nested: int) -> Json:
    if isinstance(value, str | bytes):
        return _clean_text(value, what, nested)
    if isinstance(value, dict):
        out: dict[Any, Any] = {}
        for key, part in value.items():
            secret = _is_secret(key, part) and (FIELD in what or "secret" in what)
            name = _clean_text(key, what, _NESTED) if isinstance(key, str) else key
            out[name] = f"[redacted:{FIELD}]" if secret else _clean(part, what, nested)
        return out
    if isinstance(value, list | tuple):
        return [_clean(part, what, nested) for part in value]
    return value


def _clean_text(text: str | bytes, what: Collection[str], nested: int) -> str | bytes:
    inner = _inner(text) if nested < _NESTED else None
    if inner is not None:
        cleaned = _walked(inner, what, nested + 1)
        if cleaned == inner:
            return text
        encoded = msgspec.json.encode(cleaned)
        return encoded.decode() if isinstance(text, str) else encoded
    plain = _plain(_bytes(text))
    found = [finding for finding in find(plain, hits(plain)) if finding.kind in what or finding.rule in what]
    if not found:
        return text
    cleaned_bytes = redact(plain, found)
    return cleaned_bytes if isinstance(text, bytes) else cleaned_bytes.decode("utf-8", "surrogatepass")
