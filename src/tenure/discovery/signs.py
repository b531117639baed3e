"""The table of signs: what speaks for an agent, how much, and what speaks against. Pure.

A sign that speaks for an agent has a weight: the share of programs with this sign, and no other, that are agents, as a
judgement and not a measurement. Signs are taken as independent: confidence is one minus the product of what each leaves
open. A sign that speaks against bounds what all others together may come to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod

SURE_ENOUGH = 50
"""Percent from which a sighting is a finding. What is below is not kept."""

SIGNS: Mapping[str, tuple[int, str]] = {
    # what was sent to the gateway
    "llm-sdk": (50, "it speaks through the client library of a model provider"),
    "agent-framework": (75, "it names itself as an agent framework does"),
    "model-call": (25, "it asked a model to answer"),
    "own-name": (25, "its User-Agent names a program of its own"),
    "comes-again": (25, "it keeps coming"),
    "own-key": (20, "it showed a key that nobody here gave out"),
    "mcp-session": (60, "it opened an MCP session"),
    "a2a-call": (60, "it called an agent over A2A"),
    "expired-credential": (60, "it goes on with a credential of an agent here that has expired"),
    # telemetry
    "sends-telemetry": (40, "it sends telemetry of agents without a credential that counts"),
    "genai-service": (60, "a service that no manifest names sends spans of model calls"),
    "genai-agent": (70, "its spans name an agent that no manifest names"),
    "inner-agent": (35, "its spans name an agent inside a registered one"),
    "assistant-client": (75, "a person's assistant works with an agent's credential"),
    "unknown-client": (55, "an MCP client that no manifest names works with an agent's credential"),
    "unknown-peer": (55, "a registered agent tried to call it, and nobody registered it"),
    "agent-card": (85, "it serves an agent card"),
    # machines
    "agent-program": (85, "it is a program that is an agent"),
    "provider-key-name": (35, "its environment has a variable for a model provider's key"),
    "tracing-name": (20, "its environment is set up for the tracing of agents"),
    "agent-word": (40, "its name has a word for an agent in it"),
    "assistant-with-tools": (85, "an assistant of a person is set up with MCP servers"),
    # source
    "builds-agent": (80, "its source builds an agent with a framework"),
    "imports-framework": (35, "its source imports an agent framework"),
    "handmade-loop": (75, "its source gives a model tools, in a loop"),
    "gives-tools": (45, "its source gives a model tools"),
    "asks-model": (15, "its source asks a model"),
    "system-prompt": (15, "its source holds a system prompt"),
    "provider-key": (25, "its source holds a model provider's key"),
    "uses-mcp": (30, "its source uses tools over MCP"),
    "serves-mcp": (15, "its source offers tools over MCP"),
    # what it was
    "was-retired": (60, "an agent of this name was retired or turned down"),
}
"""Code -> weight in percent, and what it means."""

BOUNDS: Mapping[str, tuple[int, str]] = {
    "person-or-probe": (35, "people and probes send this, not programs of their own"),
    "test-code": (30, "it is code of a test or an example"),
    "test-run": (30, "it is a run of tests"),
    "machinery": (20, "it is known to be no agent of a model"),
    "model-server": (30, "it serves models and acts on nothing"),
    "embeddings-only": (40, "it asked for embeddings or for a list only"),
}
"""Code -> the most that confidence may be, and why."""


def confidence(signs: Iterable[str]) -> int:
    """Percent that this is an agent."""
    found = set(signs)
    percent = 100 * (1 - prod(1 - SIGNS[sign][0] / 100 for sign in found if sign in SIGNS))
    return round(min([percent, *(BOUNDS[sign][0] for sign in found if sign in BOUNDS)]))


def reason(signs: Iterable[str]) -> str:
    """Why confidence is what it is, the weightiest first."""
    found = set(signs)
    for_it = sorted((sign for sign in found if sign in SIGNS), key=lambda sign: (-SIGNS[sign][0], sign))
    against = sorted(sign for sign in found if sign in BOUNDS)
    words = "; ".join(SIGNS[sign][1] for sign in for_it)
    limits = "; ".join(BOUNDS[sign][1] for sign in against)
    return f"{words}; but {limits}" if words and limits else words or limits


def known(signs: Iterable[str]) -> tuple[str, ...]:
    """Those that there are, each once, in the order of the table."""
    found = set(signs)
    return tuple(sign for sign in (*SIGNS, *BOUNDS) if sign in found)
