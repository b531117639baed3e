"""Work that one agent hands to another: the signed statement that goes with it, and when it is believed. Pure.

An agent that calls another through the gateway makes a chain longer by itself. The agent that is called gets the chain
as a header with the request, shows it with its own calls, and may then do what its own manifest grants and every agent
of the chain lets it do. The statement is bound to that agent, lives shortly, and dies with any credential of the chain.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec

from tenure.gateway.keyring import Keyring
from tenure.kernel.errors import Refused
from tenure.kernel.scopes import joined, uncovered
from tenure.kernel.snapshot import AgentFact, PeerGrant, PersonFact, Snapshot
from tenure.kernel.values import Call, LifecycleState, Principal

HEADER = "x-tenure-delegation"
_PURPOSE = "delegation"
_MAX_CHARS = 8192
_ACTIVE = frozenset({LifecycleState.STAGING, LifecycleState.PRODUCTION, LifecycleState.DRAINING})


class Handed(msgspec.Struct, frozen=True):
    """What the statement says: in which workspace, to whom, through whom (and under which epoch of their credentials),
    within which bounds, for whom, for what, by which call, and until when (Unix seconds)."""

    ws: str
    to: str
    chain: tuple[str, ...]
    epochs: tuple[int, ...]
    bounds: tuple[tuple[str, ...], ...]
    task: str
    by: str
    exp: float
    obo: str | None = None


_decode = msgspec.json.Decoder(Handed).decode


def hand_over(keyring: Keyring, principal: Principal, grant: PeerGrant, call: Call, expires_at: float) -> str:
    """The statement that goes with ``call``, by which ``principal`` gives work to the agent of ``grant``."""
    handed = Handed(
        ws=principal.workspace,
        to=grant.name,
        chain=(*principal.chain, principal.agent),
        epochs=(*principal.chain_epochs, principal.credential_epoch),
        bounds=joined(principal.bounds, grant.bounds),
        task=principal.task or call.id,
        by=f"00-{call.trace_id}-{call.span_id}-01",
        exp=expires_at,
        obo=principal.on_behalf_of,
    )
    return keyring.sign(_PURPOSE, msgspec.json.encode(handed))


def read(keyring: Keyring, token: str, now: float) -> Handed:
    """What a statement says. Raises Refused (401) for one that no gateway here made, or that is over."""
    payload = keyring.signed(_PURPOSE, token) if len(token) <= _MAX_CHARS else None
    if payload is None:
        raise _refused("delegation_invalid", "The delegation was not made by this installation.", 401)
    handed = _decode(payload)
    if handed.exp <= now:
        raise _refused("delegation_expired", "The delegation has expired.", 401)
    return handed


def taken_up(handed: Handed, principal: Principal, snapshot: Snapshot) -> Principal:
    """``principal``, at work on what was handed to it. Raises Refused: 403 when it was handed to somebody else, or for
    another person than its own token is for; 401 when an agent of the chain may not act any more.

    What limits the token limits this work too, or taking work up would be a way to be rid of it."""
    if (handed.ws, handed.to) != (principal.workspace, principal.agent):
        raise _refused(
            "delegation_not_yours",
            f"This delegation was made for agent {handed.to}, not for {principal.agent}.",
            403,
        )
    if principal.chain:
        raise _refused(
            "delegation_twice",
            f"This token of {principal.agent} is for the work that {principal.chain[-1]} gave it, and for no other.",
            403,
        )
    if principal.on_behalf_of not in (None, handed.obo):
        raise _refused("delegation_other_person", "This token is for work on behalf of somebody else.", 403)
    out = replace(
        principal,
        on_behalf_of=handed.obo,
        chain=handed.chain,
        chain_epochs=handed.epochs,
        task=handed.task,
        bounds=joined(handed.bounds, principal.bounds),
        handed_by=handed.by,
    )
    problem = broken(out, snapshot)
    if problem:
        raise _refused("delegation_ended", problem, 401)
    return out


def _refused(code: str, message: str, status: int) -> Refused:
    return Refused(code, message, fix="Ask the agent that handed the work on to do so again.", status=status)


def broken(principal: Principal, snapshot: Snapshot | None) -> str:
    """Why the chain that ``principal`` works for does not hold any more; empty while it does."""
    for name, epoch in zip(principal.chain, principal.chain_epochs, strict=True):
        agent = snapshot.agents.get(f"{principal.workspace}/{name}") if snapshot is not None else None
        if agent is None:
            return f"Agent {name}, which handed the work on, is unknown."
        if agent.state not in _ACTIVE:
            return f"Agent {name}, which handed the work on, is {agent.state}."
        if agent.credential_epoch != epoch:
            return f"The credential under which agent {name} handed the work on was revoked."
    return ""


def limit_of(principal: Principal, snapshot: Snapshot | None) -> PersonFact | None:
    """What limits agents that work for the person that ``principal`` works for; None for nothing."""
    if principal.on_behalf_of is None or snapshot is None:
        return None
    return snapshot.people.get(f"{principal.workspace}/{principal.on_behalf_of}")


def forbidden(person: PersonFact, call: Call, agent: AgentFact) -> str:
    """Why ``agent`` may not do this for ``person``; empty when it may."""
    if person.gone:
        return f"{person.email} has no place here any more, so nothing is done on their behalf."
    missing = uncovered((person.scopes,), call.kind, call.resource, agent.data_classes)
    if not missing:
        return ""
    return f"{person.email} does not reach {missing}, so no agent does on their behalf."


def link(call: Call, principal: Principal) -> dict[str, Any]:
    """A link (OpenTelemetry) to the call by which the work was handed on, where it is not the parent already."""
    if principal.handed_by is None:
        return {}
    _, trace_id, span_id, _ = principal.handed_by.split("-")
    if (call.trace_id, call.parent_span_id) == (trace_id, span_id):
        return {}
    return {"otlp.links": [{"trace_id": trace_id, "span_id": span_id, "attributes": {"tenure.link": "handed_by"}}]}
