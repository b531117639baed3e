"""The nouns: who acts, what is attempted, what was decided, what happened.

All are frozen dataclasses of JSON-ready fields, so that msgspec (gateway), pydantic (API) and SQL can carry them
without a second definition. Fields may only be appended, with a default: Events are kept for years.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from tenure.kernel.fingerprint import Fingerprint
from tenure.kernel.json import Json, JsonObject


class LifecycleState(StrEnum):
    """Where an agent stands in its working life. The transitions between them are ``registry.model.TRANSITIONS``."""

    REQUESTED = "requested"
    REJECTED = "rejected"
    APPROVED = "approved"
    CREATED = "created"
    PROVISIONED = "provisioned"
    STAGING = "staging"
    PRODUCTION = "production"
    SUSPENDED = "suspended"
    DRAINING = "draining"
    RETIRED = "retired"


class Autonomy(StrEnum):
    """The four oversight levels (D9)."""

    AUTONOMOUS = "autonomous"
    NOTIFY = "notify"
    APPROVE = "approve"
    HUMAN_ONLY = "human_only"


_STRICTNESS = {level: place for place, level in enumerate(Autonomy)}


def strictest(*levels: Autonomy) -> Autonomy:
    """The level that leaves the least to the agent: where several are set, this one is in force."""
    return max(levels, key=_STRICTNESS.__getitem__)


class CallKind(StrEnum):
    """What a Call is made to."""

    LLM = "llm"
    TOOL = "tool"
    AGENT = "agent"
    MEMORY = "memory"


class Effect(StrEnum):
    """The three-way rule (R078)."""

    ALLOW = "allow"
    DENY = "deny"
    HOLD = "hold"


class Status(StrEnum):
    """The four statuses of the live feed (R088)."""

    ALLOWED = "allowed"
    FLAGGED = "flagged"
    VIOLATION = "violation"
    ANOMALY = "anomaly"


class Role(StrEnum):
    """What a person, or Tenure itself (``system``), may do. An owner answers for agents, an approver decides requests
    and held calls, an operator runs the installation, an auditor reads everything, a viewer reads the fleet."""

    OWNER = "owner"
    APPROVER = "approver"
    OPERATOR = "operator"
    AUDITOR = "auditor"
    VIEWER = "viewer"
    SYSTEM = "system"
    GATEWAY = "gateway"


PEOPLE = frozenset({Role.OWNER, Role.APPROVER, Role.OPERATOR, Role.AUDITOR, Role.VIEWER})
"""The roles that a person can have."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who acts: this agent, under this release, as this instance, for this person, in this session.

    ``chain`` names the agents that handed the work on, the first first, and ``chain_epochs`` the epochs of their
    credentials; it is empty for an agent that works on its own.
    Each of them may have set a bound on what is done for it: ``bounds`` holds them, each a tuple of scopes such as
    ``tool:crm/*`` or ``agent:billing`` of which one must cover the call (``kernel.scopes``). ``task`` names what all of
    it is done for, ``scopes`` is what the token was limited to for it, and one of the bounds. ``handed_by`` is the W3C
    traceparent of the call by which this agent was given the work. ``token_id`` is the ``jti`` of the token that
    showed all this.
    ``started``: it is a process that Tenure started, and no program that came with a key of its own.
    ``fork``: it plays a recorded run again, and is no work of the agent's: (the fork's id, the person whom the run was
    for, empty for nobody). What it does is told as ``fork.*`` and counts as nothing that the agent did.
    ``issued_at`` is when its credential was made and ``key`` the id of the key that signed it: either may be what a
    revocation names.
    """

    workspace: str
    agent: str
    release: str
    instance: str
    session: str
    credential_epoch: int
    on_behalf_of: str | None = None
    chain: tuple[str, ...] = ()
    task: str | None = None
    scopes: tuple[str, ...] = ()
    expires_at: float = 0.0  # Unix seconds; a cached verification is re-checked against it on every call
    chain_epochs: tuple[int, ...] = ()
    bounds: tuple[tuple[str, ...], ...] = ()
    handed_by: str | None = None
    token_id: str = ""
    issued_at: float = 0.0  # Unix seconds
    key: str = ""
    started: bool = False
    fork: tuple[str, str] | None = None

    @property
    def root(self) -> str:
        """Whose doing all of this is: the person, or else the agent that the chain begins with. All siblings of one
        chain have the same, however many they are, so that they share its rate limits and budgets."""
        if self.on_behalf_of is not None:
            return f"person:{self.on_behalf_of}"
        return f"agent:{self.chain[0] if self.chain else self.agent}"


def tier_of(principal: Principal, stated: str = "") -> str:
    """Who stands behind a call: ``subagent`` for work that another agent handed on, ``interactive`` under a person's
    token, else ``background`` for a process that Tenure started and ``api`` for a program with a key of its own.
    ``stated``: what the caller says of it, which can take the person away and nothing else."""
    if principal.chain:
        return "subagent"
    if principal.on_behalf_of is None:
        return "background" if principal.started else "api"
    if stated in ("", "interactive"):
        return "interactive"
    return "api" if stated == "api" else "background"


SOURCES = ("agent", "document", "memory", "person", "system", "tool", "unknown", "web")
"""Where content can come from, as policies name it; ``unknown`` for what was not seen."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where what led to a call came from (R053). ``provenance``: the sources of all that its session has met, of
    ``SOURCES``; ``tainted``: something in it is not trusted, or was not seen. ``derived``: an argument is taken from
    that, and ``arguments`` are the paths of those that are; ``notes`` say in words what each of them was found in."""

    tainted: bool = False
    provenance: tuple[str, ...] = ()
    derived: bool = False
    arguments: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


UNSEEN = Origin(True, ("unknown",), True)
"""The Origin of a call of which nothing is known: nothing in it counts as trusted."""


@dataclass(frozen=True, slots=True)
class Risk:
    """How risky a call looks, from 0 to 100, how unsure that is, from 0 to 100, and what made it so, in words
    (R044)."""

    score: int = 0
    uncertainty: int = 0
    reasons: tuple[str, ...] = ()


UNWEIGHED = Risk(100, 100)
"""The Risk of a call of which nothing is known."""


@dataclass(frozen=True, slots=True)
class Call:
    """What is attempted. ``resource`` is ``<model>`` for an llm call, ``<server>/<tool>`` for a tool call and the name
    of the agent that is called for an agent call.

    ``content`` is what goes out besides the arguments (a prompt) and ``returned`` what came back, None before that:
    JSON values, or bytes that are none. Policies see what is found in them, never themselves. ``definition`` is that of
    the tool, as its server gives it now. ``spent``: how much of the fullest of its limits on calls, on tokens and on
    dollars is used, in percent; zeros where no limit or no policy asks. ``origin`` and ``risk``: None where no
    policy asks. ``justification``: what the agent says it is for; policies see whether it says anything, no
    more. ``reads``: it is known to change nothing; what is not known changes something."""

    id: str
    kind: CallKind
    resource: str
    arguments: JsonObject = field(default_factory=dict)
    trace_id: str = ""
    span_id: str = ""
    parent_span_id: str | None = None
    end_user: str | None = None
    content: Json = None
    returned: Json = None
    definition: Fingerprint | None = None
    spent: tuple[int, int, int] = (0, 0, 0)
    origin: Origin | None = None
    risk: Risk | None = None
    justification: str = ""
    confidence: int | None = None  # percent, as the agent states it; None where it states none
    tier: str = ""  # as of ``tier_of``; empty where the principal alone says it
    reads: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided, why, and by which policies (their ``@id``; ``system/...`` for the rules that policy files
    cannot override). ``because``: the ids of the earlier calls that led to it. ``over``: the policies whose conditions
    held too, and that gave way (``policy.layers``)."""

    effect: Effect
    reason: str
    policies: tuple[str, ...] = ()
    obligations: tuple[str, ...] = ()
    policy_version: str = ""
    because: tuple[str, ...] = ()
    over: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Event:
    """What happened (R080). ``type`` is one of the documented event types; ``data`` its attributes, named by the
    OpenTelemetry GenAI conventions where those have a name. Never a secret in any field.

    ``actor`` is ``agent:NAME``, ``person:EMAIL`` or ``system:ROOM``. ``time`` is when it began (UTC) and
    ``duration_us`` how long it took, None for a moment.
    """

    id: str
    type: str
    time: datetime
    workspace: str
    actor: str
    agent: str | None = None
    release: str | None = None
    instance: str | None = None
    session: str | None = None
    trace_id: str | None = None
    span_id: str | None = None
    parent_span_id: str | None = None
    status: Status = Status.ALLOWED
    policy_version: str | None = None
    memory_snapshot: str | None = None
    duration_us: int | None = None
    data: JsonObject = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks something of the control plane: a person, an agent with its own token, or Tenure itself.

    ``name`` is ``person:EMAIL``, ``service:NAME``, ``agent:NAME``, ``gateway:NAME`` or ``system:ROOM``, as Events carry
    it. ``scopes``: what the credential is limited to, None for no limit (``base.access``).
    """

    workspace: str
    name: str
    roles: frozenset[Role] = frozenset()
    principal: Principal | None = None
    scopes: tuple[str, ...] | None = None

    @property
    def is_person(self) -> bool:
        """Whether a person asks, with a credential of their own and not through an agent."""
        return self.principal is None and self.name.startswith("person:")
