"""JSON values are looked at as their reader sees them, and keep their shape when they are redacted."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenure.base.scan.rules import RULES
from tenure.base.scan.texts import clean, kinds, look, nothing_in, suspects, words

KEY = "AKIAIOSFODNN7EXAMPLE"
RULE = "secret/aws-access-key"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.req("R092", "R094")
@pytest.mark.parametrize(
    "value",
    [
        KEY,
        {"messages": [{"role": "user", "content": f"use\n{KEY}"}]},
        {KEY: 1},
        [[[["deep", [KEY]]]]],
        {"arguments": json.dumps({"text": f"line\n{KEY}\n"})},
        {"arguments": json.dumps({"inner": json.dumps({"text": f'a "{KEY}"'})})},
        msgspec.json.decode(b'{"a": "\\u0041KIAIOSFODNN7EXAMPLE"}'),
        {"arguments": '{"a": "\\u0041KIA\\u0049OSFODNN7EXAMPLE"}'},
        {"text": 'Here: {"a": "\\u0041KIAIOSFODNN7EXAMPLE"}'},
        b'{"a": "\\u0041KIAIOSFODNN7EXAMPLE"}',
        b'--form\r\n\r\n{"a": "\\u0041KIAIOSFODNN7EXAMPLE"}\n{"b": "c\\nAKIAIOSFODNN7EXAMPLE"}',
    ],
)
def test_no_nesting_and_no_escape_hides_a_secret(value: object) -> None:
    assert RULE in look(value)
    assert words(look(value)) >= {"secret", RULE}
    kept = clean(value, {"secret"})
    assert look(kept) == {}
    assert b"OSFODNN7" not in msgspec.json.encode(kept if not isinstance(kept, bytes) else kept.decode("latin-1"))


def test_escaped_slashes_hide_no_address() -> None:
    assert "exfiltration" in kinds(look({"text": '{"u": "https:\\/\\/webhook.site\\/6c2f"'}))


@pytest.mark.req("R094")
def test_a_field_whose_name_says_secret_is_one_whatever_it_looks_like() -> None:
    value = {"user": "ada", "Password": "correct horse", "api-key": "abc123xyz", "port": 5432}
    assert look(value) == {"secret/field": 2}
    assert clean(value, {"secret"}) == {
        "user": "ada",
        "Password": "[redacted:secret/field]",
        "api-key": "[redacted:secret/field]",
        "port": 5432,
    }
    schema = {"properties": {"password": {"type": "string"}, "secret": "string"}, "token": "next-page-2"}
    assert look(schema) == {}


def test_only_what_is_named_is_redacted() -> None:
    value = {"text": f"{KEY} and 4111 1111 1111 1111, ada@analytical.example"}
    assert set(kinds(look(value))) == {"secret", "personal", "contact"}
    assert clean(value, {"personal"}) == {"text": f"{KEY} and [redacted:personal/card], ada@analytical.example"}
    assert clean(value, {RULE}) == {
        "text": "[redacted:secret/aws-access-key] and 4111 1111 1111 1111, ada@analytical.example"
    }


def test_json_in_a_text_stays_json() -> None:
    inner = {"note": f'say "{KEY}"\n\\o/', "n": 1.5, "ü": None}
    kept = clean({"arguments": json.dumps(inner)}, {"secret"})
    assert json.loads(kept["arguments"]) == {**inner, "note": f'say "[redacted:{RULE}]"\n\\o/'}


@given(JSON)
@settings(max_examples=300, deadline=None)
def test_what_holds_nothing_is_left_as_it_is(value: object) -> None:
    if not look(value):
        assert clean(value, {"secret", "personal", "contact", "exfiltration", "injection"}) == value


@given(JSON, st.integers(0, 3))
@settings(max_examples=200, deadline=None)
def test_a_secret_anywhere_in_any_value_is_found_and_taken_out(value: object, place: int) -> None:
    planted = [value, {"a": [value, {"b": f"x {KEY}"}]}, {f"{KEY}": value}, json.dumps([value, KEY])][place]
    if place:
        assert RULE in look(planted)
        assert KEY.encode() not in msgspec.json.encode(clean(planted, {"secret"}))


NEAR = st.sampled_from(
    [" ", "\n", "\t", '"', "\\", "/", ":", "n", "\x07", "\x7f", "é", "\u2028", '{"', "[", "\\u0041", "\\n"]
)
FOUND = st.sampled_from([rule.example for rule in RULES])
TEXT = st.lists(NEAR | FOUND | st.text(max_size=3), max_size=6).map("".join)
NAME = TEXT | st.sampled_from(["password", "API_KEY", "api-key", "Authorization", "clientSecret", "secret"])
LIVE = st.recursive(
    TEXT | st.just("correct-horse-7") | st.none() | st.integers() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAME, inner, max_size=3) | inner.map(json.dumps),
    max_leaves=8,
)


@pytest.mark.req("R092", "R094")
@given(LIVE)
@settings(max_examples=700, deadline=None)
def test_the_quick_look_at_the_whole_misses_nothing_that_the_long_one_finds(value: object) -> None:
    try:
        encoded = msgspec.json.encode({"data": value})
    except (UnicodeEncodeError, ValueError):
        return  # half a surrogate, or no number: it could not be kept either
    assert not (look(value) and nothing_in(encoded))


@given(st.lists(LIVE, max_size=6))
@settings(max_examples=400, deadline=None)
def test_a_look_at_several_together_clears_none_that_a_look_at_each_does_not(values: list[object]) -> None:
    try:
        encoded = [msgspec.json.encode({"data": value}) for value in values]
    except (UnicodeEncodeError, ValueError):
        return  # as above
    assert {at for at, text in enumerate(encoded) if not nothing_in(text)} <= set(suspects(encoded))


def test_of_several_only_those_are_looked_at_closely_in_which_something_may_be() -> None:
    said = ["good morning", f"use {KEY}", "grüße", "ada@analytical.example", f"again {KEY}", "bye"]
    assert suspects([msgspec.json.encode({"said": text}) for text in said]) == [1, 3, 4]
    assert suspects([]) == []


@pytest.mark.parametrize("text", ["good morning", 'she said "no"\nand left', "tab\tand return\r\n", "grüße", "a\x07b"])
def test_the_quick_look_suffices_for_ordinary_text(text: str) -> None:
    assert nothing_in(msgspec.json.encode({"messages": [{"content": text}]}))


def test_the_quick_look_leaves_to_the_long_one_what_it_cannot_tell() -> None:
    for value in ({"arguments": json.dumps({"path": 'C:\\new "x"'})}, {"password": "none"}, "ada@home"):
        assert look(value) == {}
        assert not nothing_in(msgspec.json.encode(value))
