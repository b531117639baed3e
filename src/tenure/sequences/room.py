"""What the wiring needs to know of sequences."""

from __future__ import annotations

from tenure.base.room import Room
from tenure.sequences.flow import FORGETTING
from tenure.sequences.react import CONSUMER

ROOM = Room(name="sequences", consumers=(CONSUMER,), flows=(FORGETTING,))
