"""Policies over HTTP: read by every person, reloaded by operators."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter
from pydantic import BaseModel, Field

from tenure.base.http import TheActor, TheWorld, require
from tenure.kernel.errors import Refused
from tenure.kernel.values import Role
from tenure.policy import service
from tenure.policy.model import SCHEMA, SYSTEM_RULES, compile_bundle

router = APIRouter(tags=["policy"])

_READERS = tuple(Role)


class File(BaseModel):
    """A Cedar file."""

    name: str = Field(min_length=1, max_length=255)
    text: str = Field(max_length=service.MAX_BYTES)


class FaultOut(BaseModel):
    """What is wrong, and where; ``line`` counts from 1."""

    file: str
    line: int
    problem: str


class Problem(BaseModel):
    """Why the folder as it is now was refused."""

    at: datetime
    faults: list[FaultOut]


class PoliciesOut(BaseModel):
    """What runs. ``last_problem`` is null while the folder and what runs are the same."""

    version: str | None
    files: list[File]
    loaded_at: datetime | None
    loaded_by: str
    last_problem: Problem | None


class RuleOut(BaseModel):
    """One policy."""

    id: str
    file: str
    line: int
    effect: str
    reason: str
    obligation: str


class ValidateIn(BaseModel):
    """Files to look at without loading them."""

    files: list[File] = Field(max_length=service.MAX_FILES)


class ValidateOut(BaseModel):
    """The verdict: either every fault, or the version and policies that loading would give."""

    valid: bool
    version: str | None
    policies: list[RuleOut]
    faults: list[FaultOut]


class LoadedOut(BaseModel):
    """A good load; ``changed`` says whether another version runs now."""

    version: str
    files: list[str]
    changed: bool


class SchemaOut(BaseModel):
    """The words that policies are written in, and the ids of the rules that no policy can override."""

    cedar: str
    system_rules: dict[str, str]


@router.get("/v1/policies")
def show(world: TheWorld, actor: TheActor) -> PoliciesOut:
    """The running policies of the workspace, and why the folder was refused if it was."""
    require(actor, *_READERS)
    policies = service.show(world, actor.workspace)
    return PoliciesOut(
        version=policies.version,
        files=[File(name=name, text=text) for name, text in policies.files],
        loaded_at=policies.loaded_at,
        loaded_by=policies.loaded_by,
        last_problem=Problem.model_validate(policies.last_problem) if policies.last_problem else None,
    )


@router.get("/v1/policies/schema")
def schema(actor: TheActor) -> SchemaOut:
    """The Cedar schema that policies are validated against."""
    require(actor, *_READERS)
    return SchemaOut(cedar=SCHEMA.strip() + "\n", system_rules=dict(SYSTEM_RULES))


@router.get("/v1/policies/versions/{version}")
def version(world: TheWorld, actor: TheActor, version: str) -> list[File]:
    """The files of any version that ever ran: what was in force when an Event happened."""
    require(actor, *_READERS)
    return [File(name=name, text=text) for name, text in service.version_files(world, actor.workspace, version)]


@router.post("/v1/policies/validate")
def validate(actor: TheActor, body: ValidateIn) -> ValidateOut:
    """Looks at files without loading them."""
    require(actor, *_READERS)
    try:
        bundle = compile_bundle([(file.name, file.text) for file in body.files])
    except Refused as error:
        faults = [FaultOut.model_validate(fault) for fault in error.details["faults"]]
        return ValidateOut(valid=False, version=None, policies=[], faults=faults)
    rules = [
        RuleOut(
            id=rule.id,
            file=rule.file,
            line=rule.line,
            effect=rule.node.effect,
            reason=rule.reason,
            obligation=rule.obligation,
        )
        for rule in bundle.rules
    ]
    return ValidateOut(valid=True, version=bundle.version, policies=rules, faults=[])


@router.post("/v1/policies/reload")
def reload(world: TheWorld, actor: TheActor) -> LoadedOut:
    """Loads the folder now. 422 with file and line of every fault when it is broken; what runs stays."""
    require(actor, Role.OPERATOR)
    loaded = service.reload(world, actor)
    return LoadedOut(version=loaded.version, files=list(loaded.files), changed=loaded.changed)
