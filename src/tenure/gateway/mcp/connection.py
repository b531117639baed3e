"""What both kinds of connection to an upstream MCP server have in common: the limits on it, how the two ends agree on a
revision, and what a message from it can be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from tenure.gateway.mcp import codec
from tenure.kernel.errors import Failed
from tenure.kernel.json import Json, JsonObject

Progress = Callable[[JsonObject], None]
"""Takes the params of a progress notification; ``progressToken`` in them is ours."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on one upstream. Sizes in bytes, times in seconds."""

    message_bytes: int = 8 << 20
    tools: int = 1000
    pages: int = 100
    start_s: float = 20.0
    call_s: float = 120.0
    stop_s: float = 2.0
    backoff_s: tuple[float, float] = (0.25, 30.0)
    backoff_wait_s: float = 3.0  # a call waits this long for the next start, and is refused when that is further off
    steady_s: float = 10.0  # a server that lived this long starts at once when it has died
    stream_after_s: float = 5.0  # a call that runs longer is answered by an event stream
    ping_s: float = 15.0  # so often a silent event stream says that it lives
    list_age_s: float = 60.0  # a tool list is asked for anew when it is older and somebody lists


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
        progress: Progress | None = None,
        headers: JsonObject | None = None,
    ) -> dict[str, Any]:
        """The whole response message (``result`` or ``error``). Cancelling this cancels the request upstream.
        ``admit`` is called immediately before the bytes are written and may raise to stop that.

        Raises Failed: upstream_died, upstream_timeout, upstream_garbage, upstream_unavailable, upstream_refused and
        upstream_session_lost (the request was not looked at, and can be sent again in a new session)."""

    async def notify(self, method: str, params: JsonObject) -> None:
        """Sends a notification. Raises Failed as ``request`` does."""

    async def close(self) -> None:
        """Ends the connection, and the process behind it if there is one."""


def is_answer(message: JsonObject) -> bool:
    """Whether ``message`` is a well-formed JSON-RPC response."""
    error = message.get("error")
    if error is None:
        return isinstance(message.get("result"), dict)
    return isinstance(error, dict) and type(error.get("code")) is int and isinstance(error.get("message"), str)


def answer_to(message: JsonObject) -> bytes:
    """The answer to a request that a server makes of its client: agents' gateways are asked for nothing but a ping."""
    identity: Json = message.get("id")
    if message.get("method") == "ping":
        return codec.result_message(identity, {})
    return codec.error_message(identity, {"code": -32601, "message": "This client offers nothing to its servers."})


async def negotiate(connection: Connection, limits: Limits, *, modern_first: bool) -> None:
    """Agrees on a revision: by ``server/discover`` for 2026-07-28 and by ``initialize`` for older ones. Over HTTP the
    newest goes first; over stdio, where servers in use know ``initialize`` and may choke on anything before it, last.

    Raises Failed (upstream_refused) when neither is answered."""
    problem = ""
    for modern in (True, False) if modern_first else (False, True):
        try:
            answer = await _offer(connection, limits, modern=modern)
        except Failed as error:
            if error.code not in ("upstream_refused", "upstream_garbage") or not connection.alive:
                raise
            answer = {"error": {"message": error.message}}
        if "result" in answer:
            return
        problem = str(answer["error"]["message"])[:300]
    raise Failed("upstream_refused", f"It agrees on no protocol version: {problem}")


async def _offer(connection: Connection, limits: Limits, *, modern: bool) -> JsonObject:
    if modern:
        version = codec.MODERN_VERSIONS[-1]
        connection.version = version
        params: JsonObject = {"_meta": codec.upstream_meta({}, version=version, token=None, traceparent="")}
        answer = await connection.request("server/discover", params, timeout_s=limits.start_s)
        offered = answer["result"].get("supportedVersions") if "result" in answer else None
        if "result" in answer and (not isinstance(offered, list) or version not in offered):
            return {"error": {"message": "it does not speak 2026-07-28"}}
        return answer
    connection.version = ""
    params = {
        "protocolVersion": codec.HANDSHAKE_VERSIONS[-1],
        "capabilities": {},
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
