"""Every slice's commands, in the order that ``tenure --help`` shows them.

Only ``cli`` modules are imported here, and of them only those that the first word of a command needs: a command talks
HTTP, so it need not wait for databases and web frameworks, nor for the models of what it was not asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

import typer

MODULES: Mapping[str, tuple[str, ...]] = {
    "app.cli": ("up", "move-traces", "version"),
    "app.doctor_cli": ("doctor",),
    "registry.cli": ("agents", "apply", "lifecycle"),
    "owners.cli": ("owners",),
    "oauth.cli": ("agents", "logins", "programs"),
    "search.cli": ("search",),
    "discovery.cli": ("discover",),
    "graph.cli": ("graph",),
    "runtime.cli": ("run", "instances"),
    "runtime.drill_cli": ("drill",),
    "autonomy.cli": ("agents", "autonomy"),
    "approvals.cli": ("approvals",),
    "drafts.cli": ("drafts",),
    "corrections.cli": ("corrections",),
    "notify.cli": ("notify",),
    "precedents.cli": ("precedents",),
    "breaker.cli": ("agents", "breaker", "stop", "start"),
    "credentials.cli": ("revoke", "revocations", "rotate"),
    "limits.cli": ("limits",),
    "tools.cli": ("tools",),
    "secrets.cli": ("secrets", "connectors"),
    "policy.cli": ("policy",),
    "telemetry.cli": ("traces", "feed", "sessions", "stats"),
    "behaviour.cli": ("agents", "traces"),
    "evaluation.cli": ("import", "report", "replay"),
    "alerts.cli": ("alerts", "report"),
    "exports.cli": ("exports",),
    "attribution.cli": ("blame",),
    "comparison.cli": ("compare",),
    "forks.cli": ("runs",),
    "paths.cli": ("paths",),
    "retention.cli": ("retention",),
    "audit.cli": ("audit",),
    "identity.cli": ("workspaces", "people", "tokens", "services", "keys", "login-link"),
    "scim.cli": ("people",),
    "sdk.cli": ("hook",),
    "trust.cli": ("trust",),
}
"""Each module with the first words of its commands; also of those that it adds to the commands of another."""


def register(app: typer.Typer, word: str) -> None:
    """Adds the commands that begin with ``word``; all of them where it is no such word, as for ``tenure --help``. Once
    in a process."""
    named = [module for module, words in MODULES.items() if word in words]
    for module in named or MODULES:
        import_module(f"tenure.{module}").register(app)
