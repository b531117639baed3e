"""SCIM's shapes: a user as a directory sends and reads it, its filters, and PATCH in the dialects there are. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tenure.kernel.errors import Refused
from tenure.kernel.json import JsonObject

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
LIST = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"

MAX_COUNT = 200
MAX_OPERATIONS = 100
MAX_TEXT = 1_000

_PLAIN = {"username": "userName", "externalid": "externalId", "displayname": "displayName", "active": "active"}
"""The simple attributes that are kept, as SCIM spells them; names are the same in any case (RFC 7643 section 2.1)."""
_KEPT = {**_PLAIN, "name": "name", "emails": "emails", "roles": "roles"}
_NAME = {"givenname": "givenName", "familyname": "familyName", "formatted": "formatted"}

_FILTER = re.compile(
    r'\s*([A-Za-z.]+(?:\[type eq "work"\]\.value)?)\s+([A-Za-z]{2})\s+("(?:[^"\\]|\\.)*"|true|false)\s*'
)
_FILTERS = {
    "username": "user_name",
    "externalid": "external_id",
    "id": "id",
    "emails": "email",
    "emails.value": "email",
    'emails[type eq "work"].value': "email",
}
_VALUE_PATH = re.compile(r"(emails|roles)\s*\[.*\](\.value)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class User:
    """Somebody whom a directory speaks of. ``email`` is the address that they log in with; ``attributes`` what else is
    kept of what was sent: displayName, name, emails, roles."""

    workspace: str
    id: str
    user_name: str
    external_id: str | None
    email: str
    active: bool
    attributes: JsonObject
    created_at: datetime
    modified_at: datetime


@dataclass(frozen=True, slots=True)
class Said:
    """What a directory says of somebody. ``active`` is None where it says nothing of it; ``roles`` likewise."""

    user_name: str
    external_id: str | None
    email: str
    active: bool | None
    roles: tuple[str, ...] | None
    attributes: JsonObject


def bad(scim_type: str, message: str, status: int = 400) -> Refused:
    """A refusal with SCIM's own word for it (RFC 7644 section 3.12)."""
    return Refused(scim_type, message, fix="See RFC 7643 and RFC 7644.", status=status)


def error(refused: Refused) -> JsonObject:
    """A refusal as SCIM says it."""
    body: dict[str, Any] = {"schemas": [ERROR], "status": str(refused.status), "detail": refused.message}
    if refused.status in (400, 409):
        known = ("invalidFilter", "invalidSyntax", "invalidPath", "invalidValue", "uniqueness", "tooMany")
        body["scimType"] = refused.code if refused.code in known else "invalidValue"
    return body


# -- what is sent ---------------------------------------------------------------------------------------------------


def canonical(body: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes of a user that are kept, under the names that SCIM gives them; others are passed over, as a
    server may (RFC 7644 section 3.3)."""
    found = {_KEPT[key.lower()]: value for key, value in body.items() if key.lower() in _KEPT}
    if isinstance(found.get("name"), Mapping):
        found["name"] = {_NAME[k.lower()]: v for k, v in found["name"].items() if k.lower() in _NAME}
    return found


def read(body: Mapping[str, Any]) -> Said:
    """What a whole user says (``canonical`` attributes). Raises Refused ``invalidValue``."""
    user_name = _text(body, "userName")
    if not user_name:
        raise bad("invalidValue", "userName is needed.")
    attributes: dict[str, Any] = {}
    if display := _text(body, "displayName"):
        attributes["displayName"] = display
    if isinstance(body.get("name"), Mapping):
        attributes["name"] = {key: value for key, value in body["name"].items() if _is_text(value)}
    emails, roles = _values(body, "emails"), _values(body, "roles")
    if emails:
        attributes["emails"] = emails
    named: tuple[str, ...] | None = None  # an empty list is how Entra says nothing of roles
    if roles:
        attributes["roles"] = roles
        named = tuple(str(one["value"]).strip().lower() for one in roles)
    active = None if body.get("active") is None else _truth(body["active"])
    return Said(user_name, _text(body, "externalId") or None, _address(user_name, emails), active, named, attributes)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MAX_TEXT and "\x00" not in value


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if value is None:
        return ""
    if not _is_text(value):
        raise bad("invalidValue", f"{name} is text of at most {MAX_TEXT} characters.")
    return str(value).strip()


def _values(body: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """A multi-valued attribute; a bare text stands for its value."""
    given = body.get(name) or []
    found: list[dict[str, Any]] = []
    for one in given if isinstance(given, list) else [given]:
        entry = {"value": one} if isinstance(one, str) else one
        if not isinstance(entry, Mapping) or not _is_text(entry.get("value")) or len(found) >= 50:
            raise bad("invalidValue", f"{name} is a list of values, at most 50 of them.")
        kept = {key: entry[key] for key in ("value", "type") if _is_text(entry.get(key))}
        found.append(kept | ({"primary": True} if entry.get("primary") in (True, "True", "true") else {}))
    return found


def _address(user_name: str, emails: list[dict[str, Any]]) -> str:
    """The address that somebody logs in with: the primary one, or that of work, or the first; else the user name."""
    ranked = sorted(emails, key=lambda one: (not one.get("primary", False), one.get("type") != "work"))
    return str(ranked[0]["value"]).strip().lower() if ranked else user_name.lower()


def _truth(value: Any) -> bool:
    """A boolean; Entra writes it as the text True or False unless it is told otherwise."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    raise bad("invalidValue", "active is true or false.")


# -- what is asked for ----------------------------------------------------------------------------------------------


def wanted(text: str) -> tuple[str, str] | None:
    """(field, value) of a filter; None for no filter. Raises Refused ``invalidFilter`` for what is not understood: an
    answer to another question than was asked would make a directory change the wrong person."""
    if not text.strip():
        return None
    found = _FILTER.fullmatch(text)
    field = _FILTERS.get(re.sub(r"^[A-Za-z]+", lambda part: part[0].lower(), found[1])) if found else None
    if found is None or field is None or found[2].lower() != "eq" or not found[3].startswith('"'):
        raise bad("invalidFilter", 'This server finds users by userName, externalId, id or emails.value eq "...".')
    try:
        return field, str(json.loads(found[3]))
    except ValueError as problem:
        raise bad("invalidFilter", "The value of the filter is no JSON text.") from problem


def patched(user: JsonObject, body: Mapping[str, Any]) -> dict[str, Any]:
    """A user's attributes after a PATCH (RFC 7644 section 3.5.2). It takes what directories send: operations in any
    case, attributes under a path or in the value (also with dotted names), booleans as text, value paths with filters.
    What is not kept is passed over, but never anything of ``active``. Raises Refused ``invalidSyntax``, ``invalidPath``
    or ``invalidValue``."""
    operations = next((value for key, value in body.items() if key.lower() == "operations"), None)
    if not isinstance(operations, list) or not 1 <= len(operations) <= MAX_OPERATIONS:
        raise bad("invalidSyntax", f"Operations is a list of 1 to {MAX_OPERATIONS}.")
    after = dict(user)
    for operation in operations:
        if not isinstance(operation, Mapping):
            raise bad("invalidSyntax", "An operation is an object.")
        verb = str(operation.get("op", "")).lower()
        if verb not in ("add", "replace", "remove"):
            raise bad("invalidSyntax", "op is add, replace or remove.")
        path, value = operation.get("path"), operation.get("value")
        if isinstance(path, str) and path:
            _set(after, path, value, verb)
        elif verb == "remove":
            raise bad("noTarget", "remove needs a path.")
        elif isinstance(value, Mapping):
            for name, one in value.items():
                _set(after, str(name), one, verb)
        else:
            raise bad("invalidValue", "Without a path the value is an object.")
    return after


def _set(after: dict[str, Any], path: str, value: Any, verb: str) -> None:
    name = path.removeprefix(f"{USER}:")
    lower = name.lower()
    listed = _VALUE_PATH.fullmatch(name)
    if lower == "active" and verb == "remove":
        raise bad("invalidValue", "active is replaced by false, not removed.")
    if lower in _KEPT and not isinstance(value, Mapping):
        _put(after, _KEPT[lower], value, verb)
    elif lower == "name" and isinstance(value, Mapping):
        for part, one in value.items():
            _set(after, f"name.{part}", one, verb)
    elif lower.startswith("name.") and lower[5:] in _NAME:
        inner = dict(after["name"]) if isinstance(after.get("name"), Mapping) else {}
        _put(inner, _NAME[lower[5:]], value, verb)
        after["name"] = inner
    elif lower in ("emails", "roles"):
        _put(after, lower, [value], verb)
    elif listed:
        attribute = listed[1].lower()
        kind = {"type": "work"} if attribute == "emails" else {}
        values = [one for one in _values(after, attribute) if attribute == "emails" and one.get("type") != "work"]
        after[attribute] = values if verb == "remove" else [{"value": value, **kind, "primary": True}, *values]


def _put(target: dict[str, Any], name: str, value: Any, verb: str) -> None:
    if verb == "remove" or value is None:
        target.pop(name, None)
    elif verb == "add" and isinstance(target.get(name), list):
        target[name] = [*target[name], *(value if isinstance(value, list) else [value])]
    else:
        target[name] = value


# -- what is answered -----------------------------------------------------------------------------------------------


def attributes_of(user: User) -> dict[str, Any]:
    """A user as ``canonical`` attributes: what a PATCH changes."""
    plain = {"userName": user.user_name, "externalId": user.external_id, "active": user.active}
    return {**user.attributes, **{key: value for key, value in plain.items() if value is not None}}


def shown(user: User, base: str) -> JsonObject:
    """A user as it is answered."""
    emails = user.attributes.get("emails") or [{"value": user.email, "type": "work", "primary": True}]
    meta = {
        "resourceType": "User",
        "created": user.created_at.isoformat().replace("+00:00", "Z"),
        "lastModified": user.modified_at.isoformat().replace("+00:00", "Z"),
        "location": f"{base}/Users/{user.id}",
    }
    return {"schemas": [USER], "id": user.id, **attributes_of(user), "emails": emails, "meta": meta}


def listed(resources: list[JsonObject], total: int, start: int) -> JsonObject:
    """A page of a list."""
    return {
        "schemas": [LIST],
        "totalResults": total,
        "startIndex": start,
        "itemsPerPage": len(resources),
        "Resources": resources,
    }


def config(base: str) -> JsonObject:
    """What this server can do (RFC 7643 section 5)."""
    no = {"supported": False}
    return {
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"],
        "patch": {"supported": True},
        "bulk": {**no, "maxOperations": 0, "maxPayloadSize": 0},
        "filter": {"supported": True, "maxResults": MAX_COUNT},
        "changePassword": no,
        "sort": no,
        "etag": no,
        "authenticationSchemes": [
            {
                "type": "oauthbearertoken",
                "name": "Key of a service account",
                "description": "Authorization: Bearer, with a key whose scope is people:provision",
                "primary": True,
            }
        ],
        "meta": {"resourceType": "ServiceProviderConfig", "location": f"{base}/ServiceProviderConfig"},
    }


def resource_type(base: str) -> JsonObject:
    """The one kind of resource there is."""
    return {
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ResourceType"],
        "id": "User",
        "name": "User",
        "endpoint": "/Users",
        "description": "Somebody who may log in",
        "schema": USER,
        "schemaExtensions": [],
        "meta": {"resourceType": "ResourceType", "location": f"{base}/ResourceTypes/User"},
    }


def schema(base: str) -> JsonObject:
    """The attributes of a user that are kept."""

    def one(name: str, kind: str = "string", *, many: bool = False, needed: bool = False, **more: Any) -> JsonObject:
        return {
            "name": name,
            "type": kind,
            "multiValued": many,
            "required": needed,
            "caseExact": name == "externalId",
            "mutability": "readWrite",
            "returned": "default",
            "uniqueness": "server" if needed else "none",
            **more,
        }

    value = [one("value"), one("type"), one("primary", "boolean")]
    return {
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Schema"],
        "id": USER,
        "name": "User",
        "description": "Somebody who may log in",
        "attributes": [
            one("userName", needed=True),
            one("externalId"),
            one("displayName"),
            one("active", "boolean"),
            one("name", "complex", subAttributes=[one(name) for name in _NAME.values()]),
            one("emails", "complex", many=True, subAttributes=value),
            one("roles", "complex", many=True, subAttributes=value),
        ],
        "meta": {"resourceType": "Schema", "location": f"{base}/Schemas/{USER}"},
    }
