"""The route of comparison."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from tenure.base.access import permit
from tenure.base.http import TheActor, TheWorld
from tenure.comparison import service
from tenure.comparison.model import Change, Step

router = APIRouter(tags=["comparison"])


class PlaceView(BaseModel):
    """A place inside what was given or answered at which two steps differ."""

    path: str
    left: Any = None
    right: Any = None
    left_there: bool
    right_there: bool


class ChangeView(BaseModel):
    """One respect in which two steps, or the two runs, differ."""

    what: str = Field(description="asked, decision, error, answer, or the name of a fact as `release`")
    left: str
    right: str
    places: list[PlaceView]


class StepView(BaseModel):
    """A step of one of the runs."""

    span_id: str
    label: str
    agent: str
    effect: str
    error: str
    duration_us: int


class PairView(BaseModel):
    """Two steps that stand for the same, or one that the other run does not have."""

    left: StepView | None
    right: StepView | None
    same: bool
    changes: list[ChangeView]


class ComparisonView(BaseModel):
    """Two runs, step against step."""

    left: str
    right: str
    parting: int | None = Field(description="The place in `pairs` of the first that is not the same; None: none")
    because: list[str]
    context: list[ChangeView] = Field(description="What is different of the whole runs")
    whole: bool = Field(description="Whether steps were laid against each other; false: paired one by one, too long")
    pairs: list[PairView]


@router.get("/v1/traces/{trace_id}/against/{other}")
def compare(world: TheWorld, actor: TheActor, trace_id: str, other: str) -> ComparisonView:
    """Two traces side by side: which step of one stands for which of the other, where they part, and why."""
    permit(actor, "events:read")
    found = service.compare_traces(world, actor, trace_id, other)
    return ComparisonView(
        left=trace_id,
        right=other,
        parting=found.parting,
        because=list(found.because),
        context=[_change(change) for change in found.context],
        whole=found.whole,
        pairs=[
            PairView(
                left=_step(pair.left),
                right=_step(pair.right),
                same=pair.same,
                changes=[_change(change) for change in pair.changes],
            )
            for pair in found.pairs
        ],
    )


class NumberedStep(StepView):
    """A step by its number in the run, the first is 1. ``trace_id``: the run that it was taken in, another one for what
    a fork has of the run before it."""

    number: int
    kind: str
    trace_id: str


@router.get("/v1/traces/{trace_id}/steps")
def steps(world: TheWorld, actor: TheActor, trace_id: str) -> list[NumberedStep]:
    """The calls and messages of a run in their order, by the numbers that a comparison and a fork call them by."""
    permit(actor, "events:read")
    return [
        NumberedStep(**_facts(step), number=number, kind=step.kind, trace_id=span.trace_id)
        for number, (step, span) in enumerate(service.run_of(world, actor, trace_id), 1)
    ]


def _facts(step: Step) -> dict[str, Any]:
    return {name: getattr(step, name) for name in StepView.model_fields}


def _step(step: Step | None) -> StepView | None:
    if step is None:
        return None
    return StepView(**_facts(step))


def _change(change: Change) -> ChangeView:
    places = [
        PlaceView(
            path=place.path,
            left=place.left,
            right=place.right,
            left_there=place.left_there,
            right_there=place.right_there,
        )
        for place in change.places
    ]
    return ChangeView(what=change.what, left=change.left, right=change.right, places=places)
