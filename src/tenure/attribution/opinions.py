"""The verbs of judges: have one asked about a run, and what those said that were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy.engine import Connection

from tenure.attribution import judge, store
from tenure.attribution.judge import Answer, Endpoint
from tenure.attribution.model import Asked, Opinion, State
from tenure.attribution.prompt import PROMPT, question, read
from tenure.attribution.service import Told
from tenure.base import events
from tenure.base.access import Thing, may, permit
from tenure.base.room import World
from tenure.base.sight import Sight
from tenure.kernel.errors import Refused
from tenure.kernel.ids import new_id
from tenure.kernel.json import JsonObject
from tenure.kernel.money import of_nano
from tenure.kernel.values import Actor, Event
from tenure.telemetry import service as telemetry

AT_ONCE = 4
"""So many judges of a workspace are asked at once: each holds a thread of the control plane while it is waited for."""
_DAY = timedelta(hours=24)
_LOST = timedelta(minutes=3)  # whoever asked was ended meanwhile


def ask(world: World, actor: Actor, told: Told) -> Opinion:
    """Has the judge of the settings asked about a run, redacted, and keeps what it says; where it has named a step of
    this run already, that is answered and nothing sent. Raises Refused: 403 for a program, for whoever may not have it
    asked and for whoever may not see all that was said, 409 where no judge is set, where it is being asked already and
    for a run that was for several people, 429 at the bounds."""
    for thing in _things(world, actor, told):
        permit(actor, "runs:judge", thing)
    sight = Sight(world, actor)
    if told.withheld or not all(sight.of(agent) for agent in told.agents):
        why = sight.ask or told.withheld
        raise Refused("withheld", "Not all that was said in this run is yours to see.", fix=why, status=403)
    endpoint = judge.endpoint_of(world.config)
    if endpoint is None:
        raise Refused(
            "no_judge",
            "No model is set that could be asked.",
            fix="Set TENURE_BLAME_JUDGE and TENURE_BLAME_JUDGE_MODEL for the control plane.",
            status=409,
        )
    if len(told.people) > 1:
        raise Refused(
            "several_people",
            "The run was for several people: what a judge says of it could not be erased with one of them.",
            fix="Look at the evidence of the record.",
            status=409,
        )
    run = told.run
    now, steps = world.clock(), len(run.steps)
    asked = Asked(new_id(), actor.workspace, run.trace_id, endpoint.model, PROMPT, steps, actor.name, now)
    known = _begin(world, asked, told, endpoint)
    if known is not None:
        return _opinion(world, known, sight, told)
    return _answered(world, asked, told, endpoint)


def may_ask(world: World, actor: Actor, told: Told) -> bool:
    """Whether the actor may have a judge asked about a run."""
    sight = Sight(world, actor)
    seen = not told.withheld and all(sight.of(agent) for agent in told.agents)
    return seen and all(may(actor, "runs:judge", thing) for thing in _things(world, actor, told))


def _things(world: World, actor: Actor, told: Told) -> list[Thing]:
    """Each agent of a run, with who answers for it."""
    with world.read() as connection:
        owners = world.owners(connection, actor.workspace)
    return [Thing(owners.get(agent or "", ()), agent or "") for agent in told.agents or {None}]


def _begin(world: World, asked: Asked, told: Told, endpoint: Endpoint) -> Asked | None:
    """Notes that a judge is asked, or returns what it has said already."""
    with world.begin() as tx:
        store.alone(tx)
        same = [
            one
            for one in store.of_trace(tx, asked.workspace, asked.trace_id)
            if (one.model, one.prompt, one.steps) == (asked.model, asked.prompt, asked.steps)
        ]
        named = next((one for one in same if one.state is State.NAMED), None)
        if named is not None:
            return named
        _bounds(tx, world, asked, same)
        store.drop_before(tx, asked.workspace, asked.at - timedelta(days=world.config.keep_records))
        store.add(tx, asked)
        events.append(tx, [_event(asked, told, "blame.asked", new_id(), endpoint, {})])
    return None


def _bounds(tx: Connection, world: World, asked: Asked, same: Sequence[Asked]) -> None:
    def running(found: Sequence[Asked]) -> list[Asked]:
        return [one for one in found if one.state is State.ASKED and asked.at - one.at < _LOST]

    if running(same):
        raise Refused("being_asked", "The judge is being asked about this run.", fix="Look again soon.", status=409)
    today, most = store.lately(tx, asked.workspace, asked.at - _DAY), world.config.blame_judge_daily
    if len(today) >= most:
        problem = f"The judge was asked {len(today)} times in 24 hours, which is the most."
        raise Refused("judge_used_up", problem, fix="Wait, or raise TENURE_BLAME_JUDGE_DAILY.", status=429)
    if len(running(today)) >= AT_ONCE:
        raise Refused("judge_busy", f"{AT_ONCE} judges are being asked already.", fix="Try again soon.", status=429)


def _answered(world: World, asked: Asked, told: Told, endpoint: Endpoint) -> Opinion:
    redact = world.config.redacted
    try:
        answer = judge.ask(endpoint, question(told.run, redact))
    except judge.NoAnswerError as error:
        return _ended(world, asked, told, endpoint, State.FAILED, str(error), {})
    said = read(told.run, answer.text, redact)
    facts = _spent(world, endpoint, answer)
    if isinstance(said, str):
        return _ended(world, asked, told, endpoint, State.UNREADABLE, said, facts)
    content = {"tenure.blame.step": said.step, "tenure.blame.agent": said.agent, "tenure.blame.reason": said.reason}
    return _ended(world, asked, told, endpoint, State.NAMED, "", facts | content)


def _ended(  # noqa: PLR0917 (the facts of one Event)
    world: World, asked: Asked, told: Told, endpoint: Endpoint, state: State, detail: str, data: dict[str, Any]
) -> Opinion:
    facts = {**data, "tenure.blame.came_to": state.value}
    with world.begin() as tx:
        store.end(tx, asked.id, state, detail)
        events.append(tx, [_event(asked, told, "blame.judged", asked.id, endpoint, facts)])
    return _read(replace(asked, state=state, detail=detail), data)


def _event(  # noqa: PLR0917 (the facts of one Event)
    asked: Asked, told: Told, kind: str, ident: str, endpoint: Endpoint, data: dict[str, Any]
) -> Event:
    """An Event about a run, of no trace of its own: the run took no longer because somebody asked about it."""
    facts = {"tenure.blame.of": asked.trace_id, "tenure.blame.prompt": asked.prompt, "server.address": endpoint.host}
    facts |= {"gen_ai.request.model": asked.model, "gen_ai.provider.name": endpoint.provider, **data}
    if kind == "blame.judged" and told.people:
        facts["enduser.id"] = next(iter(told.people))
    agent = next(iter(told.agents)) if len(told.agents) == 1 else None
    return Event(ident, kind, asked.at, asked.workspace, asked.by, agent=agent, data=facts)


def _spent(world: World, endpoint: Endpoint, answer: Answer) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "gen_ai.response.model": answer.model or endpoint.model,
        "gen_ai.usage.input_tokens": answer.input_tokens,
        "gen_ai.usage.output_tokens": answer.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": answer.cached_tokens,
    }
    for model in (answer.model, endpoint.model):
        price = telemetry.price(world, endpoint.provider, model) if model else None
        if price is not None:
            fresh = max(answer.input_tokens - answer.cached_tokens, 0)
            total = fresh * price.input + answer.cached_tokens * price.cached + answer.output_tokens * price.output
            facts["tenure.cost_usd"] = format((of_nano(total) / Decimal(1000)).normalize(), "f")
            break
    return facts


def find(world: World, actor: Actor, told: Told) -> list[Opinion]:
    """What judges said of a run, the newest first, as far as the actor may see what was said in it."""
    with world.read() as connection:
        asked = store.of_trace(connection, actor.workspace, told.run.trace_id)
    sight = Sight(world, actor)
    return [_opinion(world, one, sight, told) for one in asked]


def _opinion(world: World, asked: Asked, sight: Sight, told: Told) -> Opinion:
    if asked.state is State.ASKED and world.clock() - asked.at > _LOST:
        asked = replace(asked, state=State.FAILED, detail="whoever asked it was ended before it answered")
    if asked.state in (State.ASKED, State.FAILED):
        return Opinion(asked)
    if told.withheld or not all(sight.of(agent) for agent in told.agents):
        return Opinion(asked, gone="withheld")
    event = telemetry.event(world, asked.workspace, asked.id)
    return Opinion(asked, gone="expired") if event is None else _read(asked, event.data)


def _read(asked: Asked, data: JsonObject) -> Opinion:
    step = data.get("tenure.blame.step")
    return Opinion(
        asked,
        step=step if isinstance(step, int) else None,
        agent=str(data.get("tenure.blame.agent") or ""),
        reason=str(data.get("tenure.blame.reason") or ""),
        answered_by=str(data.get("gen_ai.response.model") or ""),
        input_tokens=int(data.get("gen_ai.usage.input_tokens") or 0),
        output_tokens=int(data.get("gen_ai.usage.output_tokens") or 0),
        cost_usd=str(data.get("tenure.cost_usd") or ""),
        gone=str(data.get("tenure.content") or ""),
    )
