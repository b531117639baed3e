"""OTLP over HTTP: ``/otlp/v1/traces``, ``/otlp/v1/logs`` and ``/otlp/v1/metrics``, protobuf or JSON, plain or gzip.

Source: OpenTelemetry Protocol 1.9, section "OTLP/HTTP".
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from google.protobuf import json_format
from google.protobuf.message import Message

from tenure.base.http import TheActor, TheWorld, body_of
from tenure.kernel.errors import Failed, Refused
from tenure.telemetry.otlp import receive, strangers

PROTOBUF, JSON = "application/x-protobuf", "application/json"


class _Route(APIRoute):
    """Tells errors as OTLP/HTTP wants it: "The response body for all HTTP 4xx and HTTP 5xx responses MUST be a
    Protobuf-encoded Status message"."""

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]  # (FastAPI names Coroutine)
        handler = super().get_route_handler()

        async def told(request: Request) -> Response:
            try:
                return await handler(request)
            except (Refused, Failed) as error:
                headers = {"retry-after": str(receive.RETRY_S)} if error.status in (429, 503) else {}
                if isinstance(error, Refused) and error.status == 401:
                    headers["www-authenticate"] = "Bearer"
                    peer = request.client.host if request.client is not None else ""
                    told = (request.app.state.world, request.headers, peer, request.url.path, error.code)
                    await asyncio.to_thread(strangers.note, *told)
                media = _media(request) if _media(request) in (PROTOBUF, JSON) else PROTOBUF
                return Response(_written(receive.status_of(error), media), error.status, headers, media)

        return told


router = APIRouter(tags=["telemetry"], route_class=_Route)
_BODIES: dict[str, Any] = {PROTOBUF: {}, JSON: {}}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "Kept, or partly: an OTLP response says how much was not", "content": _BODIES},
    "4XX": {"description": "A google.rpc.Status; 429 may be sent again after Retry-After", "content": _BODIES},
    "5XX": {"description": "A google.rpc.Status; 503 may be sent again after Retry-After", "content": _BODIES},
}


@router.post("/otlp/v1/traces", response_class=Response, responses=_ANSWERS)
async def take_otlp(request: Request, world: TheWorld, actor: TheActor) -> Response:
    """OTLP/HTTP traces of the agent whose token is sent, in protobuf or JSON, plain or gzip. Answered when durable."""
    return await _take(request, world, actor, "traces")


@router.post("/otlp/v1/logs", response_class=Response, responses=_ANSWERS)
async def take_otlp_logs(request: Request, world: TheWorld, actor: TheActor) -> Response:
    """OTLP/HTTP logs of the agent whose token is sent: GenAI events (gen_ai.*) are kept, others rejected."""
    return await _take(request, world, actor, "logs")


@router.post("/otlp/v1/metrics", response_class=Response, responses=_ANSWERS)
async def take_otlp_metrics(request: Request, world: TheWorld, actor: TheActor) -> Response:
    """OTLP/HTTP metrics: every data point is rejected, as the protocol has it for what a server does not keep."""
    return await _take(request, world, actor, "metrics")


async def _take(request: Request, world: TheWorld, actor: TheActor, signal: str) -> Response:
    principal = receive.sender(actor)
    media = _media(request)
    if media not in (PROTOBUF, JSON):
        raise Refused("unknown_media", f"{media!r} is not OTLP.", fix=f"Use {PROTOBUF}.", status=415)
    body = await body_of(request, world.config.body_max_bytes)
    answer = await receive.take(world, principal, signal, body, is_json=media == JSON)
    return Response(_written(answer, media), media_type=media)


def _media(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _written(message: Message, media: str) -> bytes:
    if media == JSON:
        return str(json_format.MessageToJson(message, indent=None)).encode()
    return bytes(message.SerializeToString())
