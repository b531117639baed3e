"""The manifest: what a person declares an agent to be. Its JSON Schema is published from these classes.

Reading one is ``reading.read_manifest``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from tenure.kernel.json import JsonObject
from tenure.kernel.values import Autonomy
from tenure.registry.fields import (
    ASK_BELOW,
    FINGERPRINT,
    HOST,
    LIMITED,
    MODE,
    PREFIX,
    SKILL,
    TOOL,
    Address,
    AskBelow,
    Email,
    Label,
    Level,
    Line,
    Media,
    Mode,
    Money,
    Part,
    Source,
    Text,
    Tokens,
    Trust,
    Variable,
    Zone,
)
from tenure.registry.upstreams import Model

API_VERSION = "tenure/v1"


class Metadata(Part):
    """Who it is."""

    name: Label = Field(description="Name of the agent: lower-case letters, digits and hyphens, at most 63")
    workspace: Label | None = Field(None, description="Workspace; the one you work in when left out")


class Sandbox(Part):
    """What a command may do outside of itself."""

    network: bool = Field(True, description="Whether it reaches the network")
    write: list[Line] = Field(
        default_factory=list,
        max_length=100,
        description="Files and folders that it may write to; paths are relative to cwd. It writes nowhere else but to "
        "a /tmp of its own",
    )


class Server(Part):
    """Where tools are: an upstream MCP server that the gateway starts (``command``) or reaches (``url``), or the
    agent's own process (``in_process``)."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["command"]}, {"required": ["url"]}, {"required": ["in_process"]}]}
    )

    command: list[Line] | None = Field(None, min_length=1, max_length=100, description="Program and its arguments")
    url: Address | None = Field(None, description="Address of a server that speaks streamable HTTP")
    in_process: Literal[True] | None = Field(
        None, description="Its tools run in the agent's own process, which asks the gateway before each call"
    )
    env: dict[Variable, str] = Field(default_factory=dict, description="Plain settings for the command; no secrets")
    env_from: list[Variable] = Field(
        default_factory=list,
        max_length=100,
        description="Variables of the gateway's environment to hand on, if an operator lets them go",
    )
    env_secrets: dict[Variable, Label] = Field(
        default_factory=dict,
        max_length=100,
        description="Secrets of the workspace for the command, by the variable that it reads each from",
    )
    cwd: Line | None = Field(None, description="Folder that the command starts in")
    sandbox: Sandbox | None = Field(None, description="What the command may do outside of itself")
    shared: bool | None = Field(
        None,
        description="Whether agents of a workspace that describe it the same way use one process or session of it; "
        "true when left out. Say false where it keeps from one call to the next what another agent must not meet",
    )
    credential_env: Variable | None = Field(
        None,
        description="Variable of the gateway's environment that holds the bearer token for the address, if an operator "
        "lets it go",
    )
    credential_secret: Label | None = Field(
        None, description="Secret of the workspace that is the bearer token for the address"
    )
    connector: Label | None = Field(
        None,
        description="Connector by which each person lets agents in at the address: their own token is sent for them",
    )
    prefix: Annotated[str, Field(pattern=PREFIX)] | None = Field(
        None,
        description="What the agent sees before the names of its tools and prompts; the server's name and __ when left "
        'out, "" for the names that the server itself gives',
    )
    resources: list[Line] = Field(
        default_factory=list,
        max_length=1_000,
        description="URIs that the agent may read and subscribe to; * stands for anything",
    )
    prompts: list[Line] = Field(
        default_factory=list, max_length=1_000, description="Prompts it may get, by the server's names; there is no *"
    )
    asks: list[Literal["sampling", "elicitation", "roots"]] = Field(
        default_factory=list,
        max_length=3,
        description="What the server may ask of the agent's client during a call: an answer of its model, an answer "
        "of its user, its folders",
    )
    trust: Trust | None = Field(
        None,
        description="Whether what it returns is the organisation's own word; untrusted when left out: others may have "
        "written what is in it (a web page, a mail, a ticket), and policies can keep it out of calls",
    )
    source: Source | None = Field(None, description="Where what it returns comes from; tool when left out")


class Predictor(Part):
    """A predictive model that answers behind a tool, by the name under which its own registry governs it."""

    registry: Line = Field(description="The model registry, as in mlflow or its address")
    name: Line = Field(description="Name of the model there")
    version: Line = Field(description="Its version there: another one is another release of the agent")


class Tool(Part):
    """A granted tool, and how far the agent may go with it alone."""

    name: Annotated[str, Field(pattern=TOOL)] = Field(description="server/tool")
    autonomy: Annotated[Autonomy, Field(strict=False)] = Field(
        Autonomy.AUTONOMOUS,
        description="autonomous, notify (a person is told), approve (a person decides first), human_only",
    )
    fingerprint: Annotated[str, Field(pattern=FINGERPRINT)] | None = Field(
        None,
        description="The one definition under which it may be called, as `tenure tools show` prints it; when left out, "
        "the one that is accepted on the way to production",
    )
    trust: Trust | None = Field(None, description="Whether what it returns is trusted; as its server when left out")
    source: Source | None = Field(
        None, description="Where what it returns comes from; as its server says when left out"
    )
    ask_below: AskBelow = Field(None, description=ASK_BELOW)
    mode: Mode | None = Field(None, description=MODE)
    read_only: bool | None = Field(
        None, description="Whether its calls change nothing; as its accepted definition says (readOnlyHint) if left out"
    )
    predicts_with: Predictor | None = Field(None, description="The predictive model that answers behind it")


class Peer(Part):
    """Another agent that it may call, and how far that agent may go for it."""

    name: Label = Field(description="Name of the agent, here or imported from elsewhere")
    autonomy: Annotated[Autonomy, Field(strict=False)] = Field(
        Autonomy.AUTONOMOUS,
        description="autonomous, notify (a person is told), approve (a person decides first), human_only",
    )
    tools: list[Line] | None = Field(
        None,
        min_length=1,
        max_length=1_000,
        description="Of that agent's own tools, those it may use for this one, as server/tool; * stands for anything, "
        "- for none; all of them when left out",
    )
    agents: list[Line] | None = Field(
        None,
        min_length=1,
        max_length=100,
        description="Agents that it may call in turn for this one; * stands for anything, - for none; all that it may "
        "when left out",
    )
    trust: Trust | None = Field(None, description="Whether what it answers is trusted; untrusted when left out")
    ask_below: AskBelow = Field(None, description=ASK_BELOW)
    mode: Mode | None = Field(None, description=MODE)


class Skill(Part):
    """One thing that it can be asked for."""

    id: Annotated[str, Field(pattern=SKILL)] = Field(description="Its name for programs")
    name: Line = Field(description="Its name for people")
    description: Text = Field(description="What it does")
    tags: list[Line] = Field(min_length=1, max_length=50, description="Words to find it by")
    examples: list[Line] = Field(default_factory=list, max_length=50, description="What one may ask it")
    input_modes: list[Media] = Field(default_factory=list, max_length=50, description="Media types it takes")
    output_modes: list[Media] = Field(default_factory=list, max_length=50, description="Media types it answers with")


class A2a(Part):
    """How other agents reach it: where it serves A2A itself, and what its agent card says."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [{"required": ["url"]}, {"required": ["rest_url"]}]})

    url: Address | None = Field(None, description="Where it serves JSON-RPC")
    rest_url: Address | None = Field(None, description="Where it serves HTTP+JSON, without /message:send and the like")
    protocol: Literal["1.0", "0.3"] = Field("1.0", description="Version of A2A that it speaks")
    credential_env: Variable | None = Field(
        None,
        description="Variable of the gateway's environment that holds the bearer token it asks of the gateway, if an "
        "operator lets it go",
    )
    credential_secret: Label | None = Field(
        None, description="Secret of the workspace that is the bearer token it asks of the gateway"
    )
    version: Line = Field("1", description="Version of the agent, for those who call it")
    skills: list[Skill] = Field(min_length=1, max_length=200, description="What it can be asked for")
    input_modes: list[Media] = Field(default_factory=list, max_length=50, description="Media types; text/plain if none")
    output_modes: list[Media] = Field(
        default_factory=list, max_length=50, description="Media types; text/plain if none"
    )
    streaming: bool = Field(False, description="Whether it answers in streams")
    push_notifications: bool = Field(False, description="Whether it sends push notifications")
    extended_card: bool = Field(False, description="Whether it shows a longer card to those who call it")


class Risk(Part):
    """Four dimensions, each 1 (least) to 4. The tier is the highest: a high dimension is not averaged away."""

    data_sensitivity: Level = Field(description="1 public, 2 internal, 3 confidential, 4 regulated or personal")
    decision_authority: Level = Field(description="1 drafts, 2 recommends, 3 acts reversibly, 4 acts irreversibly")
    blast_radius: Level = Field(description="1 one task, 2 one team, 3 the company, 4 customers or the public")
    regulatory_exposure: Level = Field(description="1 none, 2 internal rules, 3 contracts or audits, 4 law")


class Budgets(Part):
    """What it may use up."""

    usd_per_day: Money | None = Field(None, description="US dollars a day, in whole cents")
    calls_per_hour: Annotated[int, Field(ge=0, le=1_000_000_000)] | None = Field(None, description="Calls an hour")
    tokens_per_day: Tokens | None = Field(None, description="Tokens a day")


class Limit(Part):
    """At most so much in a window of time; what is over it is refused until there is room again."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": [name]} for name in LIMITED]})

    calls: Annotated[int, Field(ge=0, le=1_000_000_000)] | None = Field(None, description="Calls of any kind")
    tokens: Tokens | None = Field(None, description="Tokens of models, those that go in and those that come out")
    input_tokens: Tokens | None = Field(None, description="Tokens that go into models")
    output_tokens: Tokens | None = Field(None, description="Tokens that come out of models")
    usd: Money | None = Field(None, description="US dollars that models cost, in whole cents")
    per: Literal["minute", "hour", "day", "month"] = Field(description="How long the window is")
    each: Literal["agent", "person", "chain", "tool", "model"] = Field(
        "agent",
        description="Whose account is charged: the agent's own, or one for each person it works for, each chain of "
        "delegation, each tool or each model",
    )
    only: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        None, description="Only this one of them (a * stands for any letters), as in crm/refund"
    )
    sliding: bool = Field(False, description="Any such stretch of time instead of the calendar's own")
    zone: Zone = Field("UTC", description="Time zone in which days and months begin, as in Europe/Berlin")

    @model_validator(mode="after")
    def _counts_one_thing(self) -> Limit:
        counted = [name for name in LIMITED if getattr(self, name) is not None]
        if len(counted) != 1:
            raise PydanticCustomError("limit", f"must name exactly one of {', '.join(LIMITED)}")
        if self.each == "tool" and counted != ["calls"]:
            raise PydanticCustomError("limit", "a tool has calls only; tokens and dollars are used up by models")
        return self


class Breaker(Part):
    """So many violations within so many seconds block every further call."""

    threshold: Annotated[int, Field(ge=1, le=10_000)] = Field(5, description="Violations that trip it")
    window_s: Annotated[int, Field(ge=1, le=86_400)] = Field(300, description="Seconds they must fall into")


class Approvals(Part):
    """When a call waits for a person, and how long."""

    hold_timeout_s: Annotated[int, Field(ge=0, le=86_400)] = Field(300, description="Seconds a held call waits")
    ask_below: AskBelow = Field(None, description=ASK_BELOW + ", for all of its tools and the agents it calls")


class Process(Part):
    """How its processes are started."""

    confined: bool = Field(
        False,
        description="Whether its processes may run only where they reach the gateway and nothing else "
        "(`tenure run --confine`)",
    )
    task: bool | None = Field(
        None,
        description="Whether it is made for one task: when what runs as it has ended, its credentials are revoked and "
        "it is retired",
    )


class Dependency(Part):
    """What it cannot work without: another agent here, or a system elsewhere; exactly one of them."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["agent"]}, {"required": ["system"]}]})

    agent: Label | None = Field(None, description="Name of an agent in the same workspace")
    system: Line | None = Field(None, description="Name of anything else")


class Spec(Part):
    """What it is for, who answers for it, and all that decides how it behaves."""

    purpose: Text = Field(description="What it is for, in a sentence or two")
    goals: list[Text] = Field(default_factory=list, max_length=100, description="What it is to achieve")
    constraints: list[Text] = Field(default_factory=list, max_length=100, description="What it must not do")
    owner: Email = Field(description="Who answers for it")
    sponsor: Email = Field(description="Who wanted it and pays for it")
    framework: Line = Field(description="What it is built with, as in openai, pydantic-ai, langgraph")
    model: Model = Field(description="The model it thinks with")
    models: list[Model] = Field(default_factory=list, max_length=50, description="Further models it may ask for")
    instructions: Annotated[str, Field(min_length=1, max_length=200_000)] = Field(description="Its system prompt")
    servers: dict[Label, Server] = Field(default_factory=dict, max_length=100, description="MCP servers by name")
    autonomy: Annotated[Autonomy, Field(strict=False)] | None = Field(
        None,
        description="The least oversight of its tools and of its calls of other agents; of this, the tool's own level "
        "and the workspace's, the strictest is in force",
    )
    mode: Mode | None = Field(None, description=MODE + "; for all of its tools and the agents it calls")
    tools: list[Tool] = Field(
        default_factory=list, max_length=1_000, description="Tools it is granted; no others exist"
    )
    agents: list[Peer] = Field(default_factory=list, max_length=200, description="Other agents that it may call")
    callbacks: list[Annotated[str, Field(pattern=HOST)]] = Field(
        default_factory=list,
        max_length=50,
        description="Hosts, with the port if it is not the usual one, where it takes notifications of agents it called",
    )
    a2a: A2a | None = Field(None, description="How other agents reach it over A2A; they cannot when left out")
    data_classes: list[Label] = Field(default_factory=list, max_length=100, description="Data it may meet")
    risk: Risk = Field(description="Where it can do harm")
    budgets: Budgets = Field(default_factory=Budgets, description="What it may use up")
    limits: list[Limit] = Field(
        default_factory=list, max_length=50, description="Further limits, for other windows and other accounts"
    )
    breaker: Breaker = Field(default_factory=Breaker, description="When it is stopped")
    approvals: Approvals = Field(default_factory=Approvals, description="How held calls wait")
    dependants: Literal["tell", "hold", "allow"] | None = Field(
        None,
        description="While it is stopped, agents that call it are held (calls are refused, and why is said; so when "
        "left out), told (calls pass, and owners are told) or let through",
    )
    process: Process | None = Field(None, description="How its processes are started")
    dependencies: list[Dependency] = Field(default_factory=list, max_length=100, description="What it relies on")


class Manifest(Part):
    """An agent, declared."""

    model_config = ConfigDict(
        title="Tenure agent", json_schema_extra={"$schema": "https://json-schema.org/draft/2020-12/schema"}
    )

    api_version: Literal["tenure/v1"] = Field(alias="apiVersion")
    kind: Literal["Agent"]
    metadata: Metadata
    spec: Spec

    def as_json(self) -> JsonObject:
        """The one spelling of this manifest: defaults written out, nothing empty. Reads back as an equal manifest."""
        found: JsonObject = _compact(self.model_dump(mode="json", by_alias=True))
        return found


def manifest_schema() -> JsonObject:
    """The published JSON Schema (2020-12) of a manifest."""
    return Manifest.model_json_schema(by_alias=True)


def _compact(value: Any) -> Any:
    if isinstance(value, dict):
        small = {key: _compact(item) for key, item in value.items() if item is not None}
        return {key: item for key, item in small.items() if item not in ({}, [])}
    return [_compact(item) for item in value] if isinstance(value, list) else value
