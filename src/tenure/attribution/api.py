"""The route of attribution."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from tenure.attribution import service
from tenure.base.access import permit
from tenure.base.http import TheActor, TheWorld

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


class BlameView(BaseModel):
    """Where a run most likely went wrong, the likeliest first."""

    trace_id: str
    judged: bool = Field(description="Whether somebody judged the run a failure; false where nobody judged it")
    steps: int
    agents: list[AgentShare]
    suspects: list[SuspectView]


@router.get("/v1/traces/{trace_id}/blame")
def blame(world: TheWorld, actor: TheActor, trace_id: str, limit: Annotated[int, Query(ge=1, le=50)] = 5) -> BlameView:
    """The steps and the agents of a trace that most likely failed it, with the evidence of the record."""
    permit(actor, "events:read")
    found = service.blame(world, actor, trace_id)
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
    )
