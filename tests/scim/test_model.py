"""Filters and PATCH, in the words of RFC 7644 and in those of directories. Nothing said of ``active`` is ever lost."""

from __future__ import annotations

from typing import Any

import pytest

from tenure.kernel.errors import Refused
from tenure.scim.model import canonical, patched, read, wanted

ZOE: dict[str, Any] = {
    "userName": "zoe@example.com",
    "active": True,
    "emails": [{"value": "zoe@example.com", "type": "work", "primary": True}],
}


def after(*operations: Any) -> Any:
    return read(canonical(patched(ZOE, {"Operations": list(operations)})))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", None),
        ('userName eq "zoe@example.com"', ("user_name", "zoe@example.com")),
        ('username EQ "Zoe\\"s"', ("user_name", 'Zoe"s')),
        ('externalId eq "0a1b"', ("external_id", "0a1b")),
        ('emails[type eq "work"].value eq "z@example.com"', ("email", "z@example.com")),
    ],
)
def test_filters_that_directories_ask_with(text: str, found: tuple[str, str] | None) -> None:
    assert wanted(text) == found


@pytest.mark.parametrize(
    "text",
    [
        'userName ne "zoe"', 'userName sw "z"', 'title eq "x"', "userName eq zoe", 'userName eq "a" or userName eq "b"',
        'not (userName eq "zoe")', "active eq true", 'userName eq "zo\\xe"', 'userName eq "a" and active eq true', '"',
    ],
)  # fmt: skip
def test_a_filter_that_is_not_understood_finds_nobody_else(text: str) -> None:
    with pytest.raises(Refused) as refusal:
        wanted(text)
    assert (refusal.value.code, refusal.value.status) == ("invalidFilter", 400)


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "replace", "value": {"active": False}},  # Okta
        {"op": "replace", "path": "active", "value": False},  # RFC 7644
        {"op": "Replace", "path": "active", "value": "False"},  # Entra
        {"op": "Replace", "path": "ACTIVE", "value": "false"},
        {"op": "Replace", "value": {"Active": "False", "displayName": "Zoe"}},
        {"op": "add", "path": "urn:ietf:params:scim:schemas:core:2.0:User:active", "value": False},
    ],
)
def test_every_way_to_say_that_somebody_has_left(operation: dict[str, Any]) -> None:
    assert after(operation).active is False


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "replace", "path": "active", "value": "no"},
        {"op": "replace", "path": "active", "value": 0},
        {"op": "replace", "path": "active", "value": [False]},
        {"op": "remove", "path": "active"},
        {"op": "deactivate"},
        {"op": "replace", "value": "active"},
        {"op": "remove"},
        "active=false",
    ],
)
def test_what_might_mean_it_is_refused_and_not_passed_over(operation: Any) -> None:
    with pytest.raises(Refused) as refusal:
        after(operation)
    assert refusal.value.status == 400


def test_other_attributes_in_the_dialects_there_are() -> None:
    said = after(
        {"op": "Replace", "path": 'emails[type eq "work"].value', "value": "Zoe.New@example.com"},
        {"op": "Add", "path": "name.givenName", "value": "Zoe"},
        {"op": "Replace", "value": {"name.familyName": "Novak", "displayName": "Zoe Novak", "nickName": "zz"}},
        {"op": "Add", "path": "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department", "value": "IT"},
        {"op": "Add", "path": "title", "value": "Clerk"},
    )
    assert (said.email, said.active) == ("zoe.new@example.com", True)
    assert said.attributes["name"] == {"givenName": "Zoe", "familyName": "Novak"}
    assert said.attributes["displayName"] == "Zoe Novak"


@pytest.mark.parametrize("operations", [None, [], {}, "x", [{"op": "add", "path": "displayName", "value": "x"}] * 101])
def test_operations_are_a_short_list(operations: Any) -> None:
    with pytest.raises(Refused) as refusal:
        patched(ZOE, {"Operations": operations})
    assert refusal.value.code == "invalidSyntax"


_SHAPELESS = ("a text", ["zoe@example.com"], 7, 0.5, True, [7])


@pytest.mark.parametrize(
    ("attribute", "path", "before"),
    [
        *(("name", "name.givenName", before) for before in _SHAPELESS),
        *(("emails", 'emails[type eq "work"].value', before) for before in _SHAPELESS[:2]),
    ],
)
def test_a_change_of_what_has_no_such_shape_begins_anew(attribute: str, path: str, before: Any) -> None:
    leaves = {"op": "replace", "path": attribute, "value": before}
    assert "z@x.org" in str(after(leaves, {"op": "add", "path": path, "value": "z@x.org"}).attributes)


@pytest.mark.parametrize("before", _SHAPELESS[2:])
def test_what_can_be_no_list_of_addresses_is_refused(before: Any) -> None:
    with pytest.raises(Refused) as refusal:
        after(
            {"op": "replace", "path": "emails", "value": before},
            {"op": "add", "path": 'emails[type eq "work"].value', "value": "z@x.org"},
        )
    assert (refusal.value.status, refusal.value.code) == (400, "invalidValue")
