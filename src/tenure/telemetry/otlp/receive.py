"""What both transports of OTLP do with a request: who sends it, whether there is room, and kept before it is answered.

Source: OpenTelemetry Protocol 1.9. Errors become a ``google.rpc.Status`` on both (sections "Failures" of OTLP/gRPC and
OTLP/HTTP): what is the client's fault is not to be sent again, what is ours is, after the time that is named
("OTLP/gRPC Throttling", "OTLP/HTTP Throttling").
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from tenure.base import log
from tenure.base.access import permit
from tenure.base.room import World
from tenure.kernel.errors import Failed, Refused
from tenure.kernel.values import Actor, Principal
from tenure.telemetry import service
from tenure.telemetry.otlp import logs, spans

logger = log.get("otlp")

RETRY_S = 2
"""Seconds after which a client that was turned away may come again."""
_INVALID, _DENIED, _EXHAUSTED, _INTERNAL, _UNAVAILABLE, _UNAUTHENTICATED = 3, 7, 8, 13, 14, 16
"""Codes of ``google.rpc.Code``, which are also gRPC's."""
_CODES = {401: _UNAUTHENTICATED, 403: _DENIED, 413: _EXHAUSTED, 429: _UNAVAILABLE}


class Waiting:
    """Bytes of requests that are taken in at this moment. One is always let in, however large."""

    def __init__(self) -> None:
        self.size = 0

    @contextmanager
    def room(self, size: int, limit: int) -> Iterator[None]:
        """Holds room for a request of ``size`` bytes. Raises Refused (429) when all of it is taken."""
        if self.size and self.size + size > limit:
            raise Refused(
                "too_much_at_once",
                "More is sent than can be written at this moment.",
                fix=f"Send it again in {RETRY_S} seconds.",
                status=429,
            )
        self.size += size
        try:
            yield
        finally:
            self.size -= size


WAITING = Waiting()
"""That of this process: only its event loop touches it."""


def sender(actor: Actor | None) -> Principal:
    """The agent that sends. Raises Refused: 401 for nobody, 403 for who is no agent."""
    if actor is None:
        raise Refused(
            "not_authenticated",
            "Spans are kept as those of the agent whose token is sent, and no token was.",
            fix="`tenure run` sets OTEL_EXPORTER_OTLP_HEADERS to the agent's token.",
            status=401,
        )
    if actor.principal is None:
        raise Refused(
            "not_an_agent",
            f"{actor.name} is not an agent: spans are kept as those of the agent whose token is sent.",
            fix="Send the agent's token; `tenure run` sets OTEL_EXPORTER_OTLP_HEADERS for it.",
            status=403,
        )
    permit(actor, "spans:send")
    return actor.principal


def _traces(world: World, principal: Principal, body: bytes, is_json: bool) -> Message:
    received = spans.receive(spans.parse(body, is_json), principal)
    if received.events:
        service.keep_spans(world, received.events)
    return spans.answer(received)


def _logs(world: World, principal: Principal, body: bytes, is_json: bool) -> Message:
    received = logs.receive(logs.parse(body, is_json), principal, world.clock())
    if received.events:
        service.keep_spans(world, received.events)
    return logs.answer(received)


def _metrics(_world: World, _principal: Principal, body: bytes, is_json: bool) -> Message:
    return logs.refuse_metrics(body, is_json)


SIGNALS: Mapping[str, Callable[[World, Principal, bytes, bool], Message]] = {
    "traces": _traces,
    "logs": _logs,
    "metrics": _metrics,
}
"""What is done with a request of each signal, in a thread: parsed, kept, answered."""


async def take(world: World, principal: Principal, signal: str, body: bytes, *, is_json: bool) -> Message:
    """The response to a request, once what is accepted of it is durable. Raises Refused, or Failed when it cannot be
    kept now."""
    if not body:  # "If the server receives an empty request the server SHOULD respond with success"
        return ExportTraceServiceResponse()  # those of all signals are the same when they say nothing
    with WAITING.room(len(body), world.config.otlp_waiting_max_bytes):
        return await asyncio.to_thread(SIGNALS[signal], world, principal, body, is_json)


def status_of(error: Exception) -> Status:
    """An error as a client of OTLP is told it."""
    if isinstance(error, Refused):
        status = Status(code=_CODES.get(error.status, _INVALID), message=f"{error.message} {error.fix}".strip())
        if error.status == 429:
            status.details.add().Pack(_retry())
        elif error.status == 400:
            violation = BadRequest.FieldViolation(field="body", description=error.message)
            status.details.add().Pack(BadRequest(field_violations=[violation]))
        return status
    if isinstance(error, Failed):
        status = Status(code=_UNAVAILABLE, message=error.message)
        status.details.add().Pack(_retry())
        return status
    logger.error("a request could not be taken", error=repr(error))
    return Status(code=_INTERNAL, message="Tenure could not take this request; its log says why.")


def _retry() -> RetryInfo:
    info = RetryInfo()
    info.retry_delay.FromSeconds(RETRY_S)
    return info
