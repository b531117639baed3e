"""``client_credentials`` (OAuth 2.1 section 4.2): an agent asks for a token for itself."""

from __future__ import annotations

import re

from sqlalchemy.engine import Connection

from tenure.base.room import World
from tenure.identity import service as identity
from tenure.kernel.ids import new_id
from tenure.oauth.grants.grant import Grant
from tenure.oauth.model import Answer, TokenRequest, refusal
from tenure.registry import service as registry
from tenure.registry.model import ACTING, AgentRecord

GRANT_TYPE = "client_credentials"

_SESSION = re.compile(r"[A-Za-z0-9._:-]{1,200}")


def acting(conn: Connection, request: TokenRequest) -> AgentRecord:
    """The client as an agent that may act now. Raises Refused (``unauthorized_client``)."""
    return acting_agent(conn, request.client.workspace, request.client.agent)


def acting_agent(conn: Connection, workspace: str, name: str) -> AgentRecord:
    """An agent that may act now. Raises Refused (``unauthorized_client``)."""
    agent = registry.get_agent(conn, workspace, name)
    if agent is None or agent.state not in ACTING:
        state = "unknown" if agent is None else agent.state.value
        raise refusal(
            "unauthorized_client",
            f"agent_{state}",
            f"Agent {name} may not act: it is {state}.",
            fix="Ask its owner for its state.",
        )
    return agent


def session_of(request: TokenRequest) -> str:
    """The session that the token begins, or goes on with: an agent that renews its token sends the ``session`` of the
    answer before."""
    named = request.form.one("session")
    if named and not _SESSION.fullmatch(named):
        raise refusal("invalid_request", "bad_session", "`session` is no name of a session.", fix="Leave it out.")
    return named or new_id()


def _handle(world: World, conn: Connection, request: TokenRequest) -> Answer:
    agent, key = acting(conn, request), request.client.key
    assert key is not None  # noqa: S101 (private_key_jwt is the only way in)
    session, ttl = session_of(request), world.config.oauth_ttl_s
    if request.form.one("scope"):
        raise refusal("invalid_scope", "no_scopes", "An agent's own token has no scopes.", fix="Leave `scope` out.")
    made = identity.issue_agent_token(
        world,
        conn,
        workspace=agent.workspace,
        agent=agent.name,
        release=agent.release,
        instance=key.instance,
        session=session,
        credential_epoch=agent.credential_epoch,
        ttl_s=ttl,
        audience=request.audience,
        jkt=request.jkt,
        how={"grant_type": GRANT_TYPE, "key": key.thumbprint},
    )
    return Answer(made.token, ttl, more={"session": session})


GRANT = Grant(_handle, frozenset({"private_key_jwt"}))
