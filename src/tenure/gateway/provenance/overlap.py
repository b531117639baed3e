"""Whether a value is taken from a text: what both look like once they are normalised, and what of a value is looked
for. Deterministic and pure; ``docs/provenance.md`` says the same for people.
"""

from __future__ import annotations

import html
import re
import unicodedata
from typing import Any
from urllib.parse import unquote_plus

import msgspec

RUN = 4
"""Words of a longer value that are looked for together."""
SHORTEST = 3
"""Letters and digits that something must have to be looked for: what is shorter stands in every text."""
_SPELLED = 64
_COMPACT = 8  # letters and digits of a number of an account, which is looked for with all spaces taken out
_MARKED = 5
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_APART = "\u0e00-\u0eff\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff"  # written without spaces: each letter is a word
_WORD = re.compile(rf"[{_APART}]|[^\W_{_APART}]+")
_ASCII = bytes(ord(chr(code).lower()) if chr(code).isalnum() and code < 128 else 32 for code in range(256))
_INVISIBLE = re.compile(
    "[\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\U000e0000-\U000e007f]"
)
_NUMBER = re.compile(r"[0-9]{1,3}(?:,?[0-9]{3}){0,4}(?:\.[0-9]{1,6})?|[0-9]{1,15}(?:\.[0-9]{1,6})?")
_EDGES = ".,;:!?()[]{}<>\"'`*"
_SPLIT = re.compile(r"[/?&=@:#,;\\|]+")
_MARK = re.compile(r"[0-9@/\\._=-]")


def normalised(text: str) -> str:
    """The words of a text in lower case with a space before and after each; what cannot be seen and what is no letter
    or digit is gone."""
    if text.isascii():
        return f" {b' '.join(text.encode().translate(_ASCII).split()).decode()} "
    plain = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text).casefold())
    return f" {' '.join(_WORD.findall(plain))} "


def readings(text: str) -> str:
    """``normalised`` of a text that is looked into: as it stands, and as a reader takes it who knows HTML or
    addresses."""
    out = [normalised(text)]
    if "&" in text and (plain := html.unescape(text)) != text:
        out.append(normalised(plain))
    if "%" in text and (plain := unquote_plus(text)) != text:
        out.append(normalised(plain))
    return "|".join(out)


def json_in(text: str) -> Any:
    """The object or array that a text is in JSON, None for any other text."""
    if text[:1] not in ("{", "["):
        return None
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def plain_key(key: str) -> bool:
    """Whether the name of a field is one that a program chose; any other counts as a value."""
    return _PLAIN_KEY.fullmatch(key) is not None


def elements(value: str | float) -> list[tuple[str, ...]]:
    """What of a value is looked for: each a tuple of spellings, any of which is enough.

    Of a text of up to ``RUN`` words all of it, of a longer one every ``RUN`` words that follow each other; besides, all
    of one that is not long, and each address, number or name with a mark in it (as in a mail address) and its parts.
    Of a number, in a text or not, its usual spellings."""
    if not isinstance(value, str):
        return _of_number(value)
    words = normalised(value).split()
    found = [words[at : at + RUN] for at in range(max(1, len(words) - RUN + 1))] if words else []
    out = {" ".join(run) for run in found}
    if len(words) <= _SPELLED:
        out.add(" ".join(words))  # a number that is spelled out, letter by letter
    for token in (word.strip(_EDGES) for word in value.split()):
        if len(token) >= _MARKED and _MARK.search(token):
            out.update(normalised(part).strip() for part in (token, *_SPLIT.split(token)) if len(part) >= _MARKED)
    numbers = _of_number(float(value.replace(",", ""))) if _NUMBER.fullmatch(value) else []
    return [(f" {text} ",) for text in sorted(out) if _size(text) >= SHORTEST] + numbers


def _size(text: str) -> int:
    return len(text) - text.count(" ")


def _of_number(value: float) -> list[tuple[str, ...]]:
    spelled = {str(value), f"{value:,}"}
    if abs(value) < 1e15:
        spelled |= {f"{value:.2f}", f"{value:,.2f}"}
        if float(value).is_integer():
            spelled |= {str(int(value)), f"{int(value):,}"}
    if sum(char.isdigit() for char in str(abs(value)).removesuffix(".0")) < SHORTEST:
        return []
    return [tuple(sorted(normalised(text) for text in spelled))]


def stands_in(element: tuple[str, ...], text: str) -> int:
    """Where one of the spellings stands in a normalised text, -1 for nowhere."""
    for spelling in element:
        at = text.find(spelling)
        if at >= 0:
            return at
    return -1


def compact_of(element: tuple[str, ...]) -> str:
    """An element as it is looked for with all spaces taken out; empty for one that is not."""
    packed = element[0].replace(" ", "")
    long = len(packed) >= _COMPACT and any(char.isdigit() for char in packed)
    return packed if long else ""
