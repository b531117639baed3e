"""An agent's facts and calls, as short as tests want them."""

from __future__ import annotations

from typing import Any

from tenure.kernel.snapshot import AgentFact, ModelFact, ToolFact, Upstream
from tenure.kernel.values import Autonomy, Call, CallKind, Decision, LifecycleState, Principal
from tenure.policy.model import Bundle, compile_bundle, decide

PERMIT = """
@id("tools") permit(principal, action == Action::"call_tool", resource) when { principal.tools.contains(resource) };
@id("models") permit(principal, action == Action::"call_model", resource) when { principal.models.contains(resource) };
"""


def an_agent(**changes: Any) -> AgentFact:
    """A running agent with tools shop/refund, shop/list, files/delete and model gpt."""
    facts: dict[str, Any] = {
        "workspace": "default",
        "name": "clerk",
        "state": LifecycleState.PRODUCTION,
        "release": "sha256:1",
        "credential_epoch": 1,
        "owner": "ann@example.com",
        "purpose": "refunds",
        "models": (ModelFact("gpt", Upstream("http://127.0.0.1:1")),),
        "tools": (ToolFact("shop", "refund"), ToolFact("shop", "list"), ToolFact("files", "delete")),
    }
    return AgentFact(**(facts | changes))


def a_principal(agent: AgentFact, **changes: Any) -> Principal:
    """Who holds a good credential of the agent."""
    facts: dict[str, Any] = {
        "workspace": agent.workspace,
        "agent": agent.name,
        "release": agent.release,
        "instance": "i1",
        "session": "s1",
        "credential_epoch": agent.credential_epoch,
    }
    return Principal(**(facts | changes))


def with_autonomy(level: Autonomy) -> AgentFact:
    """The agent, with shop/refund on this level of oversight."""
    return an_agent(tools=(ToolFact("shop", "refund", level),))


def ask(
    bundle: Bundle | str,
    resource: str = "shop/refund",
    arguments: dict[str, Any] | None = None,
    agent: AgentFact | None = None,
    **how: Any,
) -> Decision:
    """Decides one call of the agent; a bundle given as text is compiled after ``PERMIT``."""
    compiled = compile_bundle([("test.cedar", PERMIT + bundle)]) if isinstance(bundle, str) else bundle
    fact = agent or an_agent()
    kind = CallKind.TOOL if "/" in resource else CallKind.LLM
    principal = how.pop("principal", None) or a_principal(fact)
    workspace = how.pop("workspace", None)
    return decide(Call("c1", kind, resource, arguments or {}), principal, fact, workspace, compiled, **how)
