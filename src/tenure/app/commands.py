"""Every slice's commands, in the order that ``tenure --help`` shows them.

Only ``cli`` modules are imported here: a command talks HTTP, so it need not wait for databases and web frameworks.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import typer

_NAMES = ("registry", "runtime", "approvals", "breaker", "policy", "telemetry", "audit", "evaluation", "identity")
COMMANDS: list[Callable[[typer.Typer], object]] = [
    importlib.import_module(f"tenure.{_name}.cli").register
    for _name in _NAMES
    if importlib.util.find_spec(f"tenure.{_name}") and importlib.util.find_spec(f"tenure.{_name}.cli")
]
