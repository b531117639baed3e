"""``jwt-bearer`` (RFC 7523 section 2.1): a workload that an outside issuer or a SPIFFE trust domain vouches for gets a
token of the agent that it is, by a rule of trust. It keeps no secret of ours."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy.engine import Connection

from tenure.base.room import World
from tenure.identity import service as identity
from tenure.kernel.errors import Failed, Refused
from tenure.oauth import clients, store
from tenure.oauth.grants.client_credentials import acting_agent, session_of
from tenure.oauth.grants.grant import Grant
from tenure.oauth.model import Answer, TokenRequest, agent_of, refusal
from tenure.revocation import service as revocation
from tenure.revocation.model import Kind
from tenure.trust import service as trust
from tenure.trust.model import LEEWAY_S, Believed

GRANT_TYPE = "urn:ietf:params:oauth:grant-type:jwt-bearer"


def believed(world: World, request: TokenRequest, token: str) -> Believed:
    """What is made of an outside token for the agent that ``client_id`` names. Raises Refused (``invalid_grant``)."""
    agent = agent_of(request.client.id)
    if agent is None:
        raise refusal(
            "invalid_request", "no_agent", "Nobody says which agent this is.", fix="Send its `client_id` (SPIFFE ID)."
        )
    try:
        return trust.believe(world, *agent, token, clients.names(world.config))
    except Refused as error:
        why = str(error.details.get("why", error.code))
        raise refusal("invalid_grant", why, error.message, fix=error.fix) from error
    except Failed as error:
        raise refusal("temporarily_unavailable", error.code, error.message, fix="Try again.", status=503) from error


def own_token(world: World, conn: Connection, request: TokenRequest, found: Believed, grant_type: str) -> Answer:
    """The agent's own token for an outside workload that was believed."""
    rule = found.rule
    if found.once and not store.use(conn, rule.workspace, *once(found)):
        raise refusal("invalid_grant", "assertion_replayed", "The proof was used before.", fix="Sign a new one.")
    agent, instance = acting_agent(conn, rule.workspace, rule.agent), trust.instance_of(found)
    if request.form.one("scope"):
        raise refusal("invalid_scope", "no_scopes", "An agent's own token has no scopes.", fix="Leave `scope` out.")
    if revocation.is_revoked(conn, rule.workspace, Kind.INSTANCE, instance):
        raise refusal("invalid_grant", "instance_revoked", "This workload was shut out.", fix="Ask the agent's owner.")
    session, ttl = session_of(request), world.config.oauth_ttl_s
    how = {
        "grant_type": grant_type,
        "rule": rule.name,
        "issuer": rule.issuer,
        "outside": found.subject,
        "by": found.how,
    }
    made = identity.issue_agent_token(
        world,
        conn,
        workspace=agent.workspace,
        agent=agent.name,
        release=agent.release,
        instance=instance,
        session=session,
        credential_epoch=agent.credential_epoch,
        ttl_s=ttl,
        audience=request.audience,
        jkt=request.jkt,
        how=how,
    )
    issued = {"issued_token_type": "urn:ietf:params:oauth:token-type:access_token"}
    return Answer(made.token, ttl, more={"session": session, **issued})


def once(found: Believed) -> tuple[str, datetime]:
    """What a proof that must not come again is called, and until when that is of interest."""
    until = datetime.fromtimestamp(found.expires + LEEWAY_S, UTC)
    return store.once("proof", found.rule.agent, found.subject, found.once), until


def _before(world: World, request: TokenRequest) -> Believed:
    return believed(world, request, request.form.one("assertion"))


def _handle(world: World, conn: Connection, request: TokenRequest) -> Answer:
    assert isinstance(request.brought, Believed)  # noqa: S101 (``_before`` gives nothing else)
    return own_token(world, conn, request, request.brought, GRANT_TYPE)


GRANT = Grant(_handle, frozenset({"none"}), _before)
