"""Takes forks on, a step at a time."""

from __future__ import annotations

from tenure.base.room import Flow
from tenure.forks.driving import step
from tenure.forks.service import due

GOING = Flow("forks.going", due, step, every=0.5)
