"""The verbs of attribution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tenure.attribution.model import Blame, Run, Suspect, of_agents, score, shares
from tenure.attribution.reading import run_of
from tenure.attribution.signs import signs_of
from tenure.attribution.weights import WEIGHTS
from tenure.attribution.words import told
from tenure.base.room import World
from tenure.kernel.errors import Refused
from tenure.kernel.values import Actor
from tenure.telemetry import service as telemetry
from tenure.telemetry.model import JOINED


def weigh(run: Run, weights: Mapping[str, float] = WEIGHTS) -> Blame:
    """The steps of a run by how likely each is the one that it failed by."""
    signs = signs_of(run)
    each = shares([score(of_step, weights) for of_step in signs])
    suspects = [
        Suspect(step, share, told(of_step, weights))
        for step, share, of_step in zip(run.steps, each, signs, strict=True)
    ]
    suspects.sort(key=lambda suspect: (-suspect.share, suspect.step.index))
    return Blame(run, tuple(suspects), of_agents([step.agent for step in run.steps], each))


@dataclass(frozen=True, slots=True)
class Told:
    """A run with what must be known of it before it is shown to anybody else: the agents whose words are in it (None:
    one that is not of here), the people whom it was for, and why something of it is withheld from whoever reads it."""

    run: Run
    agents: frozenset[str | None]
    people: frozenset[str]
    withheld: str


def told_run(world: World, actor: Actor, trace_id: str) -> Told:
    """A run that may have failed. Raises Refused for a trace that nothing is known of (404), for one that was judged a
    success, and for one in which no agent said or did anything (409)."""
    found = telemetry.trace(world, actor, trace_id, decisions=False)
    spans = [placed.span for placed in found.spans if JOINED not in placed.span.attributes]
    run = run_of(trace_id, spans)
    if run.success:
        raise Refused(
            "run_succeeded",
            f"Trace {trace_id} was judged a success: nobody is to blame.",
            fix="Ask for a run that failed; `tenure sessions` shows how each ended.",
            status=409,
        )
    if not run.steps:
        raise Refused(
            "nothing_said",
            f"Nothing in trace {trace_id} is a model's answer or a call of a tool.",
            fix="`tenure traces show` shows what is in it.",
            status=409,
        )
    named = [span.attributes.get(name) for span in spans for name in ("enduser.id", "tenure.on_behalf_of")]
    people = frozenset(str(one) for one in named if one)
    agents = frozenset(span.agent for span in spans if span.agent or span.type.startswith(("import.", "otlp.")))
    return Told(run, agents, people, found.withheld)


def blame(world: World, actor: Actor, trace_id: str) -> Blame:
    """Which step and which agent of a trace most likely failed it. Raises Refused as ``told_run``."""
    return weigh(told_run(world, actor, trace_id).run)
