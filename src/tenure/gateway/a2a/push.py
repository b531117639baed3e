"""Push notifications: a peer tells the gateway, and the gateway tells the agent that asked for it. Neither learns where
the other is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from tenure.gateway.a2a import codec, messages
from tenure.gateway.a2a.ownership import Callback, Ownership, opened
from tenure.gateway.a2a.wire import Ask, Operation, wrong
from tenure.gateway.http import Request, Response, decode_json
from tenure.gateway.pipeline import Pipeline
from tenure.gateway.upstream import Client, UpstreamError
from tenure.gateway.verdict import Verdict
from tenure.kernel.errors import Refused
from tenure.kernel.json import JsonObject
from tenure.kernel.values import Call, CallKind

_TOKEN = "x-a2a-notification-token"  # noqa: S105 (the name of a header)
_TIMEOUT_S = 30.0
_ANSWER_MAX = 64 << 10
_MAX_TEXT = 4000
_NOTE = Ask(Operation("notification"), "notification", {}, rest=True)


def check_callback(config: JsonObject, allowed: Sequence[str]) -> tuple[str, str | None, Mapping[str, Any] | None]:
    """(url, token, authentication) of an address for notifications. Raises Refused for one that is not among the hosts
    that the agent's manifest names."""
    url, token, auth = config.get("url"), config.get("token"), config.get("authentication")
    if not isinstance(url, str) or not _fits(url, allowed):
        raise wrong(
            "INVALID_PARAMS",
            "Notifications cannot be sent to this address.",
            f"The agent's manifest names the hosts (callbacks): {', '.join(allowed) or 'none'}.",
        )
    if not isinstance(token, str | None) or not isinstance(auth, Mapping | None) or len(token or "") > _MAX_TEXT:
        raise wrong("INVALID_PARAMS", "`token` must be a text and `authentication` an object.")
    return url, token or None, auth or None


def _fits(url: str, allowed: Sequence[str]) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        return False
    if len(url) > _MAX_TEXT or any(letter <= " " or letter > "~" for letter in url):
        return False
    usual = 443 if parts.scheme == "https" else 80
    host = parts.hostname.lower()
    names = {f"{host}:{port or usual}"} | ({host} if port in (None, usual) else set())
    return any(name.lower() in names for name in allowed)


class Notifications:
    """``/a2a/<peer>/callbacks/<sealed>``."""

    def __init__(self, pipeline: Pipeline, client: Client) -> None:
        self._pipeline = pipeline
        self._client = client

    async def handle(self, request: Request, peer: str, sealed: str) -> Response:
        """Passes one notification on. Raises Refused: 404 for an address that no gateway here has given out."""
        callback = opened(self._pipeline.keyring, sealed, request.headers.get(_TOKEN, ""))
        if request.method != "POST" or callback is None or callback.peer != peer:
            raise wrong("UNKNOWN_AGENT", "Nobody asked for notifications at this address.")
        value = decode_json(request.body)
        if not isinstance(value, dict):
            raise wrong("INVALID_REQUEST", "A notification is a JSON object.")
        principal = callback.principal()
        started, begun = datetime.now(UTC), time.perf_counter()
        arguments = {"method": "notification", "stream": False, "notify": callback.url}
        call = self._pipeline.call(CallKind.AGENT, peer, arguments, principal, {"traceparent": callback.tp})
        # The message that led to it was decided on, by a person too where one was asked, and counted under its limits.
        verdict = self._pipeline.judge(call, principal, approved=True)
        agent = verdict.agent
        problem, status = "", 0
        body = codec.answered(
            request.body, _NOTE, Ownership(self._pipeline.keyring, principal, peer).outward, lambda _: {}, ""
        )
        if not verdict.allowed:
            problem = "refused"
        elif agent is None or not _fits(callback.url, agent.callbacks):
            problem = "callback_not_allowed"
        else:
            self._pipeline.provenance.answered(principal, peer, lambda: messages.parsed(body))
            problem, status = await self._deliver(callback, call, verdict, body)
        told = messages.Told()
        told.hear(body, _NOTE)
        facts: dict[str, Any] = {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": peer,
            "a2a.method": "notification",
        }
        facts |= told.attributes() | {"server.address": urlsplit(callback.url).hostname or ""}
        facts |= {"http.response.status_code": status} if status else {}
        if problem and verdict.allowed:
            facts["error.type"] = problem
        took = int((time.perf_counter() - begun) * 1e6)
        self._pipeline.record(call, principal, verdict, started, took, facts)
        if not verdict.allowed:
            raise Refused("PERMISSION_DENIED", verdict.decision.reason, status=403)
        if problem:
            raise wrong("UPSTREAM_FAILED", f"The notification could not be passed on: {problem}.")
        return Response(200, b"{}")

    async def _deliver(self, callback: Callback, call: Call, verdict: Verdict, body: bytes) -> tuple[str, int]:
        """(what went wrong or empty, the agent's HTTP status)."""
        headers = [("content-type", "application/json"), ("accept-encoding", "identity")]
        headers.append(("traceparent", f"00-{call.trace_id}-{call.span_id}-01"))
        if callback.token:
            headers.append((_TOKEN, _line(callback.token)))
        auth = callback.auth or {}
        scheme, credentials = auth.get("scheme"), auth.get("credentials")
        if scheme is None and isinstance(auth.get("schemes"), list) and auth["schemes"]:  # as 0.3 has it
            scheme = auth["schemes"][0]
        if isinstance(scheme, str) and isinstance(credentials, str) and scheme and credentials:
            headers.append(("authorization", _line(f"{scheme} {credentials}")))
        parts = urlsplit(callback.url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                reply = await self._client.send(
                    f"{parts.scheme}://{parts.netloc}",
                    "POST",
                    path,
                    headers,
                    body,
                    timeout_s=_TIMEOUT_S,
                    admit=lambda: self._pipeline.admit(call, callback.principal(), verdict),
                )
                await reply.read(_ANSWER_MAX)
        except UpstreamError as error:
            return error.kind, 0
        except TimeoutError:
            return "timeout", 0
        return ("" if 200 <= reply.status < 300 else str(reply.status)), reply.status


def _line(value: str) -> str:
    """A header's value; what is not plain text would be another header."""
    return "".join(letter if " " <= letter <= "~" else "?" for letter in value)
