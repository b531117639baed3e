"""The verbs of logging in: one-time codes, and the sessions that a browser holds."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from datetime import timedelta

from sqlalchemy.engine import Connection

from tenure.base import events
from tenure.base.access import permit
from tenure.base.room import World
from tenure.identity import account_store, session_store, store
from tenure.identity.model import LoginLink, OpenSession, Person, Session, email_address, secret_hash
from tenure.identity.people import need_person, place
from tenure.kernel.errors import Refused
from tenure.kernel.ids import new_id
from tenure.kernel.values import Actor, Event

CODE_LIFE = timedelta(minutes=10)
TOUCH_EVERY = timedelta(minutes=1)
MAX_FAILURES = 10  # failed logins from one address within ATTEMPT_WINDOW
ATTEMPT_WINDOW = timedelta(minutes=10)
MAX_CODES = 30  # login links for one person within CODES_WINDOW
CODES_WINDOW = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who knocks, as far as the connection says: the address, and what the browser calls itself."""

    address: str
    browser: str = ""


def idle(world: World) -> timedelta:
    """How long a session lives that nobody uses."""
    return timedelta(seconds=world.config.session_idle_s)


def new_code(world: World, conn: Connection, person: Person) -> LoginLink:
    """A one-time code for a person, in the caller's transaction."""
    now = world.clock()
    code = secrets.token_urlsafe(24)
    store.add_code(conn, secret_hash(code), person, now, now + CODE_LIFE)
    return LoginLink(person.email, code, f"{world.config.control_url}/login?code={code}", now + CODE_LIFE)


def login_link(world: World, actor: Actor, email: str) -> LoginLink:
    """A one-time login link, good for 10 minutes. Operators may make one for anybody, others for themselves. Only for
    people whose home this workspace is: it is not for one workspace to say who somebody of another is."""
    address = email_address(email)
    permit(actor, "sessions:manage" if actor.name == f"person:{address}" else "people:link")
    with world.begin() as conn:
        person = need_person(conn, actor.workspace, address)
        if person.home != actor.workspace:
            raise Refused(
                "home_elsewhere",
                f"{address} joined this workspace from another one and logs in there.",
                fix="They log in where they always do, and switch to this workspace.",
                status=409,
            )
        if store.codes_since(conn, actor.workspace, address, world.clock() - CODES_WINDOW) >= MAX_CODES:
            raise Refused(
                "too_many_links",
                f"{address} was given {MAX_CODES} login links within an hour.",
                fix="Use one of them, or wait.",
                status=429,
            )
        link = new_code(world, conn, person)
        event = Event(
            id=new_id(),
            type="login_link.created",
            time=world.clock(),
            workspace=actor.workspace,
            actor=actor.name,
            data={"email": address},
        )
        events.append(conn, [event])
        return link


def open_session(  # noqa: PLR0917 (who, how and from where: all of it is said every time)
    world: World,
    conn: Connection,
    person: Person,
    method: str,
    visitor: Visitor,
    life: timedelta | None = None,
    *,
    subject: str = "",
    sid: str = "",
) -> Session:
    """A new session of ``person``, in the caller's transaction; it ends after ``life`` if that is sooner than the
    setting. Always under a secret of its own: nothing that a browser had before it logged in is good for anything
    afterwards. Raises Refused (401) for somebody whose issuer has to say first that they are still there."""
    now = world.clock()
    ends = now + min(timedelta(seconds=world.config.session_life_s), life or timedelta.max)
    vouched = account_store.vouched_until(conn, person.home, person.email)
    if vouched is not None and vouched <= now:
        raise Refused(
            "issuer_first",
            f"{person.email} is known by an issuer, which has not said for a while that they still are who they were.",
            fix="Log in with the issuer, from the login page.",
            status=401,
        )
    token = secrets.token_urlsafe(32)
    session = OpenSession(
        id=new_id(),
        workspace=person.workspace,
        email=person.email,
        home=person.home,
        method=method,
        created_at=now,
        seen_at=now,
        expires_at=ends if vouched is None else min(ends, vouched),
        address=visitor.address[:64],
        browser=visitor.browser[:191],
        subject=subject,
        sid=sid,
    )
    session_store.add_session(conn, secret_hash(token), session)
    event = Event(
        id=new_id(),
        type="person.logged_in",
        time=now,
        workspace=person.workspace,
        actor=f"person:{person.email}",
        data={"email": person.email, "method": method},
    )
    events.append(conn, [event])
    return Session(token, person.actor, session.expires_at)


def login(world: World, code: str, visitor: Visitor) -> Session:
    """Trades a one-time code for a session.

    Raises Refused: bad_code (401) for one that is unknown, used or expired, too_many_attempts (429) after 10 of those
    from one address within 10 minutes. A right code is taken all the same: it has 192 bits, so guessing is no way
    to it, and an address may be shared.
    """
    workspace, source = world.config.workspace, visitor.address[:64]
    session = None
    with world.begin() as conn:
        now = world.clock()
        person = store.claim_code(conn, secret_hash(code), now)
        tries = session_store.failures(conn, workspace, source, now - ATTEMPT_WINDOW)
        if person is not None and person.home == person.workspace:
            session = open_session(world, conn, person, "link", visitor)
        elif tries < MAX_FAILURES:  # committed: the refusal comes after
            session_store.add_failure(conn, workspace, source, now, ATTEMPT_WINDOW)
    if session is not None:
        return session
    if tries >= MAX_FAILURES:
        raise Refused(
            "too_many_attempts",
            "Too many wrong login codes came from your address.",
            fix=f"Wait {int(ATTEMPT_WINDOW.total_seconds() // 60)} minutes, or use a right one.",
            status=429,
        )
    raise Refused(
        "bad_code",
        "This login code is unknown, used, or older than 10 minutes.",
        fix="Get a new one with `tenure login-link`.",
        status=401,
    )


def session_actor(world: World, cookie: str, background: bool) -> Actor | None:
    """Whose session this is, if it lives; and notes its use, at most once a minute."""
    now = world.clock()
    with world.read() as conn:
        found = session_store.found(conn, secret_hash(cookie), now, idle(world))
        if found is None or not account_store.counts(conn, found[1], now):
            return None
    session, person = found
    if not background and now - session.seen_at >= TOUCH_EVERY:
        with world.db.begin() as conn:  # nobody waits for this: no bell
            session_store.touch(conn, session.id, now)
    return person.actor


def enter(world: World, cookie: str, workspace: str, visitor: Visitor) -> Session:
    """Trades a session for one in another workspace that the person belongs to; the old one is over, and the new one
    ends when the old one would have. Raises Refused 404 as ``people.place``."""
    with world.begin() as conn:
        now = world.clock()
        found = session_store.found(conn, secret_hash(cookie), now, idle(world))
        if found is None:
            raise Refused("not_authenticated", "This session has ended.", fix="Log in again.", status=401)
        old, person = found
        target = place(conn, person.actor, workspace)
        session_store.drop_session(conn, secret_hash(cookie))
        token = secrets.token_urlsafe(32)
        kept = replace(
            old,
            id=new_id(),
            workspace=target.workspace,
            email=target.email,
            seen_at=now,
            address=visitor.address[:64],
            browser=visitor.browser[:191],
        )
        session_store.add_session(conn, secret_hash(token), kept)
        event = Event(
            id=new_id(),
            type="person.entered",
            time=now,
            workspace=target.workspace,
            actor=f"person:{target.email}",
            data={"email": target.email},
        )
        events.append(conn, [event])
    return Session(token, target.actor, kept.expires_at)


def own_sessions(world: World, actor: Actor, cookie: str) -> tuple[OpenSession, list[OpenSession]]:
    """The session of this cookie, and every living one of the same person."""
    permit(actor, "sessions:manage")
    now = world.clock()
    with world.read() as conn:
        found = session_store.found(conn, secret_hash(cookie), now, idle(world))
        if found is None:
            raise Refused("not_authenticated", "This session has ended.", fix="Log in again.", status=401)
        return found[0], session_store.sessions(conn, found[0].home, found[0].email, now, idle(world))


def end_sessions(world: World, actor: Actor, cookie: str, ident: str | None) -> int:
    """Ends one session of the person, or with None every one but this; how many. Raises Refused (404)."""
    current, _ = own_sessions(world, actor, cookie)
    with world.begin() as conn:
        if ident is None:
            count = session_store.drop_others(conn, current.home, current.email, current.id)
        elif session_store.drop_one(conn, current.home, current.email, ident):
            count = 1
        else:
            raise Refused("no_such_session", f"You have no session {ident}.", status=404)
        event = Event(
            id=new_id(),
            type="person.sessions_ended",
            time=world.clock(),
            workspace=current.workspace,
            actor=actor.name,
            data={"email": current.email, "count": count},
        )
        events.append(conn, [event])
    return count


def logout(world: World, cookie: str | None) -> None:
    """Ends the session of this cookie, if it is one."""
    if cookie:
        with world.begin() as conn:
            session_store.drop_session(conn, secret_hash(cookie))
