"""What both kinds of connection to an upstream MCP server have in common: the limits on it, how the two ends agree on a
revision, and what a message from it can be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeGuard

from tenure.gateway.mcp import codec
from tenure.gateway.mcp.line import Line
from tenure.gateway.mcp.session import ASKS
from tenure.kernel.errors import Failed
from tenure.kernel.json import Json, JsonObject


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on one upstream. Sizes in bytes, times in seconds."""

    message_bytes: int = 8 << 20
    tools: int = 20_000  # or prompts, or resources; further ones do not exist
    pages: int = 100
    start_s: float = 20.0
    call_s: float = 120.0
    stop_s: float = 2.0
    backoff_s: tuple[float, float] = (0.25, 30.0)
    backoff_wait_s: float = 3.0  # a call waits this long for the next start, and is refused when that is further off
    steady_s: float = 10.0  # a server that lived this long starts at once when it has died
    stream_after_s: float = 5.0  # a call that runs longer is answered by an event stream
    ping_s: float = 15.0  # so often a silent event stream says that it lives
    list_age_s: float = 60.0  # a list is asked for anew when it is older and somebody lists
    ask_s: float = 110.0  # so long a client, or the person before it, may take to answer what a server asks
    rounds: int = 10  # a server may ask so many times before it answers one request
    subscriptions: int = 100  # resources that one session, or one listening client, may subscribe to
    processes: int = 64  # child processes of the whole gateway
    detached_s: float = 300.0  # so long subscriptions outlive their session's event stream


CHANGES: Mapping[str, str] = {
    "notifications/tools/list_changed": "toolsListChanged",
    "notifications/prompts/list_changed": "promptsListChanged",
    "notifications/resources/list_changed": "resourcesListChanged",
}
"""What servers tell of their lists, and what 2026-07-28 calls it in a filter."""
UPDATED = "notifications/resources/updated"


@dataclass(frozen=True, slots=True)
class News:
    """Where a connection takes what its server tells outside of any request. ``heard`` is given one of CHANGES, or
    UPDATED, and its params; ``lost`` is called when nothing more will be heard: the stream or the process has ended."""

    heard: Callable[[str, JsonObject], None]
    lost: Callable[[], None]


class Connection(Protocol):
    """An open connection. ``version`` is the revision that the two ends agreed on."""

    version: str

    @property
    def alive(self) -> bool:
        """Whether another request can be sent."""

    async def request(
        self,
        method: str,
        params: JsonObject,
        *,
        timeout_s: float,
        admit: Callable[[], None] | None = None,
        line: Line | None = None,
        headers: JsonObject | None = None,
    ) -> dict[str, Any]:
        """The whole response message (``result`` or ``error``). Cancelling this cancels the request upstream.
        ``admit`` is called immediately before the bytes are written and may raise to stop that. What the upstream says
        of this request before it answers goes to ``line``.

        Raises Failed: upstream_died, upstream_timeout, upstream_garbage, upstream_unavailable, upstream_refused and
        upstream_session_lost (the request was not looked at, and can be sent again in a new session)."""

    async def notify(self, method: str, params: JsonObject) -> None:
        """Sends a notification. Raises Failed as ``request`` does."""

    async def watch(self, uris: frozenset[str]) -> Mapping[str, str]:
        """Subscribes to changes of lists and to exactly ``uris``, instead of what it was before. Says of each URI why
        the server did not take it: empty when it did. Raises Failed as ``request`` does."""

    async def close(self) -> None:
        """Ends the connection, and the process behind it if there is one."""


def is_answer(message: JsonObject) -> bool:
    """Whether ``message`` is a well-formed JSON-RPC response."""
    error = message.get("error")
    if error is None:
        return isinstance(message.get("result"), dict)
    return isinstance(error, dict) and type(error.get("code")) is int and isinstance(error.get("message"), str)


def is_change(method: object) -> TypeGuard[str]:
    """Whether ``method`` tells of a change."""
    return method in CHANGES or method == UPDATED


def listen_params(uris: frozenset[str], version: str) -> JsonObject:
    """The params of ``subscriptions/listen`` for everything that can change."""
    wanted: dict[str, Json] = dict.fromkeys(CHANGES.values(), True)
    if uris:
        wanted["resourceSubscriptions"] = sorted(uris)
    return {"_meta": codec.upstream_meta({}, version=version), "notifications": wanted}


def acknowledged(params: Json, uris: frozenset[str]) -> dict[str, str]:
    """What a server acknowledged of ``uris``, as ``Connection.watch`` says it."""
    told = params.get("notifications") if isinstance(params, dict) else None
    taken = told.get("resourceSubscriptions") if isinstance(told, dict) else None
    known = taken if isinstance(taken, list) else []
    return {uri: "" if uri in known else "The server takes no subscription to it." for uri in uris}


async def subscribe_each(
    connection: Connection, watched: dict[str, str], uris: frozenset[str], limits: Limits
) -> dict[str, str]:
    """``Connection.watch`` where every resource is subscribed to by itself; ``watched`` is what it returned before."""
    for uri in frozenset(watched) - uris:
        del watched[uri]
        await connection.request("resources/unsubscribe", {"uri": uri}, timeout_s=limits.start_s)
    for uri in uris:
        if watched.get(uri) != "":
            answer = await connection.request("resources/subscribe", {"uri": uri}, timeout_s=limits.start_s)
            watched[uri] = "" if "result" in answer else str(answer["error"]["message"])[:300]
    return dict(watched)


def answer_to(message: JsonObject) -> bytes:
    """The answer to a request of a server that no client is asked for."""
    identity: Json = message.get("id")
    if message.get("method") == "ping":
        return codec.result_message(identity, {})
    return codec.error_message(identity, {"code": -32601, "message": "This client does not answer that."})


async def ask_client(message: JsonObject, line: Line | None, asks: tuple[str, ...], timeout_s: float) -> bytes:
    """The answer to a request that a server makes during a call: the client's, where the manifest lets the server ask
    and the client can answer."""
    method, params = message.get("method"), message.get("params")
    if line is None or not isinstance(method, str) or ASKS.get(method) not in asks:
        return answer_to(message)
    try:
        answer = await line.ask(method, params if isinstance(params, dict) else {}, timeout_s)
    except Failed as error:
        return codec.error_message(message.get("id"), {"code": -32601, "message": error.message})
    if isinstance(answer.get("result"), dict):
        return codec.result_message(message.get("id"), answer["result"])
    told = answer.get("error")
    known = told if isinstance(told, dict) else {"code": -32603, "message": "The client's answer is no answer."}
    return codec.error_message(message.get("id"), known)


def with_token(params: JsonObject, identity: int) -> JsonObject:
    """``params`` with this connection's progress token in place of the client's, where it has one."""
    meta = params.get("_meta")
    if not isinstance(meta, dict) or "progressToken" not in meta:
        return params
    return {**params, "_meta": {**meta, "progressToken": identity}}


async def negotiate(connection: Connection, limits: Limits, *, modern_first: bool, asks: tuple[str, ...] = ()) -> None:
    """Agrees on a revision: by ``server/discover`` for 2026-07-28 and by ``initialize`` for older ones. Over HTTP the
    newest goes first; over stdio, where servers in use know ``initialize`` and may choke on anything before it, last.

    Raises Failed (upstream_refused) when neither is answered."""
    problem = ""
    for modern in (True, False) if modern_first else (False, True):
        try:
            answer = await _offer(connection, limits, asks, modern=modern)
        except Failed as error:
            if error.code not in ("upstream_refused", "upstream_garbage") or not connection.alive:
                raise
            answer = {"error": {"message": error.message}}
        if "result" in answer:
            return
        problem = str(answer["error"]["message"])[:300]
    raise Failed("upstream_refused", f"It agrees on no protocol version: {problem}")


async def _offer(connection: Connection, limits: Limits, asks: tuple[str, ...], *, modern: bool) -> JsonObject:
    if modern:
        version = codec.MODERN_VERSIONS[-1]
        connection.version = version
        params: JsonObject = {"_meta": codec.upstream_meta({}, version=version)}
        answer = await connection.request("server/discover", params, timeout_s=limits.start_s)
        offered = answer["result"].get("supportedVersions") if "result" in answer else None
        if "result" in answer and (not isinstance(offered, list) or version not in offered):
            return {"error": {"message": "it does not speak 2026-07-28"}}
        return answer
    connection.version = ""
    params = {
        "protocolVersion": codec.HANDSHAKE_VERSIONS[-1],
        "capabilities": {name: {} for name in asks},
        "clientInfo": codec.SERVER_INFO,
    }
    answer = await connection.request("initialize", params, timeout_s=limits.start_s)
    if "result" in answer:
        version = answer["result"].get("protocolVersion")
        if version not in codec.HANDSHAKE_VERSIONS:
            return {"error": {"message": f"it speaks {version!r}, which is not known here"}}
        connection.version = version
        await connection.notify("notifications/initialized", {})
    return answer
