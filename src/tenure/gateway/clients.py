"""What a client says it is, as far as it is told and decided on: its User-Agent, and how an MCP client calls itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from tenure.gateway.http import Request, decode_json
from tenure.gateway.spool import Spool
from tenure.kernel.clients import key_mark, name_of
from tenure.kernel.errors import Refused
from tenure.kernel.ids import new_id
from tenure.kernel.json import Json, JsonObject
from tenure.kernel.snapshot import BlockedFact, Snapshot
from tenure.kernel.values import Event, Principal

_KEY_HEADERS = ("x-api-key", "api-key", "x-goog-api-key")
_TEXT = 200  # characters
_HELLO = 16_384  # bytes: what introduces an MCP client is short
_SEEN_KEPT = 10_000
_CONTROL = re.compile(r"[^\x20-\x7e]")


def let_in(blocked: BlockedFact, names: Iterable[str]) -> None:
    """Raises Refused (403) where one of ``names`` was blocked in the caller's workspace."""
    for name in names:
        why = blocked.names.get(name)
        if why is not None:
            raise Refused(
                "client_blocked",
                f"The client {name} was blocked here: {why or 'no reason was given'}.",
                fix="Ask an operator; an agent that is registered gets a credential of its own.",
                status=403,
            )


def told_by(request: Request) -> JsonObject:
    """What an Event keeps of a stranger: what it says it is, its address, and a mark of the key that it showed."""
    told: dict[str, Json] = {}
    agent = request.headers.get("user-agent", "")
    if agent:
        told["user_agent.original"] = _plain(agent)
    if request.peer:
        told["client.address"] = request.peer
    if mark := key_mark(_key(request.headers)):
        told["tenure.client.key"] = mark
    title = request.headers.get("x-title", "")  # by which clients of several providers name their program
    if title:
        told["tenure.client.title"] = _plain(title)
    if request.path == "/mcp" and 0 < len(request.body) <= _HELLO:
        told |= _hello(request.body)
    return told


def _key(headers: Mapping[str, str]) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if token and scheme.lower() == "bearer":
        return token.strip()
    return next((headers[name].strip() for name in _KEY_HEADERS if name in headers), "")


def _hello(body: bytes) -> JsonObject:
    try:
        message = decode_json(body)
    except Refused:
        return {}
    params = message.get("params") if isinstance(message, dict) and message.get("method") == "initialize" else None
    return client_of(params.get("clientInfo") if isinstance(params, dict) else None)


def client_of(info: Json) -> dict[str, Json]:
    """The attributes of an MCP client's introduction (``clientInfo``); none where it is none."""
    if not isinstance(info, Mapping) or not isinstance(info.get("name"), str) or not info["name"].strip():
        return {}
    version = info.get("version")
    found: dict[str, Json] = {"mcp.client.name": _plain(info["name"])}
    return found | ({"mcp.client.version": _plain(version)} if isinstance(version, str) and version else {})


def _plain(text: str) -> str:
    return _CONTROL.sub("?", text[:_TEXT])


class Introductions:
    """Which MCP clients came with which agents' credentials: told once for each by this process, as ``client.seen``."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._seen: set[tuple[str, str, str]] = set()

    def meet(self, info: Json, principal: Principal, snapshot: Snapshot | None, user_agent: str) -> None:
        """Notes a client that introduces itself. Raises Refused (403) for one that was blocked."""
        told = client_of(info)
        name = str(told.get("mcp.client.name", ""))
        if not name:
            return
        blocked = snapshot.blocked.get(principal.workspace) if snapshot is not None else None
        if blocked is not None:
            let_in(blocked, [name_of(name)])
        key = (principal.workspace, principal.agent, name)
        if key in self._seen:
            return
        if len(self._seen) >= _SEEN_KEPT:
            self._seen.clear()
        self._seen.add(key)
        data = told | ({"user_agent.original": _plain(user_agent)} if user_agent else {})
        self._spool.append(
            Event(
                id=new_id(),
                type="client.seen",
                time=datetime.now(UTC),
                workspace=principal.workspace,
                actor=f"agent:{principal.agent}",
                agent=principal.agent,
                release=principal.release,
                instance=principal.instance,
                session=principal.session,
                data=data,
            )
        )
