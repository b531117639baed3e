"""The wires of model APIs, and which of them a provider speaks by itself."""

from __future__ import annotations

from typing import Literal

Wire = Literal["openai", "anthropic", "gemini"]

# What a manifest or a host may call the provider that speaks a wire; every other provider speaks OpenAI's.
_SPOKEN_BY: dict[str, Wire] = {
    "anthropic": "anthropic",
    **dict.fromkeys(("google", "gemini", "gcp.gemini", "vertex", "gcp.vertex_ai"), "gemini"),
}


def wire_of(provider: str) -> Wire:
    """The wire of a provider's API."""
    return _SPOKEN_BY.get(provider, "openai")
