"""What gateways say they have used."""

from __future__ import annotations

from tenure.base.events import Consumer
from tenure.secrets import service

CONSUMER = Consumer("secrets", service.note_use, frozenset({"secret.used"}))
