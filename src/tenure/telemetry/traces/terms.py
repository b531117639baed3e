"""What is looked for in content, and where it stands in it. Pure.

Text is a row of words: runs of letters and digits, in no case (Unicode case folding, compatibility forms made alike);
of scripts that put no space between words each character is one. A query is words that must all be there, in any order;
what stands in quotes, or hangs together as ``read_file`` does, must stand together.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tenure.kernel.errors import Refused
from tenure.kernel.values import Status

MAX_WORDS = 2_000
"""So many different words of one Event are found; those after them are not."""
MAX_QUERY = 200
MAX_TERMS = 12
AROUND = 70
"""Characters of a snippet on each side of what was found."""

_SPACELESS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_SPACELESS}]|[^\W_{_SPACELESS}]+")
_ASCII = bytes(ord(chr(code).lower()) if chr(code).isalnum() and code < 128 else 32 for code in range(256))
"""Each byte of ASCII text as a word has it, or a space."""
_QUOTED = re.compile(r'"([^"]*)"?|(\S+)')


def texts(value: Any) -> list[str]:
    """Every text and number in a JSON value, in the order they stand; names of fields are none."""
    found: list[str] = []
    _texts(value, found)
    return found


def _texts(value: Any, found: list[str]) -> None:
    kind = type(value)  # of JSON there are no subclasses, and this is asked of everything that is ever said
    if kind is str:
        found.append(value)
    elif kind is dict:
        for inner in value.values():
            _texts(inner, found)
    elif kind is list or kind is tuple:
        for inner in value:
            _texts(inner, found)
    elif kind is int or kind is float:
        found.append(str(value))


def words_of(values: Iterable[Any]) -> Collection[bytes]:
    """The different words of JSON values, at most ``MAX_WORDS``."""
    found: list[str] = []
    for value in values:
        _texts(value, found)
    text = "\n".join(found)
    if text.isascii():  # four times as fast as the pattern, and nearly always so
        every = text.encode().translate(_ASCII).split()
    else:
        every = [word.encode() for word in _WORD.findall(_folded(text))]
    words = set(every)
    return words if len(words) <= MAX_WORDS else list(dict.fromkeys(every))[:MAX_WORDS]


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


@dataclass(frozen=True, slots=True)
class Query:
    """Phrases, of one word or more, each of which must be there."""

    phrases: tuple[tuple[str, ...], ...]

    @property
    def words(self) -> list[bytes]:
        """Every word of it, once."""
        return list({word.encode(): None for phrase in self.phrases for word in phrase})


def query_of(text: str) -> Query:
    """What somebody wrote. Raises Refused when no word is in it, or more than anybody looks for."""
    pieces = [quoted or single for quoted, single in _QUOTED.findall(text[: MAX_QUERY + 1])]
    phrases = tuple(dict.fromkeys(tuple(_WORD.findall(_folded(piece))) for piece in pieces))
    found = Query(tuple(phrase for phrase in phrases if phrase))
    if not found.phrases:
        fix = "Write words; those in quotes must stand together."
        raise Refused("empty_search", "There is no word to look for.", fix=fix, status=422)
    if len(text) > MAX_QUERY or len(found.words) > MAX_TERMS:
        fix = f"Look for at most {MAX_TERMS} words in {MAX_QUERY} characters."
        raise Refused("long_search", "That is too much to look for at once.", fix=fix, status=422)
    return found


@dataclass(frozen=True, slots=True)
class Snippet:
    """The piece of a text where something was found: ``before`` it, itself, and ``after`` it."""

    before: str
    found: str
    after: str


@dataclass(frozen=True, slots=True)
class Hit:
    """An Event in whose content everything was found that was looked for, and where. ``seq``: its number."""

    seq: int
    event: str
    type: str
    time: datetime
    agent: str | None
    session: str | None
    trace_id: str | None
    span_id: str
    name: str
    status: Status
    snippet: Snippet


@dataclass(frozen=True, slots=True)
class Found:
    """Hits, the newest first. ``next`` is the number to go on before; None when all was looked through."""

    hits: tuple[Hit, ...]
    next: int | None = None


def found_in(values: Iterable[Any], query: Query) -> Snippet | None:
    """Where the first phrase of a query stands in JSON values of which every phrase is in some text; None otherwise."""
    several = [text for value in values for text in texts(value)]
    first: Snippet | None = None
    for number, phrase in enumerate(query.phrases):
        places = (_place(text, phrase) for text in several)
        snippet = next((place for place in places if place is not None), None)
        if snippet is None:
            return None
        first = snippet if number == 0 else first
    return first


def _place(text: str, phrase: Sequence[str]) -> Snippet | None:
    plain = unicodedata.normalize("NFKC", text)
    folded = plain.casefold()
    if phrase[0] not in folded:
        return None
    words = list(_WORD.finditer(folded))
    for at in range(len(words) - len(phrase) + 1):
        if all(words[at + n][0] == word for n, word in enumerate(phrase)):
            shown = plain if len(plain) == len(folded) else folded  # folding may have made it longer
            return _snippet(shown, words[at].start(), words[at + len(phrase) - 1].end())
    return None


def _snippet(text: str, start: int, end: int) -> Snippet:
    low, high = max(0, start - AROUND), min(len(text), end + AROUND)
    before = ("…" if low else "") + text[low:start].lstrip()
    return Snippet(before, text[start:end], text[end:high].rstrip() + ("…" if high < len(text) else ""))
