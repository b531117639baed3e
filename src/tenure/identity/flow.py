"""Stops believing signing keys whose last token has expired."""

from __future__ import annotations

from tenure.base.room import Flow
from tenure.identity import service, store

RETIRE_KEYS = Flow(name="identity.keys", find=store.keys_due, step=service.retire_key, every=30.0)
