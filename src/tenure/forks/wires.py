"""A conversation in the shape of the GenAI conventions as the request of a model API. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tenure.forks.dialects import anthropic, gemini, openai, responses
from tenure.forks.dialects.parts import Asked, Request, Tool

__all__ = ["Asked", "Request", "Tool", "request"]

_SPOKEN: Mapping[str, Callable[[Asked], Request]] = {
    "openai": openai.request,
    "responses": responses.request,
    "anthropic": anthropic.request,
    "gemini": gemini.request,
}


def request(wire: str, asked: Asked) -> Request:
    """One request over a wire. OpenAI has two APIs: what was recorded over one of them is said over the same. Raises
    Refused (422), with its place, for what cannot be said over it."""
    api = "responses" if wire == "openai" and asked.api == "responses" else wire
    return _SPOKEN[api](asked)
