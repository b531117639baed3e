"""Finding by words: SQLite's full-text index in memory, with stems (Porter) and BM25."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence

from tenure.search.model import MOST, Document

_WORD = re.compile(r"\w+")
_SHORT = frozenset(
    ("a", "an", "and", "are", "as", "at", "by", "can", "do", "does", "for", "from", "how", "in", "is", "it", "of", "on")
    + ("or", "that", "the", "to", "what", "which", "who")
)
"""Words that are in every text, left out of a question unless it has no others."""


def by_words(documents: Sequence[Document], question: str) -> list[Document]:
    """The documents that hold any of the question's words, the best first: names weigh five times, the line about it
    three. The last word may be only begun."""
    asked = _WORD.findall(question.lower())
    asked = [word for word in asked if word not in _SHORT] or asked
    if not asked or not documents:
        return []
    wanted = " OR ".join([*(f'"{word}"' for word in asked), f'"{asked[-1]}"*'])
    index = sqlite3.connect(":memory:")
    try:
        index.execute("CREATE VIRTUAL TABLE one USING fts5(name, about, body, tokenize='porter unicode61')")
        index.executemany(
            "INSERT INTO one (rowid, name, about, body) VALUES (?, ?, ?, ?)",
            [(number, _split(one.name), one.about, _split(one.text)) for number, one in enumerate(documents, start=1)],
        )
        sql = "SELECT rowid FROM one WHERE one MATCH ? ORDER BY bm25(one, 5.0, 3.0, 1.0), rowid LIMIT ?"
        return [documents[number - 1] for (number,) in index.execute(sql, (wanted, MOST))]
    finally:
        index.close()


def _split(text: str) -> str:
    """Names as they are and in their parts: ``refund_order`` is found by "refund" too."""
    return f"{text} {re.sub(r'[_./-]+|(?<=[a-z])(?=[A-Z])', ' ', text)}"
