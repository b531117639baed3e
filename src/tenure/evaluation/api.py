"""The reports of evaluation over HTTP."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter
from pydantic import BaseModel, Field

from tenure.base.access import permit
from tenure.base.http import TheActor, TheWorld
from tenure.evaluation import service

router = APIRouter(tags=["evaluation"])


class EstimateView(BaseModel):
    """pass^k with its 95% interval, and how many tasks and sessions it is of."""

    k: int
    value: float
    low: float
    high: float
    tasks: int
    sessions: int


class ReliabilityView(BaseModel):
    """One recorded file's figures."""

    source: str
    dataset: str = Field(description="SHA-256 of the recorded file's content")
    label: str = Field(description="The model it is about, where known")
    tasks: int
    sessions: int
    successes: int
    estimates: list[EstimateView]
    method: str


class ReliabilityReport(BaseModel):
    """The figures of every recorded file; files are never pooled."""

    reports: list[ReliabilityView]


@router.get("/v1/reports/reliability")
def reliability(world: TheWorld, actor: TheActor, source: str | None = None) -> ReliabilityReport:
    """How likely it is that all of k trials of a task succeed (pass^k)."""
    permit(actor, "reports:read")
    found = service.reliability(world, actor, source)
    return ReliabilityReport(reports=[ReliabilityView.model_validate(asdict(item)) for item in found])
