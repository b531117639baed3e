"""What gateways and telemetry tell, as sightings. Pure.

What is told of a client is what it says of itself. Of a stranger there is no more; of a registered agent, what else
works with its credential.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from tenure.discovery.model import Channel, Sighting, name_mark
from tenure.kernel.clients import (
    FRAMEWORKS,
    GENERIC,
    PEOPLE_AND_PROBES,
    SDKS,
    name_of,
    own_name,
    products,
    telling,
)
from tenure.telemetry.model import Introduced, Spoken, Stranger, UnknownPeer

_UNKNOWN = frozenset(
    {"no_token", "token_malformed", "token_bad_signature", "token_unknown_key", "token_wrong_issuer", "client_blocked"}
)
"""Refusals of who is no agent of this installation. The others are about agents that are: a request that cannot be
read, or a token that has expired, where it is not shown again and again."""
_ASKS = ("/chat/completions", "/responses", "/messages", ":generatecontent", ":streamgeneratecontent", "/completions")
_LISTS = ("/embeddings", "/models", "/count_tokens", ":embedcontent", "/moderations")
_OFTEN = 5
_FOR_LONG = 20
"""Requests of a day with an expired token from which it is no agent that is about to fetch a newer one."""
ASSISTANTS = frozenset(
    {"claude-code", "claude-ai", "claude-desktop", "cursor", "cursor-vscode", "windsurf", "windsurf-client", "codex"}
    | {"codex-mcp-client", "cline", "roo-code", "continue", "continue-client", "visual-studio-code", "vscode", "zed"}
    | {"goose", "gemini-cli", "gemini-cli-mcp-client", "librechat", "chatgpt", "copilot", "github-copilot-developer"}
    | {"opencode", "lm-studio", "amazon-q", "kiro", "warp", "raycast", "jetbrains", "openai-mcp", "anysphere"}
)
"""Names by which assistants of people introduce themselves as MCP clients."""
_CLIENT_LIBRARIES = frozenset(
    {"mcp", "mcp-client", "mcp-client-python", "mcp-python-client", "fastmcp", "fastmcp-client", "client", "python-sdk"}
    | {"typescript-sdk", "example-client", "langchain-mcp-adapters", "openai-agents-mcp", "openai-agents", "mcp-use"}
    | {"mcp-adapter", "strands-agents", "spring-ai-mcp-client", "rmcp", "go-sdk", "mastra", "llama-index-mcp"}
)
_INSPECTORS = frozenset(
    {"mcp-inspector", "inspector", "inspector-client", "mcp-cli", "mcp-inspector-client", "mcptools"}
)


@dataclass(frozen=True, slots=True)
class Known:
    """What is registered in a workspace, as names are compared. ``alive``: agents here and elsewhere; ``frameworks``:
    by agent."""

    alive: frozenset[str] = frozenset()
    frameworks: Mapping[str, str] = field(default_factory=dict)


def stranger(one: Stranger) -> Sighting | None:
    """Requests that nobody's credential came with, as a sighting; None for what is not worth one."""
    expired = one.error == "token_expired" and one.lately >= _FOR_LONG
    if one.error not in _UNKNOWN and not expired:
        return None
    named = products(one.user_agent)
    own = own_name(one.user_agent) or _own(one.title) or _own(one.client)
    channel, asked = _asked(one)
    found = [*_client_signs(named, own, one), *asked, *(["expired-credential"] if expired else [])]
    if not found:
        return None
    client = name_of(one.client)
    marks = [*name_mark(own), *((f"key:{one.key}",) if one.key else ())]
    if not marks:
        marks = [f"caller:{quote('+'.join(named) or 'nobody')}@{one.address}"]
    said = one.client or one.user_agent or "nothing"
    return Sighting(
        channel=channel,
        name=own or f"{next(iter(named), 'A client')} at {one.address or 'an unknown address'}",
        where=one.address or "an unknown address",
        what=f"{one.method} {one.path[:120]}, refused ({one.error}); it says it is {said[:150]}",
        marks=tuple(marks),
        signs=tuple(found),
        at=one.last,
        count=max(1, one.count),
        hints=_hints(named) | {"client": client if telling(client) and client not in GENERIC else own},
    )


def _client_signs(named: Collection[str], own: str, one: Stranger) -> list[str]:
    """What a stranger says of itself."""
    found = []
    if FRAMEWORKS.intersection(named):
        found.append("agent-framework")
    elif SDKS.intersection(named):
        found.append("llm-sdk")
    found += ["own-name"] if own else []
    found += ["own-key"] if one.key else []
    found += ["comes-again"] if one.lately >= _OFTEN else []
    curious = PEOPLE_AND_PROBES.intersection(named) or name_of(one.client) in _INSPECTORS
    return [*found, "person-or-probe"] if curious else found


def _asked(one: Stranger) -> tuple[Channel, list[str]]:
    """By which channel a stranger came, and what it wanted."""
    path = one.path.lower()
    if path.startswith("/mcp"):
        return Channel.MCP, ["mcp-session"] if one.client else []
    if path.startswith("/otlp"):
        return Channel.OTLP, ["sends-telemetry"]
    if path.startswith("/a2a"):
        return Channel.A2A, ["a2a-call"] if one.method == "POST" else []
    if one.method == "POST" and path.endswith(_ASKS):
        return Channel.GATEWAY, ["model-call"]
    lists = path.endswith(_LISTS) or (one.method == "GET" and path.startswith("/v1"))
    return Channel.GATEWAY, ["embeddings-only"] if lists else []


def _own(text: str) -> str:
    plain = name_of(text)
    generic = plain in GENERIC or plain in _CLIENT_LIBRARIES or plain in _INSPECTORS
    return plain if telling(plain) and not generic else ""


def _hints(named: Collection[str]) -> dict[str, str]:
    framework = next((one for one in named if one in FRAMEWORKS), "")
    provider = next((one.removeprefix("async") for one in named if one in SDKS), "")
    return {name: value for name, value in (("framework", framework), ("provider", provider)) if value}


def introduced(one: Introduced, known: Known) -> Sighting | None:
    """An MCP client that came with a registered agent's credential; None where it may well be that agent."""
    client, agent = name_of(one.client), name_of(one.agent)
    framework = name_of(known.frameworks.get(agent, ""))
    itself = client in (agent, framework) or (framework and client.startswith(f"{framework}-"))
    if itself or client in _CLIENT_LIBRARIES or client in known.alive or not telling(client):
        return None
    found = ["assistant-client" if client in ASSISTANTS else "unknown-client"]
    found += ["person-or-probe"] if client in _INSPECTORS else []
    assistant = client in ASSISTANTS
    marks = (f"client:{client}@{agent}",) if assistant else name_mark(one.client)
    return Sighting(
        channel=Channel.MCP,
        name=f"{one.client} as {one.agent}" if assistant else one.client,
        where=f"the credential of agent {one.agent}",
        what=f"MCP client {one.client} {one.version}".strip(),
        marks=marks,
        signs=tuple(found),
        at=one.last,
        count=max(1, one.count),
        hints={"client": client, "as": one.agent},
    )


def spoken(one: Spoken, known: Known) -> Sighting | None:
    """Spans of a service or an agent that no manifest names; None for what is registered or says no name."""
    sender, service, agent = name_of(one.agent), name_of(one.service), name_of(one.name)
    strange_service = telling(service) and service != sender and service not in known.alive
    strange_agent = telling(agent) and agent not in (sender, service) and agent not in known.alive
    if strange_service:
        found = ["genai-service", *(["genai-agent"] if strange_agent else [])]
        name = one.name if strange_agent else one.service
        marks = [*name_mark(one.service), *(name_mark(one.name) if strange_agent else ())]
    elif strange_agent:
        found, name, marks = ["inner-agent"], one.name, [*name_mark(one.name)]
    else:
        return None
    told = ", ".join(
        f"{word} {value}" for word, value in (("service.name", one.service), ("gen_ai.agent.name", one.name)) if value
    )
    return Sighting(
        channel=Channel.OTLP,
        name=name,
        where=f"the credential of agent {one.agent}",
        what=f"spans with {told}",
        marks=tuple(marks),
        signs=tuple(found),
        at=one.last,
        count=max(1, one.count),
        hints={"as": one.agent},
    )


def peer(one: UnknownPeer, known: Known) -> Sighting | None:
    """An agent that a registered one tried to call, and that nobody registered or imported."""
    if name_of(one.name) in known.alive or not telling(name_of(one.name)):
        return None
    return Sighting(
        channel=Channel.A2A,
        name=one.name,
        where=f"called by agent {one.agent}",
        what=f"{one.agent} tried to call {one.name[:200]} over A2A",
        marks=name_mark(one.name),
        signs=("unknown-peer",),
        at=one.last,
        count=max(1, one.count),
        hints={"as": one.agent},
    )
