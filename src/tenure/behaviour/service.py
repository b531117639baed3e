"""The verbs of behaviour: an agent and a trace held against what is usual, and what can be seen of an agent."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from tenure.base.access import permit
from tenure.base.room import World
from tenure.behaviour.deviations import Usual, deviations
from tenure.behaviour.model import ENOUGH, Behaviour, Deviation, Profile, profile_of
from tenure.behaviour.signals import Seen, grave_tools, instrumentation
from tenure.behaviour.statistics import shannon
from tenure.kernel.errors import Refused
from tenure.kernel.values import Actor
from tenure.registry import service as registry
from tenure.telemetry import service as telemetry
from tenure.telemetry.model import Act

MOST = 10_000
"""Of an agent's calls the newest so many are read, for each of the two stretches."""
BEFORE = timedelta(days=30)
"""How far back what is usual is learned from."""
_AGENTS = 8
"""Of so many agents of a trace at most the calls are held against what is usual."""


def behaviour(
    world: World,
    actor: Actor,
    agent: str,
    *,
    lately: timedelta = timedelta(days=1),
    before: timedelta = BEFORE,
    release: str | None = None,
) -> Behaviour:
    """What an agent did ``lately``, held against what it did in the time before; where that was too little, against its
    first calls, so that one which began today is known today. With ``release``, what it did under that one, held
    against what it did until then. Raises Refused (403, 404)."""
    permit(actor, "events:read")
    telemetry.current(world)  # so that what a caller was told is kept is also what is read here
    with world.read() as conn:
        found = registry.the_agent(conn, actor.workspace, agent)
    now = world.clock()
    if release is not None:
        return _of_release(world, actor, agent, release, now, lately + before)
    since = now - lately
    seen = telemetry.acts(world, actor.workspace, agent, since, _end(now), MOST)
    earlier = telemetry.acts(world, actor.workspace, agent, since - before, since, MOST)
    current = next((act.release for act in reversed(seen) if act.release), found.release)
    first = first_calls([*earlier, *seen])
    if len(first) > len(earlier):
        earlier, seen = first, seen[len(first) - len(earlier) :]
        since = seen[0].at if seen else now
    expected, against = expected_of(earlier, current)
    return _held(agent, current, against, since, now, expected, profile_of(seen))


def _end(now: datetime) -> datetime:
    return now + timedelta(seconds=1)  # what began in this second is of it


def first_calls(acts: list[Act]) -> list[Act]:
    """Calls, oldest first, up to the tool call with which enough is known to say what is usual; all, where it is
    not."""
    steps = profile_of(acts).steps
    if len(steps) < ENOUGH:
        return acts
    last = steps[ENOUGH - 1][1]
    return acts[: next(place for place, act in enumerate(acts, 1) if act is last)]


def expected_of(earlier: Sequence[Act], release: str) -> tuple[Profile, str]:
    """What is usual of an agent under ``release``, and what that was learned from, in words: what it did under that
    release where that is enough to say, else what it did under any."""
    own = profile_of([act for act in earlier if act.release == release])
    if release and own.calls >= ENOUGH:
        return own, "what it did under the same release"
    every = profile_of(earlier)
    return every, "what it did under the releases before" if every.calls > own.calls else "what it did"


def _of_release(  # noqa: PLR0917 (whose, which one, over what time)
    world: World, actor: Actor, agent: str, release: str, now: datetime, length: timedelta
) -> Behaviour:
    seen = telemetry.acts(world, actor.workspace, agent, now - length, _end(now), MOST, release)
    if not seen:
        raise Refused(
            "unknown_release",
            f"{agent} made no call under release {release[:80]!r} in {length.days} days.",
            fix=f"`tenure agents releases {agent}` shows its releases.",
            status=404,
        )
    first = seen[0].at
    earlier = telemetry.acts(world, actor.workspace, agent, now - length, first, MOST)
    expected = profile_of([act for act in earlier if act.release != release])
    return _held(agent, release, "what it did before this release", first, now, expected, profile_of(seen))


def _held(  # noqa: PLR0917 (the parts of one Behaviour)
    agent: str, release: str, against: str, since: datetime, until: datetime, expected: Profile, seen: Profile
) -> Behaviour:
    known = expected.calls >= ENOUGH
    return Behaviour(
        agent,
        release,
        against,
        since,
        until,
        expected,
        seen,
        distance=shannon(expected.tools, seen.tools) if known else 0.0,
        deviations=tuple(deviations(expected, seen)) if known and seen.calls else (),
    )


def rates(world: World, actor: Actor, agent: str, lately: timedelta) -> tuple[float | None, float | None]:
    """Of an agent's runs ``lately``, the share in which it brought a person in; of its tool calls, the share that was
    no repetition of one before with the same outcome. None where there were none. Raises Refused (403)."""
    permit(actor, "events:read")
    now = world.clock()
    found = telemetry.coherent(world, actor.workspace, now - lately, _end(now))
    one = next((one for one in found if one.agent == agent), None)
    if one is None:
        return None, None
    return one.handed / one.runs if one.runs else None, (one.told - one.again) / one.told if one.told else None


def of_trace(world: World, actor: Actor, trace_id: str) -> list[Deviation]:
    """What the tool calls of a trace do that their agents never did in the 30 days before it, or far outside of what
    they did; nothing of agents of which too little is known. Raises Refused (403, 404)."""
    permit(actor, "events:read")
    telemetry.must_know(world, actor.workspace, trace_id)
    found: list[Deviation] = []
    for agent, began, ended in telemetry.actors(world, actor.workspace, trace_id)[:_AGENTS]:
        earlier = telemetry.acts(world, actor.workspace, agent, began - BEFORE, began, MOST)
        mine = telemetry.acts(world, actor.workspace, agent, began, ended + timedelta(microseconds=1), MOST)
        release = next((act.release for act in mine if act.trace_id == trace_id), "")
        expected, _ = expected_of(earlier, release)
        if expected.calls < ENOUGH:
            continue
        usual, inside = Usual(expected), profile_of([act for act in mine if act.trace_id == trace_id])
        found += [one for before, act in inside.steps for one in usual.of_call(before, act)]
    return found


def seen_of(world: World, actor: Actor, agent: str, window: timedelta = BEFORE) -> list[Seen]:
    """Which signals Tenure sees of an agent, in the order in which it is worth making them seen (R093). Raises Refused
    (403, 404)."""
    permit(actor, "events:read")
    telemetry.current(world)
    with world.read() as conn:
        found = registry.the_agent(conn, actor.workspace, agent)
    grave = grave_tools(found.manifest)
    there = telemetry.signals(world, actor.workspace, agent, world.clock() - window, grave)
    return instrumentation(found.manifest, there)
