"""What gateways ask of the control plane besides taking their Events: the facts, and leave to act on them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from tenure.base.access import permit
from tenure.base.http import TheActor
from tenure.base.replicas import Replicas
from tenure.base.sealing import HEADER
from tenure.kernel.errors import Refused


class Confirmed(BaseModel):
    """A gateway (by a name that only one process at a time can have), which process it is, and its version of the
    facts; or that it is ``leaving``."""

    gateway: str = Field(min_length=1, max_length=64)
    run: str = Field(min_length=1, max_length=64)
    version: int
    leaving: bool = False


def create_router(replicas: Replicas) -> APIRouter:
    """The routes. The Publisher is found in the state of the application, which makes it when it starts."""
    router = APIRouter(tags=["gateways"])

    @router.get(
        "/internal/v1/snapshot",
        response_class=StreamingResponse,
        responses={200: {"content": {"application/x-ndjson": {"schema": {"type": "string"}}}}},
    )
    async def snapshot(
        request: Request, actor: TheActor, box: Annotated[str, Header(alias=HEADER, max_length=64)] = ""
    ) -> StreamingResponse:
        """The Snapshot and every change of it, one JSON object a line, for as long as the gateway listens. Values of
        secrets are sealed for the public key (X25519) that the gateway sends."""
        permit(actor, "gateway:facts")
        return StreamingResponse(request.app.state.publisher.stream(box), media_type="application/x-ndjson")

    @router.post("/internal/v1/snapshot/confirmed")
    def confirmed(actor: TheActor, body: Confirmed) -> Confirmed:
        """Says by which version a gateway decides from now on. The answer lets it do so for the age that the Snapshot
        allows; 409 when the version is too old, which lets it not."""
        permit(actor, "gateway:facts")
        if body.leaving:
            replicas.leave(body.gateway, body.run)
        elif not replicas.confirm(body.gateway, body.run, body.version):
            raise Refused("facts_too_old", "Newer facts are on their way.", fix="Take them first.", status=409)
        return body

    return router
