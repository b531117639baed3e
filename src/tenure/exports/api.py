"""Exports over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from tenure.base.http import TheActor, TheWorld
from tenure.exports import service
from tenure.exports.model import NAME, Destination, Kind

router = APIRouter(tags=["exports"])
Name = Annotated[str, Path(pattern=f"^{NAME}$", description="The destination's name")]


class ExportIn(BaseModel):
    """Where traces are sent on to. ``url``: of the OTLP/HTTP receiver, empty for the cloud of that kind. ``secret``:
    the name of the secret that holds its key (Langfuse: public:secret). ``content``: prompts, answers, arguments
    and results go along. ``whole``: from the oldest trace that is kept, else from now."""

    kind: Kind
    url: str = Field("", max_length=2000)
    secret: str = Field("", max_length=63)
    project: str = Field("", max_length=200)
    content: bool = False
    whole: bool = False


class ExportOut(BaseModel):
    """A destination and how it fares: spans ``sent`` and ``dropped`` (refused for good), Events ``waiting``, and the
    ``problem`` of the last attempt, tried again at ``next_at``."""

    name: str
    kind: Kind
    url: str
    secret: str
    project: str
    content: bool
    waiting: int
    sent: int
    dropped: int
    tries: int
    problem: str
    next_at: datetime | None
    last_at: datetime | None
    set_at: datetime | None
    set_by: str


class ExportList(BaseModel):
    """Where the traces of the workspace go."""

    exports: list[ExportOut]


class GoneOut(BaseModel):
    """The name of what is sent nothing any more."""

    removed: str


def _out(one: Destination, waiting: int) -> ExportOut:
    facts = {name: getattr(one, name) for name in ExportOut.model_fields if name != "waiting"}
    return ExportOut(**facts, waiting=waiting)


@router.get("/v1/exports")
def list_exports(world: TheWorld, actor: TheActor) -> ExportList:
    """Where the workspace's traces are sent on to, and how each place fares."""
    return ExportList(exports=[_out(one.destination, one.waiting) for one in service.find(world, actor)])


@router.put("/v1/exports/{name}")
def put_export(world: TheWorld, actor: TheActor, name: Name, wanted: ExportIn) -> ExportOut:
    """Sends traces on, to this place in place of another of that name."""
    facts = wanted.model_dump(exclude={"whole"})
    return _out(service.put(world, actor, Destination(actor.workspace, name, **facts), whole=wanted.whole), 0)


@router.delete("/v1/exports/{name}")
def remove_export(world: TheWorld, actor: TheActor, name: Name) -> GoneOut:
    """Sends traces there no longer."""
    service.remove(world, actor, name)
    return GoneOut(removed=name)
