"""What can be found, and how findings by words and by meaning become one list. Pure."""

from __future__ import annotations

import array
import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from tenure.kernel.json import digest

MAX_QUERY = 500
MOST = 100
RRF_K = 60
"""The constant of reciprocal rank fusion (Cormack, Clarke, Büttcher, SIGIR 2009): a list's first is worth 1/61."""
ALIKE = 0.2
"""Cosine below which a document is not about the question at all, whatever its rank."""
_MAX_TEXT = 8000
"""Characters of a document that are embedded: endpoints cut what is longer than their model reads."""


class Kind(StrEnum):
    """What was found."""

    AGENT = "agent"
    TOOL = "tool"
    POLICY = "policy"


@lru_cache(maxsize=20_000)
def _mark(text: str) -> str:
    return digest(text)


@dataclass(frozen=True, slots=True)
class Document:
    """Something to find: its ``name``, one line about it (``about``), all that it is found by (``text``), and the
    console's ``path`` to it."""

    kind: Kind
    name: str
    about: str
    text: str
    path: str

    @property
    def mark(self) -> str:
        """``sha256:...`` of what is embedded: the same text is embedded once."""
        return _mark(self.embedded)

    @property
    def embedded(self) -> str:
        """The text as it is embedded."""
        return f"{self.kind} {self.name}: {self.about}\n{self.text}"[:_MAX_TEXT]


@dataclass(frozen=True, slots=True)
class Hit:
    """A document that was found, and by what: ``words``, ``meaning`` or both. ``score`` is of this search only."""

    document: Document
    score: float
    by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """What a search came to. ``meaning``: whether vectors were asked; ``problem``: why not, though they are wanted."""

    hits: tuple[Hit, ...]
    meaning: bool
    problem: str = ""


def fused(words: Sequence[Document], meaning: Sequence[Document], limit: int) -> tuple[Hit, ...]:
    """Both lists, each the best first, as one by reciprocal rank fusion."""
    scores: dict[Document, float] = {}
    by: dict[Document, list[str]] = {}
    for name, ranked in (("words", words), ("meaning", meaning)):
        for rank, document in enumerate(ranked, start=1):
            scores[document] = scores.get(document, 0.0) + 1 / (RRF_K + rank)
            by.setdefault(document, []).append(name)
    best = sorted(scores, key=lambda one: (-scores[one], one.kind, one.name))[:limit]
    return tuple(Hit(one, round(scores[one], 6), tuple(by[one])) for one in best)


def unit(vector: Sequence[float]) -> bytes:
    """A vector of length 1 as 32-bit floats; empty for one that has no direction or is not finite."""
    length = math.sqrt(sum(value * value for value in vector))
    if not math.isfinite(length) or length == 0:
        return b""
    return array.array("f", [value / length for value in vector]).tobytes()


def nearest(
    question: bytes, vectors: Mapping[str, bytes], documents: Sequence[Document], most: int = MOST
) -> list[Document]:
    """The documents whose vectors (by ``mark``) point most nearly where ``question`` does, the nearest first."""
    asked = array.array("f", question)
    near: list[tuple[float, Document]] = []
    for document in documents:
        known = vectors.get(document.mark, b"")
        if len(known) == len(question):
            cosine = sum(map(operator.mul, asked, array.array("f", known)))
            if cosine >= ALIKE:
                near.append((cosine, document))
    near.sort(key=lambda one: (-one[0], one[1].kind, one[1].name))
    return [document for _, document in near[:most]]
