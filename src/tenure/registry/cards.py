"""Agent cards (A2A specification, sections 4.4 and 8): those that Tenure publishes, and those of others. Pure.

A card is signed over its canonical form (RFC 8785) without ``signatures`` and without what is empty (section 8.4), so a
published card holds nothing empty and nothing that is false.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from tenure.kernel.errors import Refused
from tenure.kernel.json import Json, JsonObject
from tenure.kernel.snapshot import PeerFact
from tenure.registry.fields import LABEL

JSONRPC, HTTP_JSON = "JSONRPC", "HTTP+JSON"
MAX_CARD = 256 << 10
"""Longest card that is imported, in bytes."""
_PLAIN = "text/plain"
_DEPTH = 24
_SECURITY: Mapping[str, Any] = {
    "securitySchemes": {
        "tenure": {
            "httpAuthSecurityScheme": {
                "description": "The token that Tenure gave to the agent that calls",
                "scheme": "Bearer",
                "bearerFormat": "JWT",
            }
        }
    },
    "securityRequirements": [{"schemes": {"tenure": {}}}],
}  # what a card asks of those who call

# What the specification knows of a card, so that fields beside it (those of older versions, which servers add to one
# and the same document) can be left out of what is verified. None: any value; a list: each of its items.
_INTERFACE = {"url": None, "protocolBinding": None, "tenant": None, "protocolVersion": None}
_EXTENSION = {"uri": None, "description": None, "required": None, "params": None}
_SKILL = dict.fromkeys(
    ("id", "name", "description", "tags", "examples", "inputModes", "outputModes", "securityRequirements")
)
_SCHEMES = dict.fromkeys(
    (
        *("apiKeySecurityScheme", "httpAuthSecurityScheme", "oauth2SecurityScheme"),
        *("openIdConnectSecurityScheme", "mtlsSecurityScheme"),
    )
)
_KNOWN: Mapping[str, Any] = {
    **dict.fromkeys(("name", "description", "version", "documentationUrl", "iconUrl", "securityRequirements")),
    **dict.fromkeys(("defaultInputModes", "defaultOutputModes")),
    "provider": {"url": None, "organization": None},
    "supportedInterfaces": [_INTERFACE],
    "capabilities": {
        **dict.fromkeys(("streaming", "pushNotifications", "extendedAgentCard")),
        "extensions": [_EXTENSION],
    },
    "skills": [_SKILL],
}


@dataclass(frozen=True, slots=True)
class Signature:
    """What is known of a card's signature. ``state``: ``unsigned``, or ``verified`` by the key ``kid`` that was found
    at ``jku``: it says that the card is as whoever serves that address made it, and not who that is."""

    state: str
    kid: str = ""
    jku: str = ""


@dataclass(frozen=True, slots=True)
class ExternalAgent:
    """An agent elsewhere that agents here may be granted to call. ``source`` is where its card came from."""

    workspace: str
    name: str
    card: JsonObject = field(repr=False)
    url: str | None
    rest_url: str | None
    protocol: str
    credential_env: str | None
    source: str
    signature: Signature
    imported_at: datetime
    imported_by: str


def card_of(name: str, spec: JsonObject, gateway_url: str) -> JsonObject | None:
    """The card of an agent that serves A2A, with the gateway as its address; None for one that does not. It offers the
    bindings that the agent itself serves: the gateway passes messages on and translates none."""
    served = spec.get("a2a")
    if served is None:
        return None
    address = f"{gateway_url}/a2a/{name}"
    bindings = [binding for binding, key in ((JSONRPC, "url"), (HTTP_JSON, "rest_url")) if served.get(key)]
    flags = (
        ("streaming", "streaming"),
        ("pushNotifications", "push_notifications"),
        ("extendedAgentCard", "extended_card"),
    )
    card: dict[str, Any] = {
        "name": name,
        "description": spec["purpose"],
        "version": served["version"],
        "supportedInterfaces": [
            {"url": address, "protocolBinding": binding, "protocolVersion": served["protocol"]} for binding in bindings
        ],
        "capabilities": {word: True for word, key in flags if served.get(key)},
        **_SECURITY,
        "defaultInputModes": served.get("input_modes", [_PLAIN]),
        "defaultOutputModes": served.get("output_modes", [_PLAIN]),
        "skills": [_skill(skill) for skill in served["skills"]],
    }
    return card


def _skill(skill: JsonObject) -> JsonObject:
    names = {"input_modes": "inputModes", "output_modes": "outputModes"}
    return {names.get(key, key): value for key, value in skill.items()}


def payload_of(card: JsonObject, *, known_only: bool = False) -> JsonObject:
    """What a signature of ``card`` is about: all of it but the signatures and what is empty; or of that only what the
    specification knows."""
    bare = {key: value for key, value in card.items() if key != "signatures"}
    return _without_empty(_known(bare) if known_only else bare, 1) or {}


def _known(card: JsonObject) -> dict[str, Any]:
    out: dict[str, Any] = _kept(card, _KNOWN)
    schemes = card.get("securitySchemes")
    if isinstance(schemes, Mapping):
        out["securitySchemes"] = {name: _kept(scheme, _SCHEMES) for name, scheme in schemes.items()}
    return out


def _kept(value: Json, shape: Any) -> Any:
    if shape is None:
        return value
    if isinstance(shape, list):
        return [_kept(item, shape[0]) for item in value] if isinstance(value, list) else value
    if not isinstance(value, Mapping):
        return value
    return {key: _kept(item, shape[key]) for key, item in value.items() if key in shape}


def _without_empty(value: Json, depth: int) -> Any:
    if depth > _DEPTH:
        raise _unfit(f"nests deeper than {_DEPTH} levels")
    if isinstance(value, Mapping):
        kept = {key: small for key, item in value.items() if (small := _without_empty(item, depth + 1)) is not None}
        return kept or None
    if isinstance(value, list):
        return [small for item in value if (small := _without_empty(item, depth + 1)) is not None] or None
    return None if value == "" else value


def read_card(value: Json) -> tuple[JsonObject, dict[str, str], str]:
    """(the card, the address of each binding that can be used, the protocol's version) of a foreign card, of version
    1.0 or 0.3. Raises Refused (422) that says what is wrong with it."""
    if not isinstance(value, dict):
        raise _unfit("is not a JSON object")
    _without_empty(value, 1)
    for key in ("name", "description"):
        if not isinstance(value.get(key), str) or not value[key].strip():
            raise _unfit(f"has no {key}")
    if not isinstance(value.get("skills", []), list):
        raise _unfit("has skills that are no list")
    found: dict[str, tuple[str, str]] = {}
    for binding, address, version in _interfaces(value):
        _check_address(address)
        known = found.get(binding)
        if binding in (JSONRPC, HTTP_JSON) and version in ("1.0", "0.3") and (known is None or known[1] < version):
            found[binding] = address, version
    best = max((version for _, version in found.values()), default="")
    usable = {binding: address for binding, (address, version) in found.items() if version == best}
    if not usable:
        raise _unfit("offers neither JSON-RPC nor HTTP+JSON in version 1.0 or 0.3")
    return value, usable, best


def _interfaces(card: JsonObject) -> list[tuple[str, str, str]]:
    """(binding, address, version) of every interface, in the card's order."""
    given = card.get("supportedInterfaces")
    if isinstance(given, list):
        rows = [row for row in given if isinstance(row, Mapping)]
        return [(str(r.get("protocolBinding")), str(r.get("url")), _version(r.get("protocolVersion"))) for r in rows]
    version = _version(card.get("protocolVersion", "0.3"))
    rows = [{"transport": card.get("preferredTransport", JSONRPC), "url": card.get("url")}]
    more = card.get("additionalInterfaces")
    rows += [row for row in more if isinstance(row, Mapping)] if isinstance(more, list) else []
    return [(str(row.get("transport")), str(row.get("url")), version) for row in rows]


def _version(value: Json) -> str:
    """Major and minor, which alone decide (section 3.6)."""
    match = re.match(r"\d+\.\d+", str(value))
    return match[0] if match else ""


def _check_address(address: str) -> None:
    try:
        parts = urlsplit(address)
        fit = parts.scheme in ("http", "https") and parts.hostname and not parts.username and parts.port != 0
    except ValueError:
        fit = False
    if not fit or len(address) > 2_000 or any(letter <= " " or letter > "~" for letter in address):
        raise _unfit(f"has the address {address[:100]!r}, which is not an http or https address")


def name_of(card: JsonObject, wanted: str | None) -> str:
    """The name under which an external agent is registered: ``wanted``, or one made of the card's own. Raises
    Refused."""
    name = wanted or re.sub(r"[^a-z0-9]+", "-", card["name"].lower()).strip("-")[:63].strip("-")
    if not re.match(LABEL, name):
        raise Refused(
            "bad_name",
            f"{name[:100]!r} cannot be the name of an agent.",
            fix="Give one of lower-case letters, digits and hyphens, at most 63.",
            status=422,
        )
    return name


def external_fact(agent: ExternalAgent, card: str) -> PeerFact:
    """What the gateways need to call it. ``card``: the published one, as JSON."""
    return PeerFact(
        workspace=agent.workspace,
        name=agent.name,
        url=agent.url,
        rest_url=agent.rest_url,
        version=agent.protocol,
        credential_env=agent.credential_env,
        governed=False,
        card=card,
    )


def published_card(agent: ExternalAgent, gateway_url: str) -> JsonObject:
    """The card under which an external agent is offered to agents here: its own, with the gateway as its address. Its
    signature is gone, which was about another address."""
    address = f"{gateway_url}/a2a/{agent.name}"
    bindings = [binding for binding, url in ((JSONRPC, agent.url), (HTTP_JSON, agent.rest_url)) if url]
    card = {**_known(agent.card), **_SECURITY}
    if isinstance(card.get("skills"), list):
        card["skills"] = [
            {key: value for key, value in skill.items() if key != "securityRequirements"}
            for skill in card["skills"]
            if isinstance(skill, Mapping)
        ]
    card["supportedInterfaces"] = [
        {"url": address, "protocolBinding": binding, "protocolVersion": agent.protocol} for binding in bindings
    ]
    capabilities = card.get("capabilities")
    card["capabilities"] = (
        {key: value for key, value in capabilities.items() if value} if isinstance(capabilities, Mapping) else {}
    )
    return card


def _unfit(problem: str) -> Refused:
    return Refused(
        "bad_card", f"The agent card {problem}.", fix="Ask whoever serves it for a card of A2A 1.0.", status=422
    )
