"""Agents in the shape that other directories have for them: Microsoft Entra Agent ID and Okta for AI Agents. Pure.

Sources: Microsoft Graph v1.0, resource type agentIdentity and "Create agentIdentity" (February 2026); Okta management
API, AI Agent Registrations (beta; ``/workload-principals/api/v1/ai-agents``). No tenant of either was asked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tenure.kernel.errors import Refused
from tenure.kernel.json import JsonObject
from tenure.kernel.values import LifecycleState

GRAPH = "https://graph.microsoft.com/v1.0"
MAX_NAME = 256
_MAX_LABEL = 63
_GONE = frozenset({LifecycleState.REJECTED, LifecycleState.RETIRED})
_ENABLED = frozenset({LifecycleState.STAGING, LifecycleState.PRODUCTION, LifecycleState.DRAINING})


@dataclass(frozen=True, slots=True)
class Draft:
    """An agent as a directory knows it: the beginning of a manifest, and its id over there. ``enabled``: whether it may
    act, as the directory says."""

    manifest: JsonObject
    ident: str
    enabled: bool


def to_entra(agents: Sequence[Mapping[str, Any]], blueprint: str) -> JsonObject:
    """The agents that are not gone (as the API tells them), as a collection of agentIdentity: each member is the body
    of one ``POST /servicePrincipals/microsoft.graph.agentIdentity``. ``blueprint``: the appId of the blueprint."""
    return {"value": [_identity(agent, blueprint) for agent in agents if agent["state"] not in _GONE]}


def _identity(agent: Mapping[str, Any], blueprint: str) -> JsonObject:
    known = ("workspace", "name", "state", "release")
    return {
        "@odata.type": "#microsoft.graph.agentIdentity",
        "displayName": str(agent["name"]),
        "accountEnabled": agent["state"] in _ENABLED,
        "agentIdentityBlueprintId": blueprint,
        "tags": [f"tenure-{what}:{agent[what]}" for what in known if agent.get(what)],
        "sponsors@odata.bind": [f"{GRAPH}/users/{agent['sponsor']}"],
    }


def to_okta(agents: Sequence[Mapping[str, Any]], app: str = "") -> JsonObject:
    """The agents that are not gone, as a list of AI agents: each member is the body of one ``POST
    /workload-principals/api/v1/ai-agents``. ``app``: the id of the connected app, if they have one."""
    linked = {"appId": app} if app else {}
    found = [agent for agent in agents if agent["state"] not in _GONE]
    profiles = ({"name": str(one["name"]), "description": str(one["manifest"]["spec"]["purpose"])} for one in found)
    return {"data": [{**linked, "profile": profile} for profile in profiles]}


def from_entra(document: Any, workspace: str | None = None) -> list[Draft]:
    """What a collection of agentIdentity says (``$expand=sponsors,owners`` tells the people). Raises Refused."""
    return _drafts([_of_entra(item) for item in _members(document, "value")], workspace)


def from_okta(document: Any, workspace: str | None = None) -> list[Draft]:
    """What a list of AI agents says. It names no people. Raises Refused."""
    return _drafts([_of_okta(item) for item in _members(document, "data")], workspace)


def _members(document: Any, name: str) -> list[Mapping[str, Any]]:
    found = document.get(name) if isinstance(document, Mapping) else None
    if not isinstance(found, list) or not all(isinstance(item, Mapping) for item in found):
        raise _unfit(f"It is no object with a list {name!r} of objects.")
    return found


def _of_entra(item: Mapping[str, Any]) -> tuple[str, str, JsonObject, bool]:
    kind = str(item.get("@odata.type", "#microsoft.graph.agentIdentity")).lower()
    if kind != "#microsoft.graph.agentidentity":
        raise _unfit(f"{kind} is no agentIdentity.")
    people = {"owner": _person(item.get("owners")), "sponsor": _person(item.get("sponsors"))}
    spec = {"purpose": _text(item, "displayName"), **{role: who for role, who in people.items() if who}}
    return _text(item, "displayName"), str(item.get("id") or ""), spec, item.get("accountEnabled") is not False


def _of_okta(item: Mapping[str, Any]) -> tuple[str, str, JsonObject, bool]:
    profile = item.get("profile")
    if not isinstance(profile, Mapping):
        raise _unfit("An AI agent without a profile.")
    name = _text(profile, "name")
    spec: JsonObject = {"purpose": str(profile.get("description") or name)}
    return name, str(item.get("id") or ""), spec, item.get("status", "ACTIVE") == "ACTIVE"


def _text(item: Mapping[str, Any], name: str) -> str:
    value = item.get(name)
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_NAME:
        raise _unfit(f"An agent whose {name} is not 1 to {MAX_NAME} characters.")
    return value.strip()


def _person(people: Any) -> str:
    """The first of directory objects that is a person with an address."""
    for one in people if isinstance(people, list) else ():
        if isinstance(one, Mapping):
            address = one.get("mail") or one.get("userPrincipalName")
            if isinstance(address, str) and "@" in address:
                return address
    return ""


def _drafts(found: Sequence[tuple[str, str, JsonObject, bool]], workspace: str | None) -> list[Draft]:
    drafts: dict[str, Draft] = {}
    for name, ident, spec, enabled in found:
        label = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:_MAX_LABEL].strip("-")
        if not label or label in drafts:
            raise _unfit(f"{name!r} gives {'no name' if not label else f'the name {label} again'} here.")
        metadata = {"name": label} | ({"workspace": workspace} if workspace else {})
        manifest: JsonObject = {"apiVersion": "tenure/v1", "kind": "Agent", "metadata": metadata, "spec": spec}
        drafts[label] = Draft(manifest, ident, enabled)
    return list(drafts.values())


def _unfit(problem: str) -> Refused:
    return Refused("bad_directory", problem, fix="Give what the directory's API answered, as JSON.", status=422)
