"""What holds for what directories send over SCIM: users, changes of users, filters."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from tenure.kernel.errors import Refused
from tenure.scim.model import User, attributes_of, canonical, error, patched, read, shown, wanted
from tests.fuzz.source import Source

_NAMES = (
    *("userName", "externalId", "displayName", "name", "givenName", "familyName", "formatted", "emails", "roles"),
    *("active", "value", "type", "primary", "work", "True", "false", "a@b.cd", "USERNAME", "name.givenName"),
    *('emails[type eq "work"].value', "roles[primary eq true].value"),
)
_VERBS = ("add", "replace", "remove", "Add", "REPLACE", "move", "")
_NOW = datetime(2026, 1, 1, tzinfo=UTC)


def users(data: bytes) -> None:
    """A user, and every change of one, is read or refused in SCIM's own words; what was read can be shown, and is the
    same when it is read again. A filter is understood or refused."""
    source = Source(data)
    user = _read({"userName": "ann"} | _object(source))
    for _ in range(source.byte() % 4):
        if user is None:
            break
        operations = [_operation(source) for _ in range(source.byte() % 4)]
        user = _read(attributes_of(user), {source.pick(("Operations", "operations", "x")): operations})
    text = source.rest().decode("utf-8", "replace")
    try:
        found = wanted(text)
    except Refused as refused:
        _is_scim(refused)
    else:
        assert found is None or all(isinstance(part, str) for part in found)


def _read(attributes: dict[str, Any], change: dict[str, Any] | None = None) -> User | None:
    try:
        said = read(canonical(attributes if change is None else patched(attributes, change)))
    except Refused as refused:
        _is_scim(refused)
        return None
    active = said.active is not False
    user = User("default", "u1", said.user_name, said.external_id, said.email, active, said.attributes, _NOW, _NOW)
    answer = json.loads(json.dumps(shown(user, "https://tenure.example/scim/v2")))
    assert answer["userName"] == said.user_name
    again = read(canonical(answer))
    assert (again.user_name, again.external_id, again.roles) == (said.user_name, said.external_id, said.roles)
    return user


def _is_scim(refused: Refused) -> None:
    assert 400 <= refused.status < 500
    assert json.loads(json.dumps(error(refused)))["schemas"]


def _object(source: Source) -> dict[str, Any]:
    given = source.json(_NAMES)
    return given if isinstance(given, dict) else {}


def _operation(source: Source) -> Any:
    if source.byte() % 16 == 0:
        return source.json(_NAMES)
    operation = {"op": source.pick(_VERBS), "value": source.json(_NAMES)}
    return operation | ({"path": source.pick(_NAMES)} if source.byte() % 3 else {})
