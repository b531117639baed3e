"""What happened that somebody wants to be told of."""

from __future__ import annotations

from tenure.base.events import Consumer
from tenure.notify import service
from tenure.notify.words import TYPES

CONSUMER = Consumer("notify", service.hear, TYPES | {"person.credentials_ended", "person.removed"})
