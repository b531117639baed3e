from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenure.kernel.errors import Refused
from tenure.telemetry.traces.terms import MAX_WORDS, found_in, query_of, words_of

CONTENT = {
    "gen_ai.input.messages": [
        {"role": "user", "parts": [{"type": "text", "content": "Refund order A-4711 of Ms. Groß, please."}]},
        {"role": "tool", "parts": [{"content": "path: /srv/mail/read_file.txt\nweather in 東京 is fine", "size": 42}]},
    ],
    "gen_ai.tool.call.arguments": {"amount": 99.5, "urgent": True},
}


def _hit(query: str) -> str | None:
    found = found_in(list(CONTENT.values()), query_of(query))
    return found.found if found else None


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("refund", "Refund"),
        ("PLEASE refund", "please"),  # in any order
        ('"order a-4711"', "order A-4711"),  # in quotes: together
        ("a-4711", "A-4711"),  # so is what hangs together
        ("GROSS", "groß"),
        ("read_file", "read_file"),
        ("file", "file"),
        ("東京", "東京"),
        ("京", "京"),
        ("42", "42"),
        ("99.5", "99.5"),
        ('"order refund"', None),
        ('"please path"', None),  # in two texts
        ("refund tokyo", None),
        ("fund", None),  # words, not pieces of them
        ("role", None),  # a field's name
        ("true", None),
    ],
)
def test_what_is_found(query: str, found: str | None) -> None:
    assert (_hit(query) or "").casefold() == (found or "").casefold()


def test_a_snippet_is_what_stands_around() -> None:
    text = "a " * 100 + "Needle " + "b " * 100
    found = found_in([text], query_of("needle"))
    assert found is not None
    assert (found.found, found.before[:3], found.after[-3:]) == ("Needle", "…a ", " b…")
    assert len(found.before) + len(found.after) < 150
    assert found_in(["İstanbul NEEDLE"], query_of("needle")) is not None  # folding makes it longer


@pytest.mark.parametrize("query", ["", "  ", '"" -', "w" * 201, " ".join(f"w{n}" for n in range(13))])
def test_a_query_that_is_none_is_refused(query: str) -> None:
    with pytest.raises(Refused):
        query_of(query)


@given(st.lists(st.text(max_size=40), max_size=4), st.data())
def test_whatever_is_found_is_among_the_words(values: list[Any], data: st.DataObject) -> None:
    """What has a word's mark is what is looked at: a word that is found but not among the words never would be."""
    every = words_of(values)
    for word in every:
        assert found_in(values, query_of(word.decode())), word
    pieces = data.draw(st.lists(st.sampled_from("".join(values).split() or ["x"]), min_size=1, max_size=3))
    try:
        query = query_of(" ".join(pieces))
    except Refused:
        return
    if found_in(values, query):
        assert set(query.words) <= set(every)


def test_of_very_much_text_the_first_words_count() -> None:
    words = words_of([" ".join(f"w{n}" for n in range(MAX_WORDS + 5))])
    assert len(words) == MAX_WORDS
    assert b"w0" in words
