"""OTLP over gRPC, on a port of its own beside the HTTP one: the same tokens, the same intake.

Source: OpenTelemetry Protocol 1.9, section "OTLP/gRPC". The token is read before a message is: a stranger's is not
even received. It is therefore served as a stream of requests of which there is one, which is the same on the wire.

The library is loaded when a port is wanted: it takes nine megabytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias
from urllib.parse import unquote

from tenure.base.room import Authenticate, World
from tenure.kernel.errors import Failed, Refused
from tenure.telemetry.otlp import receive, strangers

_SERVICES = {
    "traces": "opentelemetry.proto.collector.trace.v1.TraceService",
    "logs": "opentelemetry.proto.collector.logs.v1.LogsService",
    "metrics": "opentelemetry.proto.collector.metrics.v1.MetricsService",
}
_Context: TypeAlias = Any
"""grpc.aio.ServicerContext; the package has no types."""


async def serve(world: World, who: Authenticate) -> Callable[[], Awaitable[None]] | None:
    """Listens at ``TENURE_OTLP_PORT``; returns what ends it, or None where no port is wanted. Raises Failed when it
    cannot listen there."""
    port = world.config.otlp_port
    if not port:
        return None
    import grpc.aio  # noqa: PLC0415 (see above)

    limit = world.config.body_max_bytes
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", limit),  # also of what was compressed; longer ones: RESOURCE_EXHAUSTED
            ("grpc.so_reuseport", 0),  # or a second Tenure would take half of the first one's spans
            ("grpc.max_concurrent_streams", 100),
        ]
    )
    for signal, name in _SERVICES.items():
        handler = grpc.stream_unary_rpc_method_handler(_handler(world, who, signal))
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, {"Export": handler}),))
    try:
        server.add_insecure_port(f"{world.config.host}:{port}")
    except RuntimeError as error:
        where = f"{world.config.host}:{port}"
        raise Failed("cannot_listen", f"OTLP over gRPC cannot listen on {where}; TENURE_OTLP_PORT moves it.") from error
    await server.start()

    async def stop() -> None:
        await server.stop(world.config.drain_s)

    return stop


def _handler(
    world: World, who: Authenticate, signal: str
) -> Callable[[AsyncIterator[bytes], _Context], Awaitable[bytes]]:
    async def export(requests: AsyncIterator[bytes], context: _Context) -> bytes:
        metadata = dict(context.invocation_metadata() or ())
        try:
            token = metadata.get("authorization")
            actor = await asyncio.to_thread(who, token) if isinstance(token, str) else None
            principal = receive.sender(actor)
            body = await anext(aiter(requests), b"")
            answer = await receive.take(world, principal, signal, body, is_json=False)
        except (Refused, Failed) as error:
            if isinstance(error, Refused) and error.status == 401:
                said = {name: value for name, value in metadata.items() if isinstance(value, str)}
                told = (world, said, _address(context.peer()), f"/otlp/v1/{signal}", error.code)
                await asyncio.to_thread(strangers.note, *told)
            await _abort(context, error)
        except Exception as error:  # noqa: BLE001 (gRPC would tell the client its text)
            await _abort(context, error)
        return bytes(answer.SerializeToString())

    return export


def _address(peer: str) -> str:
    """``127.0.0.1`` of ``ipv4:127.0.0.1:5001``, and what is between the brackets of an ``ipv6:``."""
    return unquote(peer).partition(":")[2].rpartition(":")[0].strip("[]")


async def _abort(context: _Context, error: Exception) -> None:
    from grpc import StatusCode  # noqa: PLC0415 (see above)

    status = receive.status_of(error)
    code = next(code for code in StatusCode if code.value[0] == status.code)
    details = (("grpc-status-details-bin", bytes(status.SerializeToString())),)
    await context.abort(code, status.message, details)
