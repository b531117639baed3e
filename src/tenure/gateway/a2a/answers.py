"""What the gateway itself answers to a call of another agent: refusals and failures, in the caller's binding."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Any

import msgspec

from tenure.gateway.a2a.wire import MEDIA, METHODS_1_0, Ask, Fault, error_body, fault_of
from tenure.gateway.http import Response
from tenure.gateway.modes import words
from tenure.gateway.upstream import Reply, UpstreamError
from tenure.gateway.verdict import Verdict
from tenure.kernel.errors import Refused
from tenure.kernel.values import Call, Decision, Effect

EVENTS = "text/event-stream"
_RETURNED = ("a2a-version", "a2a-extensions", "x-a2a-extensions")


def denied(decision: Decision, call_id: str, approval_id: str | None) -> Fault:
    """What a caller is told of a call that was not allowed."""
    more = {"decision_id": call_id, "policies": ", ".join(decision.policies)}
    if approval_id is not None:
        more["approval_id"] = approval_id
    if decision.effect is Effect.HOLD:
        text = f"{decision.reason} It waits as approval {approval_id}; send the same message again to pick it up."
        return Fault("APPROVAL_PENDING", text, more)
    if "system/stale-snapshot" in decision.policies:
        return Fault("UNAVAILABLE", decision.reason, more)
    if "system/limit" in decision.policies:
        return Fault("RATE_LIMITED", decision.reason, more)
    text = decision.reason if not decision.policies else f"{decision.reason} [{', '.join(decision.policies)}]"
    return Fault("PERMISSION_DENIED", text, more)


def set_aside(ask: Ask, call: Call, verdict: Verdict, done: Callable[[], None]) -> Response:
    """The answer to a message that is drafted or simulated: one of the agent's, in the caller's version and binding,
    that says so; for a stream its only event."""
    newer = ask.rest or ask.method in METHODS_1_0
    part = {"text": words(call, verdict)} if newer else {"kind": "text", "text": words(call, verdict)}
    message: dict[str, Any] = {
        "messageId": call.id,
        "role": "ROLE_AGENT" if newer else "agent",
        "parts": [part],
        "metadata": {"tenure/mode": verdict.mode},
    }
    result: dict[str, Any] = {"message": message} if newer else {"kind": "message", **message}
    body = msgspec.json.encode(result if ask.rest else {"jsonrpc": "2.0", "id": ask.rpc_id, "result": result})
    headers = (("x-tenure-call-id", call.id),)
    if ask.operation.streams:
        return Response(200, b"data: " + body + b"\n\n", headers, EVENTS, done)
    return Response(200, body, headers, MEDIA if ask.rest else "application/json", done)


def retry_after(seconds: float) -> tuple[tuple[str, str], ...]:
    """The header that says when to try again, where that may help."""
    return (("retry-after", str(ceil(seconds))),) if seconds else ()


def withheld(name: str, decision: Decision, call_id: str) -> Fault:
    """What a caller is told in place of an answer that is not handed on."""
    by = f" [{', '.join(decision.policies)}]" if decision.policies else ""
    text = f"Agent {name} answered, and its answer is withheld. {decision.reason}{by}"
    return Fault("PERMISSION_DENIED", text, {"decision_id": call_id})


def upstream_fault(error: UpstreamError) -> Fault:
    """What a caller is told of a peer that failed."""
    if error.kind in ("timeout", "connect_timeout"):
        return Fault("UPSTREAM_TIMEOUT", f"The agent that was called failed: {error}.", {"kind": error.kind})
    reason = {"busy": "UNAVAILABLE", "unavailable": "UNAVAILABLE", "garbage": "INVALID_AGENT_RESPONSE"}
    found = reason.get(error.kind, "UPSTREAM_FAILED")
    return Fault(found, f"The agent that was called failed: {error}.", {"kind": error.kind})


def faulty(
    fault: Fault,
    ask: Ask,
    call_id: str = "",
    more: tuple[tuple[str, str], ...] = (),
    done: Callable[[], None] | None = None,
) -> Response:
    """An error answer. JSON-RPC's are answers like others to HTTP, or its clients would not read them."""
    headers = (*more, ("x-tenure-call-id", call_id)) if call_id else more
    return Response(fault.status if ask.rest else 200, error_body(fault, ask), headers, done=done)


def refused(error: Refused, *, rest: bool) -> Response:
    """A refusal before there was a call."""
    fault = fault_of(error)
    headers = (("www-authenticate", "Bearer"),) if error.status == 401 else ()
    status = error.status if rest or error.status in (401, 403, 503) else 200
    return Response(status, error_body(fault, None, rest=rest), headers)


def returned(reply: Reply, call_id: str) -> tuple[tuple[str, str], ...]:
    """The headers of an answer that a peer gave."""
    kept = [(name, value) for name, value in reply.headers if name in _RETURNED]
    kept.append(("x-tenure-call-id", call_id))
    if reply.header("content-type").startswith(EVENTS):
        kept += [("cache-control", "no-cache, no-transform"), ("x-accel-buffering", "no")]
    return tuple(kept)


def refuse_redirect(reply: Reply) -> None:
    """A redirect handed on would lead the agent, and its token, past the gateway."""
    if 300 <= reply.status < 400:
        reply.close()
        raise UpstreamError("garbage", f"the agent redirects ({reply.status}), which is not followed")


def longer(size: int, chunk: bytes, most: int) -> int:
    """The size with one more chunk. Raises UpstreamError beyond ``most`` bytes."""
    if size + len(chunk) > most:
        raise UpstreamError("too_large", f"the agent's stream is longer than {most} bytes")
    return size + len(chunk)
