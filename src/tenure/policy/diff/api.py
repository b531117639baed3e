"""What a change of policies gives and takes, over HTTP."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from tenure.base.access import permit
from tenure.base.http import TheActor, TheWorld
from tenure.kernel.json import JsonObject
from tenure.kernel.values import CallKind, Effect
from tenure.policy import service
from tenure.policy.api import File, RuleOut, rule_out
from tenure.policy.diff import foresight
from tenure.policy.diff.changes import Change, Outcome, gained
from tenure.policy.diff.foresight import TemplateChange
from tenure.policy.diff.sequels import RuleChange

router = APIRouter(tags=["policy"])


class SideIn(BaseModel):
    """A set of policies: those of a version that ran, or these files; with neither, what runs now."""

    version: str | None = None
    files: list[File] = Field(default_factory=list, max_length=service.MAX_FILES)


class DiffIn(BaseModel):
    """Two sets of policies; ``after`` would take the place of ``before``."""

    before: SideIn = SideIn()
    after: SideIn = SideIn()


class OutcomeOut(BaseModel):
    """What comes of a call, and by which policies."""

    effect: Effect
    obligations: list[str]
    policies: list[str]


class ExampleOut(BaseModel):
    """A call that comes out otherwise; ``facts`` are those of its context that matter."""

    agent: str
    kind: CallKind
    resource: str
    arguments: dict[str, Any]
    facts: dict[str, Any]


class AccessOut(BaseModel):
    """Each of ``agents`` gains or loses something on each of ``resources``; ``duties``: only what goes with the same
    effect is another. ``when`` lists cases, each of which is a list of what is so in it; an empty one is always."""

    change: Literal["gained", "lost", "duties"]
    action: str
    agents: list[str]
    resources: list[str]
    before: OutcomeOut
    after: OutcomeOut
    when: list[list[str]]
    example: ExampleOut


class GapOut(BaseModel):
    """Something that was not looked at, and in which policies."""

    what: str
    whose: list[str]


class SequenceChangeOut(BaseModel):
    """A sequence rule that is there, gone or written otherwise (``fields``). ``more`` and ``less``: the shortest
    session found, in words, after which more, or less, is let through than before; null where none was."""

    id: str
    what: Literal["added", "removed", "rewritten"]
    fields: list[str]
    more: str | None
    less: str | None
    sessions: int = Field(description="Made-up sessions that were decided by both")


class LinkChangeOut(BaseModel):
    """A policy that a link makes of a template, and what stands in each gap before and after."""

    id: str
    what: Literal["added", "removed", "rewritten"]
    before: dict[str, str]
    after: dict[str, str]


class TemplateChangeOut(BaseModel):
    """A template that is there, gone or written otherwise ("": as it was), and the links that are. ``made``: how many
    policies are made of it."""

    id: str
    what: Literal["added", "removed", "rewritten", ""]
    file: str
    line: int
    made: int
    links: list[LinkChangeOut]


class DiffOut(BaseModel):
    """What is decided otherwise, over the agents of the workspace and what they were granted. Where ``gaps`` is empty,
    nothing else is. ``waiting`` agents may not act now, and count as in production. ``added``, ``removed`` and
    ``rewritten`` policies are what is written otherwise, those made of templates among them, of which ``templates``
    tells by their templates."""

    before: str
    after: str
    added: list[RuleOut]
    removed: list[RuleOut]
    rewritten: list[RuleOut]
    changes: list[AccessOut]
    gaps: list[GapOut]
    waiting: list[str]
    agents: int
    grants: int
    calls: int
    templates: list[TemplateChangeOut]
    sequences: list[SequenceChangeOut]


@router.post("/v1/policies/diff")
def diff(world: TheWorld, actor: TheActor, body: DiffIn) -> DiffOut:
    """Which agents gain or lose what on which resources when one set of policies takes another's place."""
    permit(actor, "policies:read")
    found = foresight.diff(world, actor.workspace, _side(body.before), _side(body.after))
    return DiffOut(
        before=found.before,
        after=found.after,
        added=[rule_out(rule) for rule in found.added],
        removed=[rule_out(rule) for rule in found.removed],
        rewritten=[rule_out(rule) for rule in found.rewritten],
        changes=[_access(change) for change in found.found.changes],
        gaps=[GapOut(what=gap.what, whose=list(gap.whose)) for gap in found.found.gaps],
        waiting=list(found.found.waiting),
        agents=found.found.agents,
        grants=found.found.grants,
        calls=found.found.calls,
        templates=[TemplateChangeOut.model_validate(_template(one)) for one in found.templates],
        sequences=[_sequence(one) for one in found.sequences],
    )


def _side(side: SideIn) -> foresight.Side:
    return foresight.Side(side.version, tuple((file.name, file.text) for file in side.files))


def _template(one: TemplateChange) -> JsonObject:
    links = [
        {"id": link.id, "what": link.what, "before": dict(link.before), "after": dict(link.after)} for link in one.links
    ]
    return {"id": one.id, "what": one.what, "file": one.file, "line": one.line, "made": one.made, "links": links}


def _sequence(one: RuleChange) -> SequenceChangeOut:
    return SequenceChangeOut(
        id=one.id,
        what=one.what,
        fields=list(one.fields),
        more=one.more.words if one.more else None,
        less=one.less.words if one.less else None,
        sessions=one.traces,
    )


def _access(change: Change) -> AccessOut:
    one = change.example
    return AccessOut(
        change=gained(change),
        action=change.action,
        agents=list(change.agents),
        resources=list(change.resources),
        before=_outcome(change.before),
        after=_outcome(change.after),
        when=[list(case) for case in change.when],
        example=ExampleOut(
            agent=one.agent, kind=one.kind, resource=one.resource, arguments=one.arguments, facts=one.facts
        ),
    )


def _outcome(outcome: Outcome) -> OutcomeOut:
    return OutcomeOut(effect=outcome.effect, obligations=list(outcome.obligations), policies=list(outcome.policies))
