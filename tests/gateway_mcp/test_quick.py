"""The quick check of arguments says yes only where the validator does."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenure.gateway.mcp.quick import quick_check
from tenure.gateway.mcp.tools import read_tool

_KINDS = st.sampled_from(["string", "integer", "number", "boolean"])
_VALUE = st.fixed_dictionaries(
    {"type": _KINDS},
    optional={
        "description": st.just("x"),
        "minimum": st.integers(-2, 2),
        "maximum": st.integers(-2, 2) | st.just(0.5),
        "minLength": st.integers(0, 2),
        "maxLength": st.integers(0, 2),
    },
)
_NAMES = st.sampled_from(["a", "b", "c"])
_SCHEMAS = st.fixed_dictionaries(
    {"type": st.just("object")},
    optional={
        "properties": st.dictionaries(_NAMES, _VALUE),
        "required": st.lists(_NAMES, unique=True),
        "additionalProperties": st.booleans(),
        "$schema": st.sampled_from(
            ["http://json-schema.org/draft-07/schema#", "https://json-schema.org/draft/2020-12/schema"]
        ),
    },
)
_ARGUMENTS: st.SearchStrategy[dict[str, Any]] = st.dictionaries(
    _NAMES, st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-3, 3) | st.text(max_size=3) | st.just([])
)


@given(_SCHEMAS, _ARGUMENTS)
def test_what_is_quickly_right_is_right(schema: dict[str, Any], arguments: dict[str, Any]) -> None:
    check = quick_check(schema)
    assert check is not None
    validator = read_tool({"name": "t", "inputSchema": schema}).validator
    assert validator is not None
    fits = validator.is_valid(arguments)
    if check(arguments):
        assert fits
    elif fits:  # an integer that is written as a float is all that it leaves to the validator
        assert any(type(value) is float for value in arguments.values())


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"type": "string", "pattern": "x"}}},
        {"type": "object", "properties": {"a": {"$ref": "#/x"}}},
        {"type": "object", "properties": {"a": {"type": ["string", "null"]}}},
        {"type": "object", "additionalProperties": {"type": "string"}},
        {"type": "object", "minProperties": 1},
        {"properties": {}},
    ],
)
def test_a_schema_that_is_not_plain_is_left_to_the_validator(schema: dict[str, Any]) -> None:
    assert quick_check(schema) is None
