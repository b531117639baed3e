"""How a token tells of a chain of delegation: the claim ``act`` of RFC 8693 section 4.1, the bounds, and whether it
plays a recorded run again. Pure.

``sub`` is who all of it is done for: the person, or else the agent that the chain begins with. ``act`` names who acts
now, and within it, one in the other, who acted before. So a token of an agent that works on its own has neither.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from tenure.kernel.json import JsonObject
from tenure.kernel.scopes import MAX_SCOPES
from tenure.kernel.values import Principal

MAX_CHAIN = 32
_MAX_TEXT = 255
_AGENT = "/agent/"
_PLACE = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01")


def spiffe_id(workspace: str, agent: str) -> str:
    """An agent's name to the world."""
    return f"spiffe://tenure/{workspace}{_AGENT}{agent}"


def claims_of(principal: Principal) -> dict[str, Any]:
    """What the token of ``principal`` says of its chain and its bounds; nothing for an agent that works on its own."""
    out: dict[str, Any] = {}
    actors = principal.chain if principal.on_behalf_of is not None else principal.chain[1:]
    if principal.chain or principal.on_behalf_of is not None:
        act: dict[str, Any] = {}
        for name in (*actors, principal.agent):
            act = {"sub": spiffe_id(principal.workspace, name)} | ({"act": act} if act else {})
        out |= {"act": act, "obo": principal.on_behalf_of, "epochs": list(principal.chain_epochs)}
    bounds = [list(one) for one in principal.bounds if one != principal.scopes]
    given: dict[str, Any] = {"bounds": bounds, "scope": " ".join(principal.scopes), "task": principal.task}
    given |= {"by": principal.handed_by, "fork": list(principal.fork or ())}
    return out | {name: value for name, value in given.items() if value}


def subject_of(principal: Principal) -> str:
    """The claim ``sub``: the agent itself, where it acts for nobody."""
    if principal.on_behalf_of is not None:
        return f"person:{principal.on_behalf_of}"
    return spiffe_id(principal.workspace, (*principal.chain, principal.agent)[0])


def read(claims: JsonObject, principal: Principal) -> dict[str, Any]:
    """The fields of a Principal that come of the chain, the bounds and the subject, given its other ones. Raises
    ValueError with what is wrong."""
    before = _actors(claims, principal)
    acting = claims.get("act") is not None
    if acting and principal.on_behalf_of is None:
        before = (_agent(claims.get("sub"), principal.workspace), *before)
    epochs = claims.get("epochs", [])
    if not isinstance(epochs, list) or not all(type(one) is int and one >= 0 for one in epochs):
        raise ValueError("claim `epochs` must be whole numbers")
    if len(epochs) != len(before) or acting != bool(before or principal.on_behalf_of is not None):
        raise ValueError("claims `act`, `epochs` and `obo` tell of different chains")
    bounds, scope, task = claims.get("bounds", []), claims.get("scope", ""), claims.get("task")
    if not isinstance(bounds, list) or not all(_scopes(one) for one in bounds) or not isinstance(scope, str):
        raise ValueError("claims `bounds` and `scope` must be scopes")
    scopes = tuple(scope.split())
    if task is not None and (not isinstance(task, str) or len(task) > _MAX_TEXT):
        raise ValueError("claim `task` must be text")
    by = claims.get("by")
    if by is not None and (not isinstance(by, str) or not _PLACE.fullmatch(by)):
        raise ValueError("claim `by` must be a place in a trace")
    found = {
        "chain": before,
        "chain_epochs": tuple(epochs),
        "bounds": (*(tuple(one) for one in bounds), *((scopes,) if scopes else ())),
        "scopes": scopes,
        "task": task,
        "handed_by": by,
        "fork": _fork(claims.get("fork")),
    }
    if claims.get("sub") != subject_of(replace(principal, chain=before)):
        raise ValueError("its subject is not whom it is for")
    return found


def _fork(told: Any) -> tuple[str, str] | None:
    if told is None:
        return None
    if not isinstance(told, list) or len(told) != 2 or not all(isinstance(one, str) for one in told) or not told[0]:
        raise ValueError("claim `fork` must be an id and whom the run was for")
    return told[0], told[1]


def _scopes(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= MAX_SCOPES and all(isinstance(one, str) for one in value)


def _actors(claims: JsonObject, principal: Principal) -> tuple[str, ...]:
    """Who acted before, the first first. The outermost ``act`` must be the agent that the token is for."""
    found: list[str] = []
    act = claims.get("act")
    while act is not None:
        if not isinstance(act, dict) or not set(act) <= {"sub", "act"} or len(found) > MAX_CHAIN:
            raise ValueError("claim `act` must be a chain of actors")
        found.append(_agent(act.get("sub"), principal.workspace))
        act = act.get("act")
    if found and found[0] != principal.agent:
        raise ValueError("its actor is not the agent it names")
    return tuple(reversed(found[1:]))


def _agent(value: Any, workspace: str) -> str:
    prefix = spiffe_id(workspace, "")
    if not isinstance(value, str) or not value.startswith(prefix) or not 0 < len(value) - len(prefix) <= _MAX_TEXT:
        raise ValueError("claim `act` must name agents of one workspace")
    return value.removeprefix(prefix)
