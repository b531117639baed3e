"""The Snapshot: all facts that the gateway decides from, versioned and immutable.

The control plane pushes one whole Snapshot to a gateway that connects and a Delta for every change after it. A fact
is replaced as a whole or removed, never patched inside, so that applying a Delta cannot half succeed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime

from tenure.kernel.budgets import LeaseFact, LimitFact, PriceFact
from tenure.kernel.changes import changed, merged
from tenure.kernel.drafts import DraftFact
from tenure.kernel.fingerprint import Fingerprint
from tenure.kernel.histories import HistoryFact
from tenure.kernel.json import JsonObject, digest
from tenure.kernel.revoked import RevokedFact
from tenure.kernel.values import Autonomy, LifecycleState


@dataclass(frozen=True, slots=True)
class Upstream:
    """A model provider. ``credential_env`` names a variable of the *gateway's* environment, ``credential_secret`` a
    secret of the workspace: the key itself never enters a Snapshot."""

    base_url: str
    credential_env: str | None = None
    credential_secret: str = ""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a model's upstream may take, in seconds; 0 for as long as the gateway grants to any."""

    connect_s: float = 0.0
    first_byte_s: float = 0.0
    idle_s: float = 0.0
    total_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Concurrency:
    """``calls`` at once to one upstream; ``queue`` further ones wait, each at most ``wait_s`` seconds."""

    calls: int
    queue: int = 100
    wait_s: float = 10.0


@dataclass(frozen=True, slots=True)
class ModelFact:
    """A model the agent may ask for, and the upstream that serves it. ``name`` is the provider's, and the resource that
    policies speak of; ``asked`` is what the agent calls it. ``provider`` is what the manifest calls it, ``wire`` which
    API it speaks (empty: its provider's). ``fallbacks`` are ``asked`` of others, in the order to try them. ``price`` is
    known where a limit in dollars is about it; ``ask_below`` as of ``ToolFact``."""

    name: str
    upstream: Upstream
    provider: str = ""
    alias: str = ""
    wire: str = ""
    fallbacks: tuple[str, ...] = ()
    timeouts: Timeouts = Timeouts()
    concurrency: Concurrency | None = None
    price: PriceFact | None = None
    ask_below: int = 0

    @property
    def asked(self) -> str:
        """The name that the agent asks for it by."""
        return self.alias or self.name


@dataclass(frozen=True, slots=True)
class ServerFact:
    """An upstream MCP server: ``command`` for stdio or ``url`` for streamable HTTP, exactly one of them.

    ``env`` holds plain settings; ``env_from`` names variables of the gateway's environment to hand on, ``env_secrets``
    the secret for each of its variables that holds one. An address is sent the variable ``credential_env``, the secret
    ``credential_secret``, or the token by which the person worked for has let agents in (``connector``). ``prefix`` is
    put before the names of its tools and prompts (None: ``<name>__``). Granted besides tools: ``resources`` (patterns
    of URIs), ``prompts`` (names) and ``asks`` (what it may ask of the agent's client: sampling, elicitation, roots).
    ``off``: all of it is switched off, and why; empty while it is on.
    A command runs in a sandbox with or without the ``network``, and may ``write`` to these paths, relative to ``cwd``.
    Agents whose manifests describe the same server use one, unless it is not ``shared``. ``in_process``: there is no
    server, its tools run in the agent's own process. ``trust`` and ``source`` are of what it returns, where its tool
    does not say; empty for untrusted, and for ``tool``.
    """

    name: str
    command: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    env_from: tuple[str, ...] = ()
    cwd: str | None = None
    url: str | None = None
    credential_env: str | None = None
    prefix: str | None = None
    resources: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    asks: tuple[str, ...] = ()
    off: str = ""
    network: bool = True
    write: tuple[str, ...] = ()
    shared: bool = True
    in_process: bool = False
    credential_secret: str = ""
    env_secrets: Mapping[str, str] = field(default_factory=dict)
    connector: str = ""
    trust: str = ""
    source: str = ""

    @property
    def place(self) -> tuple[str, ...]:
        """What makes two descriptions, in whatever manifests and under whatever names, the same server."""
        return (self.url,) if self.url else (*self.command, self.cwd or "", *map("=".join, sorted(self.env.items())))


@dataclass(frozen=True, slots=True)
class ToolFact:
    """A granted tool. Its resource name is ``<server>/<name>``; agents see it as ``<server>__<name>``. ``off``: it is
    switched off, and why; empty while it is on. ``pin``: the one definition under which it may be called, None while
    none was accepted. ``seen``: the digest of another one, which a person has not accepted. ``ask_below``: percent of
    stated confidence below which a person is asked. ``mode``: draft or simulate, what becomes of its calls instead of
    being made (``kernel.drafts``), unless they change nothing; ``reads``: whether its manifest
    says that they do not, None where it does not say."""

    server: str
    name: str
    autonomy: Autonomy = Autonomy.AUTONOMOUS
    off: str = ""
    pin: Fingerprint | None = None
    seen: str = ""
    trust: str = ""
    source: str = ""
    ask_below: int = 0
    mode: str = ""
    reads: bool | None = None


@dataclass(frozen=True, slots=True)
class PeerGrant:
    """Another agent that may be called. ``tools`` and ``agents`` bound what that agent does for this one: patterns of
    the tools and agents it may use then (None: no bound but its own grants). ``trust`` is of what it answers; empty
    for untrusted. ``ask_below`` and ``mode`` as of ``ToolFact``."""

    name: str
    autonomy: Autonomy = Autonomy.AUTONOMOUS
    tools: tuple[str, ...] | None = None
    agents: tuple[str, ...] | None = None
    trust: str = ""
    ask_below: int = 0
    mode: str = ""

    @property
    def bounds(self) -> tuple[tuple[str, ...], ...]:
        """The same as a bound (``kernel.scopes``); none for no bound. It is about what the other agent reaches and not
        about how it thinks: models are not bounded."""
        if self.tools is None and self.agents is None:
            return ()
        tools = ("*",) if self.tools is None else self.tools
        agents = ("*",) if self.agents is None else self.agents
        named = (*(f"tool:{pattern}" for pattern in tools), *(f"agent:{pattern}" for pattern in agents))
        return ((*named, "model:*", "data:*"),)


@dataclass(frozen=True, slots=True)
class PeerFact:
    """An agent that can be called over A2A. Keyed ``<workspace>/<name>`` in the Snapshot, and there only while it may
    be called. ``url`` serves JSON-RPC and ``rest_url`` HTTP+JSON; one of them may be missing. ``governed``: it is an
    agent of this workspace and not one elsewhere. ``card`` is its signed agent card as JSON."""

    workspace: str
    name: str
    url: str | None = None
    rest_url: str | None = None
    version: str = "1.0"
    credential_env: str | None = None
    governed: bool = True
    card: str = ""
    credential_secret: str = ""


@dataclass(frozen=True, slots=True)
class BreakerFact:
    """``epoch`` counts resets: a violation counts only in the epoch it happened in, so a late one cannot trip a
    breaker that a person has just reset. ``threshold`` violations within ``window_s`` seconds trip it; 0: however many,
    they do not. ``trials`` above 0: it is half open, and only the calls that ``tried`` names may pass, so many."""

    epoch: int = 0
    tripped: bool = False
    reason: str = ""
    threshold: int = 5
    window_s: float = 300.0
    trials: int = 0
    tried: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AgentFact:
    """What the gateway knows of one agent. Keyed ``<workspace>/<name>`` in the Snapshot. ``dependants``: what becomes
    of calls of it by other agents while it is stopped: hold (refused), tell or allow (they pass)."""

    workspace: str
    name: str
    state: LifecycleState
    release: str
    credential_epoch: int
    owner: str
    purpose: str = ""
    risk_tier: int = 1
    models: tuple[ModelFact, ...] = ()
    servers: tuple[ServerFact, ...] = ()
    tools: tuple[ToolFact, ...] = ()
    data_classes: tuple[str, ...] = ()
    breaker: BreakerFact = BreakerFact()
    hold_timeout_s: float = 300.0
    agents: tuple[PeerGrant, ...] = ()
    callbacks: tuple[str, ...] = ()
    limits: tuple[LimitFact, ...] = ()
    dependants: str = "hold"

    @property
    def granted(self) -> tuple[ToolFact, ...]:
        """Everything that it may ask of its servers: tools by their names, resources as ``resources/<pattern>`` and
        prompts as ``prompts/<name>``."""
        beside = (
            ToolFact(server.name, f"{what}/{name}", off=server.off)
            for server in self.servers
            for what, names in (("resources", server.resources), ("prompts", server.prompts))
            for name in names
        )
        return (*self.tools, *beside)


@dataclass(frozen=True, slots=True)
class ApprovalFact:
    """An approval as the gateway needs it. ``state`` is pending, granted, rejected, expired or claimed; ``claim`` is
    the id of the one Call that may use it. It covers exactly (agent, release, resource, digest, grounds); the grounds
    are the policies that hold the call, word for word (``policy.grounds``). ``person``: for whom the call is made,
    where they may approve it themselves and alone. ``edited``: the arguments with which alone the call may be made, in
    place of its own."""

    id: str
    workspace: str
    agent: str
    resource: str
    digest: str
    grounds: str
    state: str
    decided_by: str | None = None
    reason: str = ""
    claim: str | None = None
    person: str = ""
    edited: JsonObject | None = None


@dataclass(frozen=True, slots=True)
class WorkspaceFact:
    """The policies of a workspace: (file name, Cedar text) in the order they were loaded, and their version."""

    name: str
    policy_version: str
    policies: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class PersonFact:
    """What agents may do for one person: ``scopes`` (``kernel.scopes``). Keyed ``<workspace>/<email>`` in the Snapshot,
    and there only for a person whose agents are limited, or who is ``gone``: nothing is done for them any more."""

    workspace: str
    email: str
    scopes: tuple[str, ...] = ()
    gone: bool = False


@dataclass(frozen=True, slots=True)
class BlockedFact:
    """Clients that a workspace lets do nothing, by what they call themselves (``kernel.clients.name_of``) -> why."""

    names: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SecretFact:
    """A secret that agents need, but for its value: which ``version`` is current and where it may go
    (``base.bounds``). ``mark`` is what nothing but this version has; ``previous`` is that of the version before it
    while that one is still believed, else empty."""

    version: int
    mark: str
    hosts: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    previous: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All facts. ``max_age_s``: a gateway that has heard nothing for longer decides as if told to stop (D1).

    ``secrets`` are the keys that the gateways of an installation share, by an id that sorts by age, each 32 bytes in
    base64url. They are told to gateways only and kept in memory only. ``audiences`` are
    what tokens may be made out for, and where each is good (``oauth.model.surfaces``). ``breakers`` are
    those of more than one agent, by ``<workspace>/<scope>/<name>`` (``breaker.model``); an agent's own is in its fact.
    ``credentials`` are the
    workspaces' secrets, by ``<workspace>/<name>``, and tokens of people, by ``<workspace>/<connector>/<address>``;
    values travel beside it, sealed for each gateway.
    """

    version: int
    issued_at: datetime
    max_age_s: float = 15.0
    keys: Mapping[str, JsonObject] = field(default_factory=dict)  # kid -> public JWK (RFC 7517)
    issuer: str = ""
    workspaces: Mapping[str, WorkspaceFact] = field(default_factory=dict)
    agents: Mapping[str, AgentFact] = field(default_factory=dict)
    approvals: Mapping[str, ApprovalFact] = field(default_factory=dict)
    peers: Mapping[str, PeerFact] = field(default_factory=dict)
    revocations: Mapping[str, RevokedFact] = field(default_factory=dict)  # by workspace
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    people: Mapping[str, PersonFact] = field(default_factory=dict)
    audiences: Mapping[str, str] = field(default_factory=dict)
    breakers: Mapping[str, BreakerFact] = field(default_factory=dict)
    credentials: Mapping[str, SecretFact] = field(default_factory=dict)
    leases: Mapping[str, LeaseFact] = field(default_factory=dict)
    histories: Mapping[str, HistoryFact] = field(default_factory=dict)
    blocked: Mapping[str, BlockedFact] = field(default_factory=dict)  # by workspace
    drafts: Mapping[str, DraftFact] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Delta:
    """What changed from Snapshot ``base`` to ``version``; a value of None removes the fact."""

    base: int
    version: int
    issued_at: datetime
    keys: Mapping[str, JsonObject | None] = field(default_factory=dict)
    workspaces: Mapping[str, WorkspaceFact | None] = field(default_factory=dict)
    agents: Mapping[str, AgentFact | None] = field(default_factory=dict)
    approvals: Mapping[str, ApprovalFact | None] = field(default_factory=dict)
    peers: Mapping[str, PeerFact | None] = field(default_factory=dict)
    revocations: Mapping[str, RevokedFact | None] = field(default_factory=dict)
    secrets: Mapping[str, str | None] = field(default_factory=dict, repr=False)
    people: Mapping[str, PersonFact | None] = field(default_factory=dict)
    audiences: Mapping[str, str | None] = field(default_factory=dict)
    breakers: Mapping[str, BreakerFact | None] = field(default_factory=dict)
    credentials: Mapping[str, SecretFact | None] = field(default_factory=dict)
    leases: Mapping[str, LeaseFact | None] = field(default_factory=dict)
    histories: Mapping[str, HistoryFact | None] = field(default_factory=dict)
    blocked: Mapping[str, BlockedFact | None] = field(default_factory=dict)
    drafts: Mapping[str, DraftFact | None] = field(default_factory=dict)


def fact_digest(fact: AgentFact) -> str:
    """``sha256:...`` over all that is known of an agent: an Event names it as what its call was decided from, so that
    the decision can be made again (R076). How its breaker stands is left out: no policy reads it, and it changes with
    every trial call."""
    limits = BreakerFact(threshold=fact.breaker.threshold, window_s=fact.breaker.window_s)
    return digest(asdict(replace(fact, breaker=limits)))


def difference(old: Snapshot, new: Snapshot) -> Delta:
    """The Delta that turns ``old`` into ``new``."""
    return Delta(
        base=old.version,
        version=new.version,
        issued_at=new.issued_at,
        keys=changed(old.keys, new.keys),
        workspaces=changed(old.workspaces, new.workspaces),
        agents=changed(old.agents, new.agents),
        approvals=changed(old.approvals, new.approvals),
        peers=changed(old.peers, new.peers),
        revocations=changed(old.revocations, new.revocations),
        secrets=changed(old.secrets, new.secrets),
        people=changed(old.people, new.people),
        audiences=changed(old.audiences, new.audiences),
        breakers=changed(old.breakers, new.breakers),
        credentials=changed(old.credentials, new.credentials),
        leases=changed(old.leases, new.leases),
        histories=changed(old.histories, new.histories),
        blocked=changed(old.blocked, new.blocked),
        drafts=changed(old.drafts, new.drafts),
    )


def is_empty(delta: Delta) -> bool:
    """Whether a Delta changes no fact (it still tells a gateway that the control plane is alive)."""
    facts = (delta.keys, delta.workspaces, delta.agents, delta.approvals, delta.peers, delta.secrets, delta.people)
    more = (delta.audiences, delta.breakers, delta.revocations, delta.credentials, delta.leases)
    return not (any(facts) or any(more) or delta.histories or delta.blocked or delta.drafts)


def apply(snapshot: Snapshot, delta: Delta) -> Snapshot:
    """``snapshot`` with ``delta`` applied. Raises ValueError when the Delta is for another base: the gateway must then
    ask for the whole Snapshot."""
    if delta.base != snapshot.version:
        raise ValueError(f"delta is for version {delta.base}, this is version {snapshot.version}")
    return replace(
        snapshot,
        version=delta.version,
        issued_at=delta.issued_at,
        keys=merged(snapshot.keys, delta.keys),
        workspaces=merged(snapshot.workspaces, delta.workspaces),
        agents=merged(snapshot.agents, delta.agents),
        approvals=merged(snapshot.approvals, delta.approvals),
        peers=merged(snapshot.peers, delta.peers),
        revocations=merged(snapshot.revocations, delta.revocations),
        secrets=merged(snapshot.secrets, delta.secrets),
        people=merged(snapshot.people, delta.people),
        audiences=merged(snapshot.audiences, delta.audiences),
        breakers=merged(snapshot.breakers, delta.breakers),
        credentials=merged(snapshot.credentials, delta.credentials),
        leases=merged(snapshot.leases, delta.leases),
        histories=merged(snapshot.histories, delta.histories),
        blocked=merged(snapshot.blocked, delta.blocked),
        drafts=merged(snapshot.drafts, delta.drafts),
    )
