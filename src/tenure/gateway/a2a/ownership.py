"""Whose task it is, told by its id: every id that a peer gives out reaches the agent that called with a mark that only
the gateways can make for that agent and that peer, and comes off on the way back. Nothing is kept. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tenure.gateway.a2a.wire import wrong
from tenure.gateway.keyring import Keyring
from tenure.kernel.json import JsonObject
from tenure.kernel.values import Principal

_TASK, _CONTEXT, _OWN_CONTEXT = "a2a-task", "a2a-context", "a2a-own-context"
_CALLBACK, _CALLBACK_TOKEN = "a2a-callback", "a2a-callback-token"
MAX_SEALED = 6000
"""Longest sealed address for notifications, in characters: it is part of a path."""


class Ownership:
    """The ids of one peer, as one agent is given them."""

    def __init__(self, keyring: Keyring, principal: Principal, peer: str) -> None:
        self._keyring = keyring
        self._whose = (principal.workspace, principal.agent, peer)

    def outward(self, kind: str, ident: str) -> str:
        """The peer's id as the agent gets it. A context that the agent itself has named keeps the agent's name."""
        if kind == "context":
            own, _, mark = ident.rpartition("~")
            if own and self._keyring.is_mark(mark, _OWN_CONTEXT, *self._whose, own):
                return own
        purpose = _TASK if kind == "task" else _CONTEXT
        return f"{ident}.{self._keyring.mark(purpose, *self._whose, ident)}"

    def inward(self, kind: str, ident: str) -> str:
        """The agent's id as the peer knows it. Raises Refused for a task that this agent has not created. A context
        without a mark is the agent's own invention, and cannot meet that of another agent."""
        theirs, _, mark = ident.rpartition(".")
        purpose = _TASK if kind == "task" else _CONTEXT
        if theirs and self._keyring.is_mark(mark, purpose, *self._whose, theirs):
            return theirs
        if kind == "task":
            raise wrong("TASK_NOT_FOUND", f"There is no task {ident[:200]} that agent {self._whose[1]} has created.")
        return f"{ident}~{self._keyring.mark(_OWN_CONTEXT, *self._whose, ident)}"


class Callback(msgspec.Struct, frozen=True):
    """Where an agent takes notifications of a peer, and as whom it asked for them. ``tp``: the traceparent of that
    call."""

    ws: str
    agent: str
    epoch: int
    release: str
    instance: str
    session: str
    peer: str
    url: str
    tp: str
    token: str | None = None
    auth: Mapping[str, Any] | None = None
    obo: str | None = None
    chain: tuple[str, ...] = ()
    epochs: tuple[int, ...] = ()
    bounds: tuple[tuple[str, ...], ...] = ()
    task: str | None = None
    issued: float = 0.0
    key: str = ""

    def principal(self) -> Principal:
        """Who asked for the notifications."""
        return Principal(
            workspace=self.ws,
            agent=self.agent,
            release=self.release,
            instance=self.instance,
            session=self.session,
            credential_epoch=self.epoch,
            on_behalf_of=self.obo,
            chain=self.chain,
            task=self.task,
            chain_epochs=self.epochs,
            bounds=self.bounds,
            issued_at=self.issued,
            key=self.key,
        )

    def config(self) -> JsonObject:
        """What the agent had set."""
        given = (("url", self.url), ("token", self.token), ("authentication", self.auth))
        return {name: value for name, value in given if value}


_decode = msgspec.json.Decoder(Callback).decode


def seal(keyring: Keyring, callback: Callback, address: str) -> JsonObject:
    """The address and the token that a peer is given instead of the agent's own. ``address``: the peer's at the
    gateway. Raises Refused for one that is too long."""
    sealed = keyring.seal(_CALLBACK, msgspec.json.encode(callback))
    if len(sealed) > MAX_SEALED:
        raise wrong("INVALID_PARAMS", "The address for notifications, with its token, is too long.")
    return {"url": f"{address}/callbacks/{sealed}", "token": keyring.mark(_CALLBACK_TOKEN, sealed)}


def opened(keyring: Keyring, sealed: str, token: str | None) -> Callback | None:
    """What was sealed; None for what was not sealed here, or when ``token`` is not the one that was given with it."""
    if len(sealed) > MAX_SEALED or (token is not None and not keyring.is_mark(token, _CALLBACK_TOKEN, sealed)):
        return None
    payload = keyring.opened(_CALLBACK, sealed)
    return _decode(payload) if payload is not None else None
