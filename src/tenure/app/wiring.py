"""The one ordered list of everything. A new capability is its own folder and one line here."""

from __future__ import annotations

import importlib
import importlib.util

from tenure.base.room import Room

_NAMES = ("registry", "identity", "telemetry", "audit", "policy", "approvals", "runtime", "evaluation", "breaker")
ROOMS: list[Room] = [
    importlib.import_module(f"tenure.{_name}.room").ROOM
    for _name in _NAMES
    if importlib.util.find_spec(f"tenure.{_name}") and importlib.util.find_spec(f"tenure.{_name}.room")
]
