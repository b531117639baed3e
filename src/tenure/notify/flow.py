"""Tries what is due, and forgets what is over."""

from __future__ import annotations

from functools import partial

from tenure.base.room import Flow
from tenure.notify import service

SHARDS = 4
"""So many attempts are under way at once: a destination that takes its time delays no more than its part of them."""

DELIVERY = tuple(
    Flow(f"notify.delivery.{number}", partial(service.due, shard=number, shards=SHARDS), service.attempt)
    for number in range(SHARDS)
)
FORGETTING = Flow("notify.forgetting", service.outdated, service.forget, every=60.0)
