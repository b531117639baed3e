"""Passwords: argon2id, off the event loop and never many at once, and slow for those who guess without keeping out the
one whose password it is."""

from __future__ import annotations

import asyncio
import secrets
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError
from argon2.low_level import ARGON2_VERSION
from sqlalchemy.engine import Connection

from tenure.base import events
from tenure.base.access import permit
from tenure.base.room import World
from tenure.identity import account_store, logins, session_store, store
from tenure.identity.logins import Visitor
from tenure.identity.model import OpenSession, Person, Session, secret_hash
from tenure.kernel.errors import Refused
from tenure.kernel.ids import new_id
from tenure.kernel.values import Actor, Event

MIN_CHARS, MAX_CHARS = 12, 128
PER_ADDRESS = 20  # failures from one address within logins.ATTEMPT_WINDOW
PER_ACCOUNT = 20  # failures for one account from browsers that never logged in to it
PER_DEVICE = 20  # failures for one account from a browser that did
DEVICE_LIFE = timedelta(days=90)
FRESH = timedelta(minutes=15)  # so long after a login by link a password may be set without the old one
_AT_ONCE, _WAITING = 2, 16

# RFC 9106 section 4, second recommended option: 3 passes over 64 MiB. Two at once take 128 MiB and no more.
_hasher = PasswordHasher()
_pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="argon2")
_queue = asyncio.Semaphore(_AT_ONCE + _WAITING)


def _nobody() -> str:
    """What a password is held against when there is no such account: as slow as any, and no password's. It is written,
    not computed, for computing it takes a tenth of a second of every start."""
    salt, found = (b64encode(secrets.token_bytes(count)).decode().rstrip("=") for count in (16, 32))
    costs = f"m={_hasher.memory_cost},t={_hasher.time_cost},p={_hasher.parallelism}"
    return f"$argon2id$v={ARGON2_VERSION}${costs}${salt}${found}"


_NOBODY = _nobody()


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """A session by password, and what the browser is known by from now on."""

    session: Session
    device: str


async def _in_pool(work: str, *parts: str) -> str | bool:
    if _queue.locked():
        raise Refused("busy", "Too many people log in at this moment.", fix="Try again in a few seconds.", status=429)
    async with _queue:
        return await asyncio.get_running_loop().run_in_executor(_pool, _WORK[work], *parts)


def _hashed(password: str) -> str:
    return _hasher.hash(password)


def _matches(hashed: str, password: str) -> bool:
    try:
        return _hasher.verify(hashed, password)
    except (Argon2Error, InvalidHashError):
        return False


_WORK: dict[str, Callable[..., str | bool]] = {"hash": _hashed, "verify": _matches}


def check_password(password: str, email: str) -> None:
    """Raises Refused for a password that would be guessed: too short, one run of letters over and over, or the address
    itself. Nothing else is asked of it (NIST SP 800-63B section 5.1.1.2)."""
    low = password.lower()
    name = email.partition("@")[0]
    repeats = any(low == low[:n] * (len(low) // n) + low[: len(low) % n] for n in range(1, 5))
    if not MIN_CHARS <= len(password) <= MAX_CHARS:
        fault = f"has {len(password)} characters"
    elif repeats or (len(name) >= 4 and low.replace(name, "").strip("0123456789!?.@-_ ") == "") or email in low:
        fault = "can be guessed"
    else:
        return
    raise Refused(
        "weak_password",
        f"The password {fault}.",
        fix=f"Take {MIN_CHARS} to {MAX_CHARS} characters, such as four words that nobody would say together.",
        status=422,
    )


async def set_password(world: World, actor: Actor, cookie: str, password: str, current: str) -> None:
    """Sets the password of the person whose session this is. It takes the old one, or a login by link in the last
    minutes; all other sessions of the person end. Raises Refused."""
    permit(actor, "sessions:manage")
    session, person = await asyncio.to_thread(_of_cookie, world, cookie)
    check_password(password, person.email)
    with world.read() as conn:
        before = account_store.password(conn, session.home, person.email)
    by_link = session.method == "link" and world.clock() - session.created_at < FRESH
    if before is not None and not by_link:
        _slow_down(world, session.home, [(f"change:{person.email}", PER_DEVICE)])
        if not await _in_pool("verify", before, current):
            _failed(world, session.home, [f"change:{person.email}"])
            raise Refused("bad_login", "The current password is not right.", status=403)
    hashed = str(await _in_pool("hash", password))
    await asyncio.to_thread(_keep, world, session, hashed)


def _of_cookie(world: World, cookie: str) -> tuple[OpenSession, Person]:
    with world.read() as conn:
        found = session_store.found(conn, secret_hash(cookie), world.clock(), logins.idle(world))
    if found is None:
        raise Refused("not_authenticated", "This session has ended.", fix="Log in again.", status=401)
    return found


def _keep(world: World, session: OpenSession, hashed: str) -> None:
    with world.begin() as conn:
        now = world.clock()
        account_store.put_password(conn, session.home, session.email, hashed, now)
        session_store.drop_others(conn, session.home, session.email, session.id)
        event = Event(
            id=new_id(),
            type="person.password_changed",
            time=now,
            workspace=session.home,
            actor=f"person:{session.email}",
            data={"email": session.email},
        )
        events.append(conn, [event])


async def login(world: World, email: str, password: str, *, workspace: str, visitor: Visitor, device: str) -> LoggedIn:
    """A session for who knows the password. ``workspace``: the person's home; ``device``: what a browser that logged in
    before shows, or nothing.

    Raises Refused ``bad_login`` (401) in the same words and after the same work whatever was wrong, and
    ``too_many_attempts`` (429) to an address, and to browsers that are strangers to the account, after too many
    failures. A browser that logged in before has a count of its own, so that strangers who guess do not lock the
    person out; passkeys and login links are not touched at all.
    """
    address = email.strip().lower()[:191]
    known, hashed, device_hash = await asyncio.to_thread(_look_up, world, workspace, address, device)
    account = f"device:{device_hash}" if known else f"account:{address}"
    counts = [(f"address:{visitor.address[:64]}", PER_ADDRESS), (account, PER_DEVICE if known else PER_ACCOUNT)]
    await asyncio.to_thread(_slow_down, world, workspace, counts)
    right = await _in_pool("verify", hashed or _NOBODY, password[: MAX_CHARS + 1])
    if not right or hashed is None:
        await asyncio.to_thread(_failed, world, workspace, [name for name, _ in counts])
        raise _bad_login()
    return await asyncio.to_thread(_open, world, workspace, address, visitor)


def _look_up(world: World, workspace: str, email: str, device: str) -> tuple[bool, str | None, str]:
    now, device_hash = world.clock(), secret_hash(device) if device else ""
    with world.read() as conn:
        known = bool(device) and account_store.knows_device(conn, device_hash, workspace, email, now)
        return known, account_store.password(conn, workspace, email), device_hash[:32]


def _slow_down(world: World, workspace: str, counts: list[tuple[str, int]]) -> None:
    since = world.clock() - logins.ATTEMPT_WINDOW
    with world.read() as conn:
        over = any(session_store.failures(conn, workspace, name, since) >= limit for name, limit in counts)
    if over:
        raise Refused(
            "too_many_attempts",
            "Too many logins failed.",
            fix=f"Wait {int(logins.ATTEMPT_WINDOW.total_seconds() // 60)} minutes, or use a passkey or a login link.",
            status=429,
        )


def _failed(world: World, workspace: str, names: list[str]) -> None:
    with world.begin() as conn:
        for name in names:
            session_store.add_failure(conn, workspace, name, world.clock(), logins.ATTEMPT_WINDOW)


def _bad_login() -> Refused:
    return Refused(
        "bad_login",
        "The address or the password is not right.",
        fix="Try again, use a passkey, or ask for a login link: `tenure login-link`.",
        status=401,
    )


def _open(world: World, workspace: str, email: str, visitor: Visitor) -> LoggedIn:
    with world.begin() as conn:
        person = store.person(conn, workspace, email)
        if person is None or person.home != workspace:
            raise _bad_login()
        device = remember_device(world, conn, person)
        return LoggedIn(logins.open_session(world, conn, person, "password", visitor), device)


def remember_device(world: World, conn: Connection, person: Person) -> str:
    """A secret by which this browser is known as one that the person logged in from."""
    device, now = secrets.token_urlsafe(32), world.clock()
    account_store.add_device(conn, secret_hash(device), person.home, person.email, now=now, until=now + DEVICE_LIFE)
    return device
