"""Secrets over HTTP. There is no route that gives a value."""

from __future__ import annotations

from datetime import datetime, timedelta

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from tenure.base.access import permit
from tenure.base.http import TheActor, TheWorld
from tenure.secrets import rewrap, service
from tenure.secrets.connector_api import router as connectors
from tenure.secrets.model import MAX_VALUE, OVERLAP, Secret, Use

router = APIRouter(tags=["secrets"])
router.include_router(connectors)


class UseOut(BaseModel):
    """What names a secret: an agent, and the part of its manifest (``model gpt``, ``server crm``, ``a2a``)."""

    agent: str
    where: str


class SecretOut(BaseModel):
    """A secret without its value. ``hosts`` and ``programs``: where it may go. ``until``: how long the version before
    is still believed. ``last_used_at``: when a gateway last sent it. ``locked``: the key that it was kept under is
    gone, so that it has to be rotated."""

    name: str
    hosts: list[str]
    programs: list[str]
    version: int
    created_at: datetime
    created_by: str
    changed_at: datetime
    changed_by: str
    until: datetime | None
    last_used_at: datetime | None
    locked: bool
    uses: list[UseOut]


class PutIn(BaseModel):
    """``value`` is left out to change where a secret may go."""

    value: str | None = Field(None, max_length=MAX_VALUE, repr=False)
    hosts: list[str] = Field(default_factory=list, max_length=50)
    programs: list[str] = Field(default_factory=list, max_length=50)


class RotateIn(BaseModel):
    """The new value, and for how many seconds the old one is still believed."""

    value: str = Field(max_length=MAX_VALUE, repr=False)
    overlap_s: int = Field(int(OVERLAP.total_seconds()), ge=0, le=30 * 86_400)


class RemovedOut(BaseModel):
    """What named the secret that is gone."""

    name: str
    broken: list[UseOut]


class KeyOut(BaseModel):
    """The key that data keys are wrapped by: where it comes from, its name, how many versions it wraps, and how many
    still wait to be wrapped by it."""

    source: str
    current: str
    wrapped: int
    waiting: int


def _use(use: Use) -> UseOut:
    return UseOut(agent=use.agent, where=use.where)


def _secret(secret: Secret, uses: tuple[Use, ...] = (), locked: bool = False) -> SecretOut:
    return SecretOut(
        name=secret.name,
        hosts=list(secret.bounds.hosts),
        programs=list(secret.bounds.programs),
        version=secret.version,
        created_at=secret.created_at,
        created_by=secret.created_by,
        changed_at=secret.changed_at,
        changed_by=secret.changed_by,
        until=secret.until,
        last_used_at=secret.used_at,
        locked=locked,
        uses=[_use(use) for use in uses],
    )


@router.get("/v1/secrets")
def find(world: TheWorld, actor: TheActor) -> list[SecretOut]:
    """The secrets of the workspace, without their values: where each may go, and which agents name it."""
    permit(actor, "secrets:read")
    return [_secret(one.secret, one.uses, one.locked) for one in service.find(world, actor)]


@router.put("/v1/secrets/{secret}")
def put(secret: str, body: PutIn, response: Response, world: TheWorld, actor: TheActor) -> SecretOut:
    """Keeps a new secret, or changes where one may go."""
    response.headers["Cache-Control"] = "no-store"
    return _secret(service.put(world, actor, secret, body.value, hosts=body.hosts, programs=body.programs))


@router.post("/v1/secrets/{secret}/rotate")
def rotate(secret: str, body: RotateIn, response: Response, world: TheWorld, actor: TheActor) -> SecretOut:
    """Gives a secret a new value. Gateways have it within a second."""
    response.headers["Cache-Control"] = "no-store"
    return _secret(service.rotate(world, actor, secret, body.value, timedelta(seconds=body.overlap_s)))


@router.delete("/v1/secrets/{secret}")
def remove(secret: str, world: TheWorld, actor: TheActor, force: bool = False) -> RemovedOut:
    """Forgets a secret, for good. 409 while an agent names it, unless ``force``."""
    return RemovedOut(name=secret, broken=[_use(use) for use in service.remove(world, actor, secret, force=force)])


@router.get("/v1/secrets-key")
def key(world: TheWorld, actor: TheActor) -> KeyOut:
    """How the key stands that all secrets are kept under."""
    return KeyOut.model_validate(rewrap.key_state(world, actor), from_attributes=True)


@router.post("/v1/secrets-key/rotate")
def rotate_key(world: TheWorld, actor: TheActor) -> KeyOut:
    """Makes a new key, by which all data keys are wrapped from now on, those that exist within seconds."""
    return KeyOut.model_validate(rewrap.rotate_key(world, actor), from_attributes=True)
