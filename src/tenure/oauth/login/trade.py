"""What a program trades in for tokens: its code, once, and then each refresh token, once (OAuth 2.1 sections 4.1.3 and
4.3.1). Whatever is shown a second time was stolen by one of the two who showed it, so it ends the login for both."""

from __future__ import annotations

import secrets
from datetime import datetime

from sqlalchemy.engine import Connection

from tenure.base.access import may
from tenure.base.room import World
from tenure.identity import service as identity
from tenure.identity.model import secret_hash
from tenure.kernel.errors import Refused
from tenure.kernel.ids import new_id
from tenure.kernel.scopes import Bound, bound, widening
from tenure.oauth.grants.grant import Spent
from tenure.oauth.login import programs, service, store
from tenure.oauth.login.model import SESSION_S, Login, audience_of, proves
from tenure.oauth.model import Answer, Client, Form, TokenRequest, refusal
from tenure.registry import service as registry
from tenure.registry.model import AgentRecord, thing

REFRESH = "tnf_"
_SELF = "system:oauth"


def redeem(world: World, conn: Connection, request: TokenRequest) -> Answer:
    """Trades a code for the first tokens of a login. Raises Refused; for a code that somebody else shows, or that is
    shown in another way than it was asked for, Spent."""
    code, now = secret_hash(request.form.one("code")), request.now
    found = store.shown(conn, code, "code")
    if found is None:
        raise _invalid("unknown_code", "There is no such code.")
    login, until, used = found
    if used:
        raise _spent("code_reused", "The code was used before. What it was good for has ended.", login, now)
    problem = _wrong(world, request, login)
    if problem is None and until <= now:
        problem = "code_expired"
    if problem is not None:
        raise _spent(problem, "The code is not good for this.", login, now)
    if not store.use(conn, code, now):
        raise _spent("code_reused", "The code was used before. What it was good for has ended.", login, now)
    agent = _still(world, conn, login, now)
    jkt = login.jkt or request.jkt
    store.change_login(conn, login, begun_at=now, last_used_at=now, jkt=jkt)
    data = {"scopes": list(login.scopes), "resource": login.audience, "jkt": jkt or None}
    service.tell(conn, "login.begun", login, now, _SELF, data)
    return _tokens(world, conn, request, login, agent, login.session, login.scopes)


def renew(world: World, conn: Connection, request: TokenRequest) -> Answer:
    """Trades a refresh token for the next tokens of a login, and for the next refresh token. Raises Refused, or Spent
    for one that was used before, is shown by another program, or is of a login that does not hold any more."""
    token, now = secret_hash(request.form.one("refresh_token")), request.now
    found = store.shown(conn, token, "refresh")
    if found is None:
        raise _invalid("unknown_refresh_token", "There is no such refresh token.")
    login, _until, used = found
    if used:
        raise _spent("refresh_reused", "The refresh token was used before. The login has ended.", login, now)
    if request.client.id != login.program:
        raise _spent("other_program", "The refresh token is another program's. The login has ended.", login, now)
    if login.jkt and login.jkt != request.jkt:
        raise _spent("other_key", "The refresh token is bound to another key. The login has ended.", login, now)
    scopes = _narrowed(request.form, login)
    _right_resource(world, request.form, login)
    if not store.use(conn, token, now):
        raise _spent("refresh_reused", "The refresh token was used before. The login has ended.", login, now)
    agent = _still(world, conn, login, now)
    rested = login.last_used_at is None or (now - login.last_used_at).total_seconds() > SESSION_S
    session = new_id() if rested else login.session
    store.change_login(conn, login, last_used_at=now, session=session)
    return _tokens(world, conn, request, login, agent, session, scopes)


def is_refresh(token: str) -> bool:
    """Whether a token is one that renews."""
    return token.startswith(REFRESH)


def give_up(world: World, client: Client, form: Form) -> None:
    """Ends the login of a refresh token for the program that it was given to (RFC 7009 section 2.1), with every token
    of it. What is no refresh token of that program makes no difference, and is answered alike."""
    with world.begin() as conn:
        now = world.clock()
        found = store.shown(conn, secret_hash(form.one("token")), "refresh")
        if found is not None and found[0].program == client.id:
            service.ended(conn, found[0], now, f"person:{found[0].email}", "given_up")


def _tokens(  # noqa: PLR0917 (the facts of one answer, in the order they come to be)
    world: World,
    conn: Connection,
    request: TokenRequest,
    login: Login,
    agent: AgentRecord,
    session: str,
    scopes: Bound,
) -> Answer:
    ttl = world.config.oauth_ttl_s
    made = identity.issue_agent_token(
        world,
        conn,
        workspace=login.workspace,
        agent=login.agent,
        release=agent.release,
        instance=login.id,
        session=session,
        credential_epoch=agent.credential_epoch,
        ttl_s=ttl,
        on_behalf_of=login.email,
        audience=login.audience,
        jkt=login.jkt or request.jkt,
        scopes=scopes,
        how={"grant_type": request.form.one("grant_type"), "program": login.program},
    )
    refresh = REFRESH + secrets.token_urlsafe(32)
    store.add_shown(conn, secret_hash(refresh), login, "refresh", login.expires_at)
    return Answer(made.token, ttl, " ".join(scopes), {"refresh_token": refresh})


def _wrong(world: World, request: TokenRequest, login: Login) -> str | None:
    """In what way a code is shown otherwise than it was asked for; None when in none."""
    form = request.form
    if request.client.id != login.program:
        return "other_program"  # a code that was injected, or handed to a program by mistake (mix-up)
    if form.one("redirect_uri", login.redirect) != login.redirect:
        return "other_redirect_uri"
    if not proves(form.one("code_verifier"), login.challenge):
        return "pkce"
    if login.jkt and login.jkt != request.jkt:
        return "other_key"
    return None if _is_for(world, form, login) else "other_resource"


def _is_for(world: World, form: Form, login: Login) -> bool:
    named = form.one("resource")
    target = audience_of(named, world.config.gateway_url) if named else None
    return not named or (target is not None and target[0] == login.audience)


def _right_resource(world: World, form: Form, login: Login) -> None:
    if not _is_for(world, form, login):
        raise refusal("invalid_target", "other_resource", f"This login is for {login.audience}.", fix="Log in anew.")


def _narrowed(form: Form, login: Login) -> Bound:
    """The scopes of the next token: those of the login, or fewer that the program asks for."""
    words = [word for word in form.one("scope").split(" ") if word and word != "offline_access"]
    if not words:
        return login.scopes
    try:
        wanted = bound(words)
    except Refused as error:
        raise refusal("invalid_scope", "bad_scope", error.message, fix="Leave `scope` out.") from error
    if beyond := widening(wanted, (login.scopes,)):
        raise refusal("invalid_scope", "wider_scope", f"The person did not allow {beyond}.", fix="Log in anew.")
    return wanted


def _still(world: World, conn: Connection, login: Login, now: datetime) -> AgentRecord:
    """The agent that a login acts as, if all of it holds now as when the person agreed. Raises Refused, or Spent for
    what will not hold again."""
    if login.ended_at is not None:
        raise _invalid("login_ended", "The login has ended.")
    if login.expires_at <= now:
        raise _spent("expired", "The login has run out.", login, now)
    agent = registry.get_agent(conn, login.workspace, login.agent)
    if agent is None or agent.credential_epoch != login.epoch or agent.state not in service.STARTS:
        raise _spent("agent_ended", f"Agent {login.agent} was stopped, or may not act any more.", login, now)
    try:
        actor = identity.need_person(conn, login.workspace, login.email).actor
    except Refused:
        raise _spent("person_gone", "The person has no place here any more.", login, now) from None
    if not may(actor, "agents:run", thing(agent)):
        raise _spent("not_permitted", f"The person may not run agent {login.agent} any more.", login, now)
    if not programs.still(conn, world.config, login):
        raise _spent("program_removed", "The program is not let in any more.", login, now)
    return agent


def _invalid(why: str, message: str) -> Refused:
    return refusal("invalid_grant", why, message, fix="Send the person through the login again.")


def _spent(why: str, message: str, login: Login, now: datetime) -> Spent:
    """A refusal that ends the login."""

    def then(conn: Connection) -> None:
        service.ended(conn, login, now, _SELF, why)

    return Spent(_invalid(why, message), then)
