"""Instances: one run of an agent each. Values and pure rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from urllib.parse import quote

from tenure.base.access import Thing, may
from tenure.base.config import Config
from tenure.kernel.ids import session_trace
from tenure.kernel.scopes import Bound
from tenure.kernel.values import Actor, LifecycleState
from tenure.registry.model import ACTING, AgentRecord

LOST = timedelta(seconds=30)
"""An instance that was silent for so long is taken for lost."""

MAX_LIVE = 500
"""Instances of one agent that may live at once."""

STARTS = frozenset({LifecycleState.STAGING, LifecycleState.PRODUCTION})
"""States in which an agent may start something new."""


class End(StrEnum):
    """How an instance ended."""

    EXITED = "exited"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Instance:
    """One run of an agent, live until ``ended_at``. ``exit_code`` as a shell tells it (128 + signal); ``confined``:
    whoever started it said that it reaches the gateway and nothing else. ``scopes``: what each token of its is limited
    to, empty for no limit of its own; ``task``: what it is for."""

    id: str
    workspace: str
    agent: str
    release: str
    session: str
    credential_epoch: int
    on_behalf_of: str | None
    started_at: datetime
    started_by: str
    heartbeat_at: datetime
    expires_at: datetime
    ended_at: datetime | None = None
    end: End | None = None
    exit_code: int | None = None
    confined: bool = False
    scopes: Bound = ()
    task: str | None = None


@dataclass(frozen=True, slots=True)
class Started:
    """A new instance, its token (kept nowhere but here) and the environment that wires a process to the gateway."""

    instance: Instance
    token: str
    issued_at: datetime
    gateway_url: str
    control_url: str
    env: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Renewed:
    """A further token of an instance, kept nowhere but here."""

    token: str
    issued_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Orders:
    """What the control plane says to whoever runs an instance. ``renew``: a token of it that was issued up to this
    moment (Unix seconds) is to be replaced by a newer one now."""

    stop: bool
    reason: str = ""
    renew: float = 0.0


def orders(agent: AgentRecord | None, instance: Instance) -> Orders:
    """Whether an instance must end now, and why. A draining agent's instances may finish."""
    if agent is None:
        return Orders(True, f"there is no agent {instance.agent} any more")
    if agent.state not in ACTING:
        return Orders(True, f"{agent.name} is {agent.state}: {agent.state_reason}")
    if agent.release != instance.release:
        return Orders(True, f"{agent.name} has a new release: start it again")
    if agent.credential_epoch != instance.credential_epoch:
        return Orders(True, f"the credentials of {agent.name} were replaced: start it again")
    if instance.end is End.EXITED:
        return Orders(True, "this instance was ended")
    return Orders(False)


def must_be_confined(agent: AgentRecord, config: Config) -> str:
    """Who says that the agent's processes are to be confined, in words; empty when nobody does."""
    if agent.manifest["spec"].get("process", {}).get("confined", False):
        return f"the manifest of {agent.name}"
    return f"TENURE_CONFINE, for the workspace {agent.workspace}" if config.confines(agent.workspace) else ""


def for_one_task(agent: AgentRecord) -> bool:
    """Whether it was made for one task, and ends with it."""
    return bool(agent.manifest["spec"].get("process", {}).get("task"))


def may_tend(actor: Actor, instance: Instance) -> bool:
    """Whether ``actor`` may speak for an instance: who started it, an operator, or the instance itself."""
    if actor.workspace != instance.workspace:
        return False
    own = actor.principal is not None and actor.principal.instance == instance.id
    by = actor.name if own else instance.started_by
    return may(actor, "instances:tend", Thing(agent=instance.agent, started_by=by))


def environment(instance: Instance, token: str, *, control_url: str, gateway_url: str) -> dict[str, str]:
    """The variables that wire any process to the gateway, with no change to its code: those that model clients, MCP
    clients and OpenTelemetry read by themselves, and a few of ours."""
    trace, span = session_trace(instance.workspace, instance.session)
    resource = {
        "service.name": instance.agent,
        "service.instance.id": instance.id,
        "gen_ai.agent.name": instance.agent,
        "tenure.workspace": instance.workspace,
        "tenure.release": instance.release,
        "tenure.session": instance.session,
    }
    return {
        "OPENAI_BASE_URL": f"{gateway_url}/v1",
        "OPENAI_API_KEY": token,
        "ANTHROPIC_BASE_URL": gateway_url,  # its clients add /v1, and Google's /v1beta, themselves
        "ANTHROPIC_API_KEY": token,
        "GOOGLE_GEMINI_BASE_URL": gateway_url,
        "GEMINI_API_KEY": token,
        "TENURE_MCP_URL": f"{gateway_url}/mcp",
        "TENURE_AGENT": instance.agent,
        "TENURE_AGENT_TOKEN": token,
        "TENURE_INSTANCE": instance.id,
        "TENURE_SESSION": instance.session,
        "OTEL_SERVICE_NAME": instance.agent,
        "OTEL_RESOURCE_ATTRIBUTES": ",".join(f"{key}={quote(value, safe='')}" for key, value in resource.items()),
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"{control_url}/otlp",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{token}",
        "TRACEPARENT": f"00-{trace}-{span}-01",
    }
