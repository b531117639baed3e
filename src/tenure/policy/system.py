"""The rules that no policy file can override, by the ids that Decisions name them with."""

from __future__ import annotations

from collections.abc import Mapping

STALE, UNKNOWN_AGENT, LIFECYCLE = "system/stale-snapshot", "system/unknown-agent", "system/lifecycle"
CREDENTIAL, BREAKER, GRANT = "system/credential", "system/breaker", "system/grant"
TOOL_DISABLED, TOOL_CHANGED = "system/tool-disabled", "system/tool-changed"
DELEGATION, DELEGATION_ENDED = "system/delegation", "system/delegation-ended"
PERSON = "system/person"
NO_POLICY, ARGUMENTS, POLICY_ERROR = "system/no-policy", "system/arguments", "system/policy-error"
DEFAULT_DENY, LIMIT, HISTORY = "system/default-deny", "system/limit", "system/history"
NOTIFY, APPROVE, HUMAN_ONLY = "system/notify", "system/approve", "system/human-only"
CONFIDENCE = "system/confidence"
MODE = "system/mode"
DEPENDENCY = "system/dependency"
JUSTIFICATION = "system/justification"
SYSTEM_RULES: Mapping[str, str] = {
    STALE: "The gateway has heard nothing from the control plane for too long",
    UNKNOWN_AGENT: "The agent is not in the Snapshot",
    LIFECYCLE: "Only an agent in staging, production or draining may act",
    CREDENTIAL: "The credential was revoked: its epoch is over, or what it names",
    BREAKER: "The agent's breaker is tripped",
    GRANT: "The model, tool, resource, prompt or agent is not granted in the agent's manifest",
    TOOL_DISABLED: "The tool, or all of its server, is switched off",
    TOOL_CHANGED: "The tool's definition is not the one that was accepted",
    DELEGATION: "An agent that handed the work on, or the task, does not let it go as far as this call",
    DELEGATION_ENDED: "An agent that handed the work on may not act any more, or its statement does not hold",
    PERSON: "The person that the agent works for does not reach this, or has no place here any more",
    NO_POLICY: "The workspace has no valid policies",
    ARGUMENTS: "A policy reads an argument that the call gives in another type",
    POLICY_ERROR: "A policy failed while it was asked",
    DEFAULT_DENY: "No policy permits the call",
    LIMIT: "A rate limit or a budget has no room for the call",
    DEPENDENCY: "The agent that is called is stopped, and holds those who depend on it",
    HISTORY: "A sequence rule is about the call, and what its session did before could not be had or kept",
    NOTIFY: "The level of oversight is notify: the call passes, and people are told",
    APPROVE: "The level of oversight is approve: the call waits for a person",
    CONFIDENCE: "The agent states less confidence than it may go on with: it asks a person for guidance",
    MODE: "The manifest has such calls drafted or simulated instead of made",
    HUMAN_ONLY: "The level of oversight is human_only: a person does this, and no agent",
    JUSTIFICATION: "A policy wants to be told what the call is for",
}
"""Every id a Decision can name that is not in a policy file."""
SET_ASIDE = frozenset({HUMAN_ONLY, JUSTIFICATION})
"""Refusals of calls that policies let through, but not like this: a person is to make them, or the agent is to say what
they are for."""
NOT_VIOLATIONS = SET_ASIDE | {
    *(STALE, UNKNOWN_AGENT, LIFECYCLE, CREDENTIAL, BREAKER, TOOL_DISABLED, TOOL_CHANGED, DELEGATION_ENDED, NO_POLICY),
    *(POLICY_ERROR, LIMIT, HISTORY, DEPENDENCY),
    PERSON,  # else one person who is limited could trip an agent that works for many
}
"""Refusals that say nothing about the agent's conduct and so never count toward its breaker."""
