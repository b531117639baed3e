"""The models of a manifest: which ones the agent may ask for, where they are, and how long they may take."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from tenure.kernel.wires import Wire, wire_of
from tenure.registry.fields import ASK_BELOW, Address, AskBelow, Label, Line, Part, Seconds, Variable

DEFAULT_URL = {
    "openai": "https://api.openai.com/v1",
    "anthropic": "https://api.anthropic.com/v1",
    "google": "https://generativelanguage.googleapis.com/v1beta",
    "ollama": "http://127.0.0.1:11434/v1",
}


class Timeouts(Part):
    """How long an answer may take; what is left out is as long as the gateway grants to any model."""

    connect_s: Seconds | None = Field(None, description="Seconds until its upstream accepts the connection")
    first_byte_s: Seconds | None = Field(None, description="Seconds until the answer begins")
    idle_s: Seconds | None = Field(None, description="Seconds that a begun answer may pause")
    total_s: Seconds | None = Field(None, description="Seconds until the answer is whole, however it comes")


class Concurrency(Part):
    """How many calls one gateway has under way at the upstream at once: those of all agents with such a limit for it
    are counted together."""

    calls: Annotated[int, Field(ge=1, le=100_000)] = Field(description="Calls at once; further ones wait")
    queue: Annotated[int, Field(ge=0, le=100_000)] = Field(100, description="Calls that may wait; 0 to wait for none")
    wait_s: Seconds = Field(10.0, description="Seconds that a call waits at most")


class Model(Part):
    """A model the agent may ask for, and the address of the model API that serves it."""

    # The address of a provider that has a known one is filled in before this class sees it.
    model_config = ConfigDict(json_schema_extra={"required": ["provider", "name"]})

    provider: Label = Field(description="Who serves it, as in openai, anthropic or google")
    name: Line = Field(description="Name of the model, as the provider spells it")
    base_url: Address = Field(
        description="Address up to and including the version, as in /v1; known for: " + ", ".join(DEFAULT_URL)
    )
    credential_env: Variable | None = Field(
        None,
        description="Variable of the gateway's environment that holds the provider's key, if an operator lets it go",
    )
    credential_secret: Label | None = Field(None, description="Secret of the workspace that is the provider's key")
    alias: Line | None = Field(
        None, description="What the agent asks for, as in fast; the gateway puts the model's name in its place"
    )
    wire: Wire | None = Field(
        None, description="API that its upstream speaks: openai, anthropic or gemini; the provider's when left out"
    )
    fallbacks: list[Line] = Field(
        default_factory=list,
        max_length=10,
        description="Others of this agent's models, by alias or name, of the same wire: tried in this order when it "
        "cannot be reached, is silent, overloaded (429) or fails (5xx), before any of an answer has reached the agent",
    )
    timeouts: Timeouts | None = Field(None, description="How long an answer may take")
    concurrency: Concurrency | None = Field(None, description="How many calls its upstream gets at once")
    ask_below: AskBelow = Field(None, description=ASK_BELOW)

    @property
    def asked(self) -> str:
        """The name that the agent asks for it by."""
        return self.alias or self.name

    @property
    def spoken(self) -> Wire:
        """The wire that its upstream speaks."""
        return self.wire or wire_of(self.provider)
