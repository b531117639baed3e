"""The one ordered list of everything. A new capability is its own folder and one line here."""

from __future__ import annotations

from tenure.alerts.room import ROOM as ALERTS
from tenure.approvals.room import ROOM as APPROVALS
from tenure.attribution.room import ROOM as ATTRIBUTION
from tenure.audit.room import ROOM as AUDIT
from tenure.autonomy.room import ROOM as AUTONOMY
from tenure.base.room import Room
from tenure.behaviour.room import ROOM as BEHAVIOUR
from tenure.breaker.room import ROOM as BREAKER
from tenure.comparison.room import ROOM as COMPARISON
from tenure.corrections.room import ROOM as CORRECTIONS
from tenure.credentials.room import ROOM as CREDENTIALS
from tenure.discovery.room import ROOM as DISCOVERY
from tenure.drafts.room import ROOM as DRAFTS
from tenure.evaluation.room import ROOM as EVALUATION
from tenure.exports.room import ROOM as EXPORTS
from tenure.forks.room import ROOM as FORKS
from tenure.graph.room import ROOM as GRAPH
from tenure.identity.room import ROOM as IDENTITY
from tenure.limits.room import ROOM as LIMITS
from tenure.notify.room import ROOM as NOTIFY
from tenure.oauth.room import ROOM as OAUTH
from tenure.owners.room import ROOM as OWNERS
from tenure.paths.room import ROOM as PATHS
from tenure.policy.room import ROOM as POLICY
from tenure.precedents.room import ROOM as PRECEDENTS
from tenure.registry.room import ROOM as REGISTRY
from tenure.retention.room import ROOM as RETENTION
from tenure.revocation.room import ROOM as REVOCATION
from tenure.runtime.room import ROOM as RUNTIME
from tenure.scim.room import ROOM as SCIM
from tenure.search.room import ROOM as SEARCH
from tenure.secrets.room import ROOM as SECRETS
from tenure.sequences.room import ROOM as SEQUENCES
from tenure.telemetry.room import ROOM as TELEMETRY
from tenure.tools.room import ROOM as TOOLS
from tenure.trust.room import ROOM as TRUST

# Rooms are started in this order and stopped in the reverse, and their consumers take each batch of Events in it:
# what decides calls comes before what only tells of them.
ROOMS: tuple[Room, ...] = (
    REGISTRY,
    IDENTITY,
    REVOCATION,
    TRUST,
    OAUTH,
    SCIM,
    POLICY,
    TOOLS,
    SECRETS,
    APPROVALS,
    DRAFTS,
    PRECEDENTS,
    LIMITS,
    SEQUENCES,
    BREAKER,
    AUTONOMY,
    CORRECTIONS,
    RUNTIME,
    CREDENTIALS,
    OWNERS,
    DISCOVERY,
    GRAPH,
    NOTIFY,
    AUDIT,
    TELEMETRY,
    BEHAVIOUR,
    RETENTION,
    EXPORTS,
    ALERTS,
    EVALUATION,
    ATTRIBUTION,
    COMPARISON,
    FORKS,
    SEARCH,
    PATHS,
)
