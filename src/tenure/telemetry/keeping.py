"""Letting go of what was recorded: content by its period, by a share, or because it is about somebody."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from tenure.base import events as log
from tenure.base.room import World
from tenure.kernel.values import Event
from tenure.telemetry.traces import content
from tenure.telemetry.traces.shelf import store_of

SCRUBBED_AT_ONCE = 500
SETTLED = timedelta(hours=1)
"""A trace with no Event for this long is over: whether anything in it was out of the ordinary is known."""
LOOKED_BACK = timedelta(days=2)
"""How far back traces are looked for that are over."""


def kept_upto(world: World) -> int:
    """The number of the newest Event that is in the trace store."""
    return store_of(world).cursor


def content_under(world: World, numbers: Collection[int]) -> dict[int, tuple[int, datetime]]:
    """How many Events have content under each of these keys, and the time of the oldest."""
    return store_of(world).content_under(list(numbers))


def held_under(world: World, number: int) -> list[str]:
    """The ids of the approvals of calls that have content under this key."""
    return store_of(world).approvals_under(number)


def told_under(world: World, number: int, among: Sequence[str]) -> list[str]:
    """Those Events of ``among``, by id, that have content under this key."""
    return store_of(world).told_under(number, list(among))


def scrub(world: World, workspace: str, subject: str, upto: int) -> int:
    """Takes the content about a subject out of the row buffer, up to an Event's number; how many Events had any. In
    small transactions: whoever writes is kept waiting by none of them."""
    done, after = 0, 0
    while True:
        with world.db.begin() as tx:  # not news to anybody: no bell
            batch = [one for one in log.read(tx, after, SCRUBBED_AT_ONCE) if one.seq <= upto]
            for logged in batch:
                event = logged.event
                if event.workspace == workspace and content.subject_of(event) == subject and content.split(event)[1]:
                    log.rewrite(tx, logged.seq, _bare(event))
                    done += 1
        if not batch:
            return done
        after = batch[-1].seq


def _bare(event: Event) -> Event:
    facts, _ = content.split(event)
    return replace(event, data=content.attributes(content.without(facts, "erased")))


def expire(world: World, before: datetime, agents: Collection[str]) -> int:
    """Forgets the content of these agents (``<workspace>/<name>``) from before a time, a piece of it; how many."""
    return store_of(world).expire(before, agents)


def expire_others(world: World, before: datetime, but: Collection[str]) -> int:
    """As ``expire``, of everything but these agents."""
    return store_of(world).expire_others(before, but)


def thin(world: World, now: datetime, share: int) -> int:
    """Forgets the content of all but ``share`` percent of the traces that are over and in which nothing was out of the
    ordinary, a piece of it; how many."""
    return 0 if share >= 100 else store_of(world).thin(now - LOOKED_BACK, now - SETTLED, share)


def drop(world: World, before: datetime) -> int:
    """Forgets Events from before a time whole, a piece of them; how many."""
    return store_of(world).drop(before)
