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


_HOSTS = {  # host suffix -> well-known value of gen_ai.provider.name
    "api.openai.com": "openai",
    "openai.azure.com": "azure.ai.openai",
    "api.anthropic.com": "anthropic",
    "api.mistral.ai": "mistral_ai",
    "api.deepseek.com": "deepseek",
    "api.groq.com": "groq",
    "api.x.ai": "x_ai",
    "api.perplexity.ai": "perplexity",
    "api.cohere.com": "cohere",
    "generativelanguage.googleapis.com": "gcp.gemini",
    "aiplatform.googleapis.com": "gcp.vertex_ai",
    "amazonaws.com": "aws.bedrock",
}


def provider_at(host: str) -> str | None:
    """The provider whose API is at a host, None where that is not known."""
    return next((name for suffix, name in _HOSTS.items() if host == suffix or host.endswith("." + suffix)), None)
