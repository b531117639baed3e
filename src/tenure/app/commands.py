"""Every slice's commands, in the order that ``tenure --help`` shows them.

Only ``cli`` modules are imported here: a command talks HTTP, so it need not wait for databases and web frameworks.
"""

from __future__ import annotations

from collections.abc import Callable

import typer

from tenure.alerts import cli as alerts
from tenure.approvals import cli as approvals
from tenure.attribution import cli as attribution
from tenure.audit import cli as audit
from tenure.autonomy import cli as autonomy
from tenure.behaviour import cli as behaviour
from tenure.breaker import cli as breaker
from tenure.comparison import cli as comparison
from tenure.corrections import cli as corrections
from tenure.credentials import cli as credentials
from tenure.discovery import cli as discovery
from tenure.drafts import cli as drafts
from tenure.evaluation import cli as evaluation
from tenure.exports import cli as exports
from tenure.forks import cli as forks
from tenure.graph import cli as graph
from tenure.identity import cli as identity
from tenure.limits import cli as limits
from tenure.notify import cli as notify
from tenure.oauth import cli as oauth
from tenure.owners import cli as owners
from tenure.paths import cli as paths
from tenure.policy import cli as policy
from tenure.precedents import cli as precedents
from tenure.registry import cli as registry
from tenure.retention import cli as retention
from tenure.runtime import cli as runtime
from tenure.scim import cli as scim
from tenure.sdk import cli as sdk
from tenure.search import cli as search
from tenure.secrets import cli as secrets
from tenure.telemetry import cli as telemetry
from tenure.tools import cli as tools
from tenure.trust import cli as trust

COMMANDS: tuple[Callable[[typer.Typer], object], ...] = (
    registry.register,
    owners.register,
    oauth.register,  # adds to the commands of `tenure agents`
    search.register,
    discovery.register,
    graph.register,
    runtime.register,
    autonomy.register,
    approvals.register,
    drafts.register,
    corrections.register,
    notify.register,
    precedents.register,
    breaker.register,
    credentials.register,
    limits.register,
    tools.register,
    secrets.register,
    policy.register,
    telemetry.register,
    behaviour.register,  # adds to the commands of `tenure agents` and `tenure traces`
    alerts.register,
    exports.register,
    attribution.register,
    comparison.register,
    forks.register,
    paths.register,
    retention.register,
    audit.register,
    evaluation.register,
    identity.register,
    scim.register,  # adds to the commands of `tenure people`
    sdk.register,
    trust.register,
)
