"""Search over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from tenure.base.http import TheActor, TheWorld
from tenure.search import service
from tenure.search.model import MAX_QUERY, Kind

router = APIRouter(tags=["search"])


class HitOut(BaseModel):
    """Something that was found: ``by`` words, meaning or both; ``path`` is its page in the console."""

    kind: Kind
    name: str
    about: str
    path: str
    by: list[str]
    score: float


class FoundOut(BaseModel):
    """What was found, the best first. ``meaning``: whether vectors were asked; ``problem``: why not, though an endpoint
    is set."""

    hits: list[HitOut]
    meaning: bool
    problem: str


@router.get("/v1/search")
def get_search(
    world: TheWorld,
    actor: TheActor,
    q: Annotated[str, Query(max_length=MAX_QUERY, description="What to look for, in words")],
    what: Annotated[list[Kind] | None, Query(description="Of these kinds only")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> FoundOut:
    """Agents, tools and policies that are about a question. What was said in traces is found by /v1/traces/search."""
    found = service.search(world, actor, q, kinds=what or tuple(Kind), limit=limit)
    hits = [
        HitOut(
            kind=hit.document.kind,
            name=hit.document.name,
            about=hit.document.about,
            path=hit.document.path,
            by=list(hit.by),
            score=hit.score,
        )
        for hit in found.hits
    ]
    return FoundOut(hits=hits, meaning=found.meaning, problem=found.problem)
