"""Policies over HTTP: read by every person, reloaded by operators."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from tenure.base.access import permit
from tenure.base.http import TheActor, TheWorld
from tenure.kernel.values import Effect
from tenure.policy import service
from tenure.policy.cases import Result
from tenure.policy.layers import WORDS
from tenure.policy.model import SYSTEM_RULES, Bundle, Rule
from tenure.policy.store import How
from tenure.policy.words import SCHEMA

router = APIRouter(tags=["policy"])


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
    """One policy. ``effect`` is permit or forbid, or of a sequence rule deny or hold; ``state_bytes`` is the most that
    is kept of one session (or agent) for such a rule. ``layer``: what it says it is about, by which it goes before
    others; a ``final`` one before all. ``template``: the template that a link made it of, with what the link put into
    each gap in ``filled``; ``file`` and ``line`` are then those of the link."""

    id: str
    file: str
    line: int
    effect: str
    reason: str
    obligation: str
    layer: str = ""
    final: bool = False
    state_bytes: int = 0
    template: str = ""
    filled: dict[str, str] = Field(default_factory=dict)


class TemplateOut(BaseModel):
    """A template, its gaps and how many policies links make of it: without one it decides nothing."""

    id: str
    file: str
    line: int
    effect: str
    reason: str
    obligation: str
    gaps: list[str]
    links: int


class ValidateIn(BaseModel):
    """Files to look at without loading them."""

    files: list[File] = Field(max_length=service.MAX_FILES)


class TestOut(BaseModel):
    """What came of one test; ``problem`` is empty when it passed."""

    file: str
    line: int
    name: str
    effect: Effect
    policies: list[str]
    reason: str
    problem: str


class ValidateOut(BaseModel):
    """The verdict: every fault (tests that fail among them), and as far as the files could be read the version and
    policies that publishing would give, what came of the tests, and which policies no test decides by (of those that
    are made of a template the template, when none of them is tested)."""

    valid: bool
    version: str | None
    policies: list[RuleOut]
    templates: list[TemplateOut]
    faults: list[FaultOut]
    tests: list[TestOut]
    untested: list[str]


class LoadedOut(BaseModel):
    """A good load; ``changed`` says whether another version runs now, ``before`` which one ran, ``tests`` how many
    passed, and ``untested`` which rules none of them decides by (a rollback asks no tests)."""

    version: str
    files: list[str]
    changed: bool
    before: str | None
    tests: int
    untested: list[str]


class PublishIn(BaseModel):
    """Policies to run from now on, with the tests beside them. ``expected``: the version that is believed to run."""

    files: list[File] = Field(max_length=service.MAX_FILES)
    reason: str = Field(max_length=2_000)
    expected: str | None = None


class RollbackIn(BaseModel):
    """A version that ran before, to run again."""

    version: str
    reason: str = Field(max_length=2_000)


class LoadOut(BaseModel):
    """A version began to run, in place of ``before``."""

    at: datetime
    version: str
    before: str | None
    how: How
    actor: str
    reason: str


class SchemaOut(BaseModel):
    """The words that policies are written in, and the ids of the rules that no policy can override."""

    cedar: str
    system_rules: dict[str, str]


@router.get("/v1/policies")
def show(world: TheWorld, actor: TheActor) -> PoliciesOut:
    """The running policies of the workspace, and why the folder was refused if it was."""
    permit(actor, "policies:read")
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
    permit(actor, "policies:read")
    return SchemaOut(cedar=SCHEMA.strip() + "\n", system_rules=dict(SYSTEM_RULES))


@router.get("/v1/policies/versions/{version}")
def version(world: TheWorld, actor: TheActor, version: str) -> list[File]:
    """The files of any version that ever ran: what was in force when an Event happened."""
    permit(actor, "policies:read")
    return [File(name=name, text=text) for name, text in service.version_files(world, actor.workspace, version)]


@router.get("/v1/policies/versions/{version}/schema")
def version_schema(world: TheWorld, actor: TheActor, version: str) -> SchemaOut:
    """The Cedar schema that a version was written in when it ran, which may be older than this program's."""
    permit(actor, "policies:read")
    words = service.version_schema(world, actor.workspace, version)
    return SchemaOut(cedar=words.strip() + "\n", system_rules=dict(SYSTEM_RULES))


@router.get("/v1/policies/history")
def history(world: TheWorld, actor: TheActor, limit: Annotated[int, Query(ge=1, le=1_000)] = 100) -> list[LoadOut]:
    """Which version ran from when on, who wanted it and why; the newest first."""
    permit(actor, "policies:read")
    return [LoadOut.model_validate(asdict(load)) for load in service.history(world, actor.workspace, limit)]


@router.post("/v1/policies/validate")
def validate(actor: TheActor, body: ValidateIn) -> ValidateOut:
    """Compiles files and runs the tests beside them, without publishing."""
    permit(actor, "policies:read")
    checked = service.check([(file.name, file.text) for file in body.files])
    report = checked.report
    return ValidateOut(
        valid=not checked.faults,
        version=checked.bundle.version if checked.bundle else None,
        policies=_rules(checked.bundle) if checked.bundle else [],
        templates=_templates(checked.bundle) if checked.bundle else [],
        faults=[FaultOut.model_validate(asdict(fault)) for fault in checked.faults],
        tests=[_test(result) for result in report.results] if report else [],
        untested=list(report.untested) if report else [],
    )


def _rules(bundle: Bundle) -> list[RuleOut]:
    sequences = bundle.sequences.rules if bundle.sequences is not None else ()
    return [
        *(rule_out(rule) for rule in bundle.rules),
        *(
            RuleOut(
                id=rule.id,
                file=rule.file,
                line=rule.line,
                effect=rule.effect.value,
                reason=rule.reason,
                obligation="approve" if rule.effect is Effect.HOLD else "",
                state_bytes=rule.state_bytes,
            )
            for rule in sequences
        ),
    ]


def _templates(bundle: Bundle) -> list[TemplateOut]:
    links = Counter(rule.template for rule in bundle.rules)
    return [
        TemplateOut(
            id=template.rule.id,
            file=template.rule.file,
            line=template.rule.line,
            effect=template.rule.node.effect,
            reason=template.rule.reason,
            obligation=template.rule.obligation,
            gaps=list(template.gaps),
            links=links[template.rule.id],
        )
        for template in bundle.templates
    ]


def rule_out(rule: Rule) -> RuleOut:
    """A policy as it is told."""
    return RuleOut(
        id=rule.id,
        file=rule.file,
        line=rule.line,
        effect=rule.node.effect,
        reason=rule.reason,
        obligation=rule.obligation,
        layer=WORDS[rule.layer],
        final=rule.final,
        template=rule.template,
        filled=dict(rule.filled),
    )


def _test(result: Result) -> TestOut:
    case, decision = result.case, result.decision
    return TestOut(
        file=case.file,
        line=case.line,
        name=case.name,
        effect=decision.effect,
        policies=list(decision.policies),
        reason=decision.reason,
        problem=result.problem,
    )


@router.post("/v1/policies/reload")
def reload(world: TheWorld, actor: TheActor) -> LoadedOut:
    """Loads the folder now. 422 with file and line of every fault when it is broken; what runs stays."""
    permit(actor, "policies:reload")
    return LoadedOut.model_validate(asdict(service.reload(world, actor)))


@router.post("/v1/policies/publish")
def publish(world: TheWorld, actor: TheActor, body: PublishIn) -> LoadedOut:
    """Runs these files from now on. 422 with every fault when they are broken or a test of theirs fails, 409 when
    another version runs than was expected; what runs stays."""
    permit(actor, "policies:publish")
    files = [(file.name, file.text) for file in body.files]
    loaded = service.publish(world, actor, files, body.reason, expected=body.expected)
    return LoadedOut.model_validate(asdict(loaded))


@router.post("/v1/policies/rollback")
def rollback(world: TheWorld, actor: TheActor, body: RollbackIn) -> LoadedOut:
    """Runs a version again that ran before. 404 for one that never did."""
    permit(actor, "policies:publish")
    return LoadedOut.model_validate(asdict(service.rollback(world, actor, body.version, body.reason)))
