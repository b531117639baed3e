"""Steps of a run, what speaks for each being the one it failed by, and the order that follows. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

SIGNS_TOLD = 5
"""The most signs that are told of one step."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that an agent said or did. ``index`` is its place in the run, from 0; ``text`` what it said or asked
    a tool for; ``outcome`` what came back at once (empty: nothing did), ``failed`` whether that was an error or a
    refusal, ``idle`` whether it was told that there was nothing to do."""

    index: int
    span_id: str
    agent: str
    name: str
    text: str
    outcome: str = ""
    failed: bool = False
    idle: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """A run as attribution sees it. ``asked`` is what it was started with; ``success`` what somebody said of its end,
    None where nobody did."""

    trace_id: str
    steps: tuple[Step, ...]
    asked: str = ""
    success: bool | None = None


@dataclass(frozen=True, slots=True)
class Sign:
    """A fact of the record that speaks for or against a step. ``value`` is its size (0: it is not there), ``seen`` what
    it was seen in."""

    name: str
    value: float
    seen: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """A sign in words. ``weight``: how much it speaks for the step (log-odds), below 0 against it."""

    sign: str
    words: str
    weight: float


@dataclass(frozen=True, slots=True)
class Suspect:
    """A step with its share of the blame (all steps of a run make 1), and why."""

    step: Step
    share: float
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True, slots=True)
class Blame:
    """The steps of a run, the likeliest to be at fault first, and how the blame is shared among its agents."""

    run: Run
    suspects: tuple[Suspect, ...]
    agents: tuple[tuple[str, float], ...]


def shares(scores: Sequence[float]) -> list[float]:
    """Scores as shares that make 1."""
    if not scores:
        return []
    top = max(scores)
    raised = [math.exp(score - top) for score in scores]
    return [each / sum(raised) for each in raised]


def score(signs: Sequence[Sign], weights: Mapping[str, float]) -> float:
    """How much speaks for a step, all in all."""
    return sum(weights.get(sign.name, 0.0) * sign.value for sign in signs)


def of_agents(names: Sequence[str], each: Sequence[float]) -> tuple[tuple[str, float], ...]:
    """The blame of each agent is that of its steps together; the one with most of it first."""
    found: dict[str, float] = {}
    for name, share in zip(names, each, strict=True):
        found[name] = found.get(name, 0.0) + share
    return tuple(sorted(found.items(), key=lambda entry: (-entry[1], entry[0])))


class State(StrEnum):
    """What came of asking a judge. ``named``: it named a step; ``unreadable``: it answered something else, which may
    have cost as much; ``failed``: no answer came, or none in time."""

    ASKED = "asked"
    NAMED = "named"
    UNREADABLE = "unreadable"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Asked:
    """A judge that was asked about a run. ``id`` is that of the Event with its answer; ``prompt`` the version of what
    was asked; ``steps`` how many the run had; ``detail`` why there is no opinion."""

    id: str
    workspace: str
    trace_id: str
    model: str
    prompt: str
    steps: int
    by: str
    at: datetime
    state: State = State.ASKED
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a judge said of a run: the place of a step (``Step.index``), its agent, and why; empty where it named none,
    where its answer is not kept any more (``gone`` says why), and for whoever may not see what was said (``withheld``).
    Tokens are those that the endpoint told; ``cost_usd`` a decimal number, empty where no price is known."""

    asked: Asked
    step: int | None = None
    agent: str = ""
    reason: str = ""
    answered_by: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: str = ""
    gone: str = ""
