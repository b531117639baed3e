"""One call of a model, through the gateway as any agent makes it: with a token that is good for this model and for
nothing else, for a few minutes."""

from __future__ import annotations

import httpx2

from tenure.base.room import World
from tenure.forks.model import Fork
from tenure.forks.telling import root_of
from tenure.forks.wires import Request
from tenure.identity import service as identity
from tenure.kernel.snapshot import AgentFact

ANSWER_S = 300.0
_TOKEN_S = int(ANSWER_S) + 60
_CALL_ID = "x-tenure-call-id"


def call(  # noqa: PLR0917 (whose call it is, and what is asked)
    world: World, item: Fork, agent: AgentFact, model: str, about: str, request: Request
) -> str:
    """Calls the model and returns why there will be no record of it, empty where there will be: what came of it is then
    told by the gateway, as of every call."""
    with world.begin() as tx:
        token = identity.issue_agent_token(
            world,
            tx,
            workspace=item.workspace,
            agent=agent.name,
            release=agent.release,
            instance=item.id,
            session=item.session,
            credential_epoch=agent.credential_epoch,
            ttl_s=_TOKEN_S,
            on_behalf_of=item.person,
            scopes=(f"model:{model}", "data:*"),
            fork=(item.id, about),
        )
    headers = {
        request.header: f"{request.prefix}{token.token}",
        "traceparent": f"00-{item.trace_id}-{root_of(item)}-01",
    }
    headers |= {"prefer": "wait=0"}
    if request.header == "x-api-key":
        headers["anthropic-version"] = "2023-06-01"
    url = f"{world.config.gateway_url.rstrip('/')}{request.path}"
    try:
        with httpx2.Client(trust_env=False, timeout=ANSWER_S) as client:
            reply = client.post(url, headers=headers, json=request.body)
    except httpx2.HTTPError as error:
        return f"The gateway could not be reached ({type(error).__name__})."
    if _CALL_ID in reply.headers:
        return ""
    return f"The gateway answered {reply.status_code}: {reply.text[:300]}"
