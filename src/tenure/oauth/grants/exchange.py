"""Token exchange (RFC 8693): an agent gets a token to act for a person, for another agent, or for one task of its own.

The subject token says for whom, the client (or ``actor_token``) who acts. What comes of it reaches no further than the
subject, the grants between agents and the ``scope`` that is asked for; nothing that is sent can make it wider.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy.engine import Connection

from tenure.base.access import permit
from tenure.base.room import World
from tenure.identity import service as identity
from tenure.identity.model import LEEWAY_S
from tenure.kernel.errors import Refused
from tenure.kernel.scopes import Bound, bound, joined, widening
from tenure.kernel.values import Actor, Principal
from tenure.kernel.work import Work, handed_on, work_of
from tenure.oauth.grants.client_credentials import acting, session_of
from tenure.oauth.grants.grant import Grant
from tenure.oauth.grants.jwt_bearer import believed, own_token
from tenure.oauth.model import Answer, TokenRequest, agent_of, refusal
from tenure.registry import service as registry
from tenure.registry.model import ACTING, AgentRecord, agent_fact
from tenure.revocation import service as revocation
from tenure.trust.model import Believed

GRANT_TYPE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 (a type)
OUTSIDE = frozenset({"urn:ietf:params:oauth:token-type:jwt", "urn:ietf:params:oauth:token-type:id_token"})
_TASK = 200


@dataclass(frozen=True, slots=True)
class Brought:
    """What was shown: for whom (``subject``), by an agent that shows its own token (``actor``, else the client)."""

    subject: Actor
    actor: Principal | None


@dataclass(frozen=True, slots=True)
class _Acting:
    """Who acts from now on, under which instance, and what its own token limited it to."""

    agent: AgentRecord
    instance: str
    own: Principal | None


def _invalid(why: str, message: str, fix: str = "Get a new one.") -> Refused:
    return refusal("invalid_request", why, message, fix=fix)


def _before(world: World, request: TokenRequest) -> Brought | Believed:
    """Reads the tokens: apart from the transaction, since the use of a person's token is noted, and an outside issuer
    may have to be asked."""
    form = request.form
    kind, token = form.one("subject_token_type"), form.one("subject_token")
    if not token or kind not in OUTSIDE | {ACCESS_TOKEN}:
        raise _invalid("bad_subject_type", "A subject token of a known type is needed.", f"Send {ACCESS_TOKEN}.")
    wanted = form.one("requested_token_type", ACCESS_TOKEN)
    if wanted != ACCESS_TOKEN:
        raise _invalid("bad_requested_type", "Only access tokens are given.", f"Ask for {ACCESS_TOKEN}.")
    shown, shown_kind = form.one("actor_token"), form.one("actor_token_type")
    if kind in OUTSIDE:
        if shown or request.client.agent:
            raise _invalid("bad_subject_type", "An outside token is not acted for.", "Send one of this installation.")
        return believed(world, request, token)
    if bool(shown) == bool(request.client.agent) or bool(shown) != (shown_kind == ACCESS_TOKEN):
        raise _invalid(
            "no_actor", "Either the client is the agent that acts, or `actor_token` is.", "Send one of them."
        )
    actor = _read(world, shown, "actor").principal if shown else None
    if shown and (actor is None or agent_of(request.client.id) != (actor.workspace, actor.agent)):
        raise _invalid("bad_actor", "The actor token is not of the agent that `client_id` names.")
    return Brought(_read(world, token, "subject"), actor)


def _read(world: World, token: str, what: str) -> Actor:
    try:
        found = identity.authenticate(world, f"Bearer {token}", None)
    except Refused as error:
        raise _invalid(f"{what}_{error.code}", f"The {what} token does not hold: {error.message}") from error
    if found is None:
        raise _invalid(f"{what}_unknown", f"The {what} token is not of this installation, or has ended.")
    return found


def _handle(world: World, conn: Connection, request: TokenRequest) -> Answer:
    brought = request.brought
    if isinstance(brought, Believed):
        return own_token(world, conn, request, brought, GRANT_TYPE)
    assert isinstance(brought, Brought)  # noqa: S101 (``_before`` gives nothing else)
    who, subject = _who(conn, request, brought), brought.subject
    if subject.workspace != who.agent.workspace:
        raise _invalid("subject_elsewhere", "The subject token is of another workspace.")
    parent = subject.principal
    work, person = _for_agent(world, conn, who, parent) if parent is not None else _for_person(subject)
    if who.own is not None:
        work, person = _within_own(who.own, work, person)
    scopes = _scopes(request, work, None if person is None else identity.person_limit(conn, subject.workspace, person))
    # Without the leeway, or one token could be traded for the next for ever.
    ends = min([one.expires_at - LEEWAY_S for one in (parent, who.own) if one is not None], default=float("inf"))
    ttl = int(min(world.config.oauth_ttl_s, ends - request.now.timestamp()))
    if ttl < 1:
        raise _invalid("subject_token_expired", "The subject token has expired.")
    same = parent is not None and parent.agent == who.agent.name
    session = parent.session if same and parent is not None else session_of(request)
    task = work.task or _task(request)
    made = identity.issue_agent_token(
        world,
        conn,
        workspace=who.agent.workspace,
        agent=who.agent.name,
        release=who.agent.release,
        instance=who.instance,
        session=session,
        credential_epoch=who.agent.credential_epoch,
        ttl_s=ttl,
        on_behalf_of=person,
        audience=request.audience,
        jkt=request.jkt,
        scopes=scopes,
        work=replace(work, task=task),
        started=same and parent is not None and parent.started,
        how={"grant_type": GRANT_TYPE, "subject": subject.name},
    )
    return Answer(made.token, ttl, " ".join(scopes), {"session": session, "issued_token_type": ACCESS_TOKEN})


def _who(conn: Connection, request: TokenRequest, brought: Brought) -> _Acting:
    """The agent that acts, as it stands now."""
    own = brought.actor
    if own is None:
        assert request.client.key is not None  # noqa: S101 (a client that is an agent has shown a key)
        return _Acting(acting(conn, request), request.client.key.instance, None)
    return _Acting(
        _standing(conn, own.workspace, own.agent, own.credential_epoch, "actor"),
        own.instance,
        _alive(conn, own, request.now),
    )


def _standing(conn: Connection, workspace: str, name: str, epoch: int, what: str) -> AgentRecord:
    agent = registry.get_agent(conn, workspace, name)
    if agent is None or agent.state not in ACTING or agent.credential_epoch != epoch:
        raise _invalid(f"{what}_revoked", f"Agent {name} may not act any more, or not under this credential.")
    return agent


def _alive(conn: Connection, shown: Principal, now: datetime) -> Principal:
    if revocation.refuses(conn, shown, now):
        raise _invalid("token_revoked", f"The token of {shown.agent} was revoked.")
    return shown


def _for_person(subject: Actor) -> tuple[Work, str]:
    kind, _, email = subject.name.partition(":")
    if kind != "person":
        raise _invalid("bad_subject", f"Nobody acts for {subject.name}.", "Send a token of a person or of an agent.")
    try:
        permit(subject, "tokens:delegate")
    except Refused as error:
        raise _invalid("subject_not_permitted", error.message, error.fix) from error
    return Work(), email


def _for_agent(world: World, conn: Connection, who: _Acting, parent: Principal) -> tuple[Work, str | None]:
    """What the one that acts may do for ``parent``, if the whole chain still holds."""
    giver = _standing(conn, parent.workspace, parent.agent, parent.credential_epoch, "subject")
    _alive(conn, parent, world.clock())
    for name, epoch in zip(parent.chain, parent.chain_epochs, strict=True):
        _standing(conn, parent.workspace, name, epoch, "subject")
    if parent.agent == who.agent.name:
        return work_of(parent), parent.on_behalf_of
    grant = next((one for one in agent_fact(giver).agents if one.name == who.agent.name), None)
    if grant is None:
        raise refusal(
            "invalid_target",
            "not_granted",
            f"Agent {parent.agent} was not granted the agent {who.agent.name}.",
            fix=f"Name it under `agents` in the manifest of {parent.agent}.",
        )
    try:
        return handed_on(parent, grant, world.config.delegation_depth), parent.on_behalf_of
    except Refused as error:
        raise refusal("invalid_target", error.code, error.message, fix=error.fix) from error


def _within_own(own: Principal, work: Work, person: str | None) -> tuple[Work, str | None]:
    """The work within what the actor's own token is limited to. That token may be for nobody else's work."""
    if own.chain and own.chain != work.chain:
        raise _invalid("actor_busy", f"The actor token is for the work that {own.chain[-1]} gave, and for no other.")
    if own.on_behalf_of not in (None, person):
        raise _invalid("actor_for_another", "The actor token is for work on behalf of somebody else.")
    return replace(work, bounds=joined(work.bounds, own.bounds), task=work.task or own.task), person


def _scopes(request: TokenRequest, work: Work, limits: Bound | None) -> Bound:
    """The scopes that are asked for, if nobody's limits are narrower."""
    try:
        wanted = bound(request.form.one("scope").split())
    except Refused as error:
        raise refusal("invalid_scope", "bad_scope", error.message, fix=error.fix) from error
    beyond = widening(wanted, work.bounds if limits is None else (*work.bounds, limits))
    if beyond:
        raise refusal(
            "invalid_scope", "scope_too_wide", f"{beyond} reaches beyond whom it is for.", fix="Ask for less."
        )
    return wanted


def _task(request: TokenRequest) -> str | None:
    task = request.form.one("task")
    if len(task) > _TASK or not task.isprintable():
        raise _invalid("bad_task", "`task` is no short printable name.", "Leave it out.")
    return task or None


GRANT = Grant(_handle, frozenset({"private_key_jwt", "none"}), _before)
