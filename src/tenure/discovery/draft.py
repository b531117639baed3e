"""The manifest that a finding comes to, as far as it is known. Pure.

What is not known is left for a person to say: the draft is a request that an approver looks at, not a registration.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from tenure.discovery.model import Evidence, Finding
from tenure.kernel.clients import name_of
from tenure.kernel.json import Json, JsonObject

_MODELS = {"openai": "gpt-4o", "anthropic": "claude-sonnet-4-5", "google": "gemini-2.5-pro", "ollama": "llama3.2"}
_PROVIDERS = {
    "openai": "openai", "azureopenai": "openai", "anthropic": "anthropic", "anthropic-ai-sdk": "anthropic",
    "google-genai-sdk": "google", "google": "google", "google-generativeai": "google", "gemini": "google",
    "genai-py": "google", "ollama": "ollama", "ollama-python": "ollama",
}  # fmt: skip
_LABEL = re.compile(r"[^a-z0-9-]+")
_MOST_SERVERS = 100


def label(text: str, otherwise: str = "found-agent") -> str:
    """``text`` as a manifest's name."""
    return _LABEL.sub("-", name_of(text)).strip("-")[:63].strip("-") or otherwise


def draft(finding: Finding, evidence: Iterable[Evidence], owner: str) -> JsonObject:
    """The manifest: what the evidence says, and the highest risk until somebody has looked."""
    found = list(evidence)
    hints = [one.hints for one in found]
    provider = next((_PROVIDERS[str(h["provider"])] for h in hints if h.get("provider") in _PROVIDERS), "openai")
    model = next((str(h["model"]) for h in hints if h.get("model")), _MODELS[provider])
    framework = next((str(h["framework"]) for h in hints if h.get("framework")), "unknown")
    servers: dict[str, JsonObject] = {}
    for one in hints:
        given = one.get("servers")
        for name, server in given.items() if isinstance(given, Mapping) else ():
            if isinstance(server, Mapping) and len(servers) < _MOST_SERVERS:
                servers[label(str(name), f"server-{len(servers) + 1}")] = dict(server)
    places = "; ".join(dict.fromkeys(f"{one.channel}: {one.where}" for one in found))
    spec: dict[str, Json] = {
        "purpose": f"Found at work without a registration ({places})"[:500],
        "owner": owner,
        "sponsor": owner,
        "framework": framework,
        "model": {"provider": provider, "name": model},
        "instructions": "Not known yet: put its system prompt here.",
        "risk": {"data_sensitivity": 4, "decision_authority": 4, "blast_radius": 4, "regulatory_exposure": 4},
    }
    if servers:
        spec["servers"] = servers
    return {"apiVersion": "tenure/v1", "kind": "Agent", "metadata": {"name": label(finding.name)}, "spec": spec}


def overlaid(manifest: JsonObject, given: JsonObject) -> JsonObject:
    """The draft with what a person said in its place: ``name`` of the agent, and any field of its ``spec``."""
    spec = {**manifest["spec"], **{name: value for name, value in given.items() if name != "name" and value}}
    metadata = {"name": str(given["name"])} if given.get("name") else manifest["metadata"]
    return {**manifest, "metadata": metadata, "spec": spec}
