"""Every target by its name: what takes any bytes and asserts what must hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tests.fuzz import agents, directories, documents, http, models, scans, sequences

TARGETS: Mapping[str, Callable[[bytes], None]] = {
    **{name: models.target(name) for name in models.NAMES},
    "a2a": agents.messages,
    "mcp": documents.mcp_message,
    "scan": scans.scan,
    "server": http.server,
    "upstream": http.upstream,
    "arguments": documents.policy_arguments,
    "manifest": documents.manifest,
    "otlp": documents.otlp_request,
    "scim": directories.users,
    "sequences": sequences.rules,
}
