"""The route of attribution."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from tenure.attribution import opinions, service
from tenure.attribution.judge import endpoint_of
from tenure.attribution.model import Opinion, Run, State
from tenure.attribution.prompt import PROMPT
from tenure.base.access import permit
from tenure.base.http import TheActor, TheWorld
from tenure.base.room import World
from tenure.kernel.values import Actor

router = APIRouter(tags=["attribution"])


class EvidenceView(BaseModel):
    """A sign that speaks for a step."""

    sign: str
    words: str
    weight: float = Field(description="How much it speaks for the step, in log-odds")


class SuspectView(BaseModel):
    """A step that may have failed the run."""

    step: int = Field(description="Its place in the run, from 0")
    span_id: str
    agent: str
    name: str
    share: float = Field(description="Its share of the blame; all steps of a run make 1")
    evidence: list[EvidenceView]


class AgentShare(BaseModel):
    """An agent, with the share of all its steps."""

    agent: str
    share: float


class OpinionView(BaseModel):
    """What a model said that was asked which step failed the run: an opinion, beside the evidence. `state`: asked (no
    answer yet), named, unreadable, failed; `detail` why it named no step. `step` is null, and `agent` and `reason` are
    empty, for whoever may not see what was said in the run; `gone` says why they are not there."""

    model: str = Field(description="The model that was asked for")
    answered_by: str = Field(description="The model that answered, as the endpoint calls it")
    prompt: str = Field(description="The version of what it was asked")
    by: str
    at: datetime
    state: State
    detail: str
    step: int | None = Field(description="Its place in the run, from 0")
    span_id: str
    agent: str
    reason: str
    input_tokens: int
    output_tokens: int
    cost_usd: str = Field(description="US dollars; empty where no price is known")
    gone: str


class JudgeView(BaseModel):
    """The model that may be asked, and what it would be asked with; whether by whoever reads this."""

    model: str
    host: str
    prompt: str
    may_ask: bool


class BlameView(BaseModel):
    """Where a run most likely went wrong, the likeliest first."""

    trace_id: str
    judged: bool = Field(description="Whether somebody judged the run a failure; false where nobody judged it")
    steps: int
    agents: list[AgentShare]
    suspects: list[SuspectView]
    judge: JudgeView | None = Field(description="Null where no judge is set")
    opinions: list[OpinionView] = Field(description="What judges said that were asked, the newest first")


@router.get("/v1/traces/{trace_id}/blame")
def blame(world: TheWorld, actor: TheActor, trace_id: str, limit: Annotated[int, Query(ge=1, le=50)] = 5) -> BlameView:
    """The steps and the agents of a trace that most likely failed it, with the evidence of the record; beside it, what
    models said that people had asked about it."""
    permit(actor, "events:read")
    told = service.told_run(world, actor, trace_id)
    found = service.weigh(told.run)
    suspects = [
        SuspectView(
            step=one.step.index,
            span_id=one.step.span_id,
            agent=one.step.agent,
            name=one.step.name,
            share=one.share,
            evidence=[EvidenceView(sign=each.sign, words=each.words, weight=each.weight) for each in one.evidence],
        )
        for one in found.suspects[:limit]
    ]
    return BlameView(
        trace_id=trace_id,
        judged=found.run.success is False,
        steps=len(found.run.steps),
        agents=[AgentShare(agent=agent, share=share) for agent, share in found.agents],
        suspects=suspects,
        judge=_judge(world, actor, told),
        opinions=[_opinion(one, told.run) for one in opinions.find(world, actor, told)],
    )


@router.post("/v1/traces/{trace_id}/blame/opinions")
def ask(world: TheWorld, actor: TheActor, trace_id: str) -> OpinionView:
    """Has the judge of the settings asked which step failed a run. What was said in it is sent there, redacted, and
    what it answers is kept: the same judge is not paid twice for the same run."""
    permit(actor, "events:read")
    told = service.told_run(world, actor, trace_id)
    return _opinion(opinions.ask(world, actor, told), told.run)


def _judge(world: World, actor: Actor, told: service.Told) -> JudgeView | None:
    set_one = endpoint_of(world.config)
    if set_one is None:
        return None
    allowed = opinions.may_ask(world, actor, told)
    return JudgeView(model=set_one.model, host=set_one.host, prompt=PROMPT, may_ask=allowed)


def _opinion(one: Opinion, run: Run) -> OpinionView:
    of = {step.index: step.span_id for step in run.steps}
    return OpinionView(
        model=one.asked.model,
        answered_by=one.answered_by,
        prompt=one.asked.prompt,
        by=one.asked.by,
        at=one.asked.at,
        state=one.asked.state,
        detail=one.asked.detail,
        step=one.step,
        span_id=of.get(one.step, "") if one.step is not None else "",
        agent=one.agent,
        reason=one.reason,
        input_tokens=one.input_tokens,
        output_tokens=one.output_tokens,
        cost_usd=one.cost_usd,
        gone=one.gone,
    )
