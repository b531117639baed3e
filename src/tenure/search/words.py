"""Finding by words: SQLite's full-text index in memory, with stems (Porter) and BM25."""

from __future__ import annotations

import re
import sqlite3
import threading
from functools import lru_cache

from tenure.search.model import MOST, Document

_WORD = re.compile(r"\w+")
_SHORT = frozenset(
    {"a", "an", "and", "are", "as", "at", "by", "can", "do", "does", "for", "from", "how", "in", "is", "it", "of"}
    | {"on", "or", "that", "the", "to", "what", "which", "who"}
)
"""Words that are in every text, left out of a question unless it has no others."""


class _Index:
    """The documents as rows; asked by one thread at a time."""

    def __init__(self, documents: tuple[Document, ...]) -> None:
        self._documents = documents
        self._lock = threading.Lock()
        self._rows = sqlite3.connect(":memory:", check_same_thread=False)
        self._rows.execute("CREATE VIRTUAL TABLE one USING fts5(name, about, body, tokenize='porter unicode61')")
        self._rows.executemany(
            "INSERT INTO one (rowid, name, about, body) VALUES (?, ?, ?, ?)",
            [(number, _split(one.name), one.about, _split(one.text)) for number, one in enumerate(documents, start=1)],
        )

    def __del__(self) -> None:
        self._rows.close()

    def best(self, wanted: str) -> list[Document]:
        """The best first: names weigh five times, the line about it three."""
        sql = "SELECT rowid FROM one WHERE one MATCH ? ORDER BY bm25(one, 5.0, 3.0, 1.0), rowid LIMIT ?"
        with self._lock:
            return [self._documents[number - 1] for (number,) in self._rows.execute(sql, (wanted, MOST))]


_index = lru_cache(maxsize=8)(_Index)  # by all that the documents say: what has changed is another index


def by_words(documents: tuple[Document, ...], question: str) -> list[Document]:
    """The documents that hold any of the question's words, the best first. The last word may be only begun."""
    asked = _WORD.findall(question.lower())
    asked = [word for word in asked if word not in _SHORT] or asked
    if not asked or not documents:
        return []
    return _index(documents).best(" OR ".join([*(f'"{word}"' for word in asked), f'"{asked[-1]}"*']))


def _split(text: str) -> str:
    """Names as they are and in their parts: ``refund_order`` is found by "refund" too."""
    return f"{text} {re.sub(r'[_./-]+|(?<=[a-z])(?=[A-Z])', ' ', text)}"
