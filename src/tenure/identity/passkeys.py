"""Passkeys: WebAuthn level 3, with discoverable credentials, and a check of the person (user verification).

The library is loaded when the first passkey is made or shown: it takes five megabytes, and many have none.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import msgspec

from tenure.base import events
from tenure.base.access import permit
from tenure.base.room import World
from tenure.identity import account_store, logins, session_store, store
from tenure.identity.logins import Visitor
from tenure.identity.model import OpenSession, Passkey, Session, secret_hash
from tenure.kernel.errors import Refused
from tenure.kernel.ids import new_id, stable_id
from tenure.kernel.json import JsonObject
from tenure.kernel.values import Actor, Event

CHALLENGE_LIFE = timedelta(minutes=5)
MAX_PASSKEYS = 20


@dataclass(frozen=True, slots=True)
class Site:
    """Where the browser is: the origin that a passkey is good for, and the name it is bound to."""

    origin: str

    @property
    def name(self) -> str:
        """The relying party's id."""
        return urlsplit(self.origin).hostname or ""


def _refused(code: str, message: str) -> Refused:
    return Refused(code, message, fix="Try again, or log in with a password or a login link.", status=401)


def _ident(credential_id: bytes) -> str:
    return hashlib.sha256(credential_id).hexdigest()


def _session(world: World, cookie: str) -> OpenSession:
    with world.read() as conn:
        found = session_store.found(conn, secret_hash(cookie), world.clock(), logins.idle(world))
    if found is None:
        raise Refused("not_authenticated", "This session has ended.", fix="Log in again.", status=401)
    return found[0]


def begin_registration(world: World, actor: Actor, cookie: str, site: Site) -> JsonObject:
    """What the browser is to make a passkey from, for the person whose session this is."""
    import webauthn.helpers.structs  # noqa: PLC0415 (see above)

    permit(actor, "sessions:manage")
    session = _session(world, cookie)
    options = webauthn.generate_registration_options(
        rp_id=site.name,
        rp_name="Tenure",
        user_name=session.email,
        user_id=stable_id("passkey", session.home, session.email).encode(),
        authenticator_selection=webauthn.helpers.structs.AuthenticatorSelectionCriteria(
            resident_key=webauthn.helpers.structs.ResidentKeyRequirement.REQUIRED,
            user_verification=webauthn.helpers.structs.UserVerificationRequirement.REQUIRED,
        ),
    )
    whose = {"home": session.home, "email": session.email}
    with world.begin() as conn:
        if len(account_store.passkeys(conn, session.home, session.email)) >= MAX_PASSKEYS:
            raise Refused("too_many_passkeys", f"You have {MAX_PASSKEYS} passkeys.", fix="Remove one.", status=409)
        asked = _ident(options.challenge)
        account_store.add_challenge(
            conn, asked, session.home, kind="register", data=whose, now=world.clock(), life=CHALLENGE_LIFE
        )
    plain: JsonObject = msgspec.json.decode(webauthn.options_to_json(options))
    return plain


def _challenge(credential: JsonObject) -> bytes:
    """The challenge that a browser's answer says it answers. Whether it was asked is looked up; whether the answer is
    signed over it, WebAuthn checks."""
    try:
        response: Any = credential["response"]
        client = msgspec.json.decode(_unpadded(str(response["clientDataJSON"])))
        return _unpadded(str(client["challenge"]))
    except (KeyError, TypeError, ValueError, msgspec.DecodeError) as error:
        raise _refused("bad_passkey", "The browser's answer is not one of a passkey.") from error


def _unpadded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def finish_registration(
    world: World, actor: Actor, cookie: str, site: Site, *, name: str, credential: JsonObject
) -> Passkey:
    """Keeps the passkey that a browser made. Raises Refused."""
    import webauthn.helpers.exceptions  # noqa: PLC0415 (see above)

    permit(actor, "sessions:manage")
    session = _session(world, cookie)
    if not 1 <= len(name) <= 100 or not name.isprintable():
        raise Refused("bad_name", "A passkey's name is 1 to 100 printable characters.", status=422)
    challenge = _challenge(credential)
    with world.begin() as conn:
        asked = account_store.take_challenge(conn, _ident(challenge), "register", world.clock())
    if asked != {"home": session.home, "email": session.email}:
        raise _refused("bad_passkey", "This was not asked of your browser, or too long ago.")
    try:
        verified = webauthn.verify_registration_response(
            credential=dict(credential),
            expected_challenge=challenge,
            expected_rp_id=site.name,
            expected_origin=site.origin,
            require_user_verification=True,
        )
    except (webauthn.helpers.exceptions.WebAuthnException, ValueError, TypeError, KeyError) as error:
        raise _refused("bad_passkey", "The passkey could not be verified.") from error
    now = world.clock()
    key = base64.b64encode(verified.credential_public_key).decode()
    passkey = Passkey(_ident(verified.credential_id), session.home, session.email, name, key, verified.sign_count, now)
    with world.begin() as conn:
        if not account_store.add_passkey(conn, passkey):
            raise Refused("passkey_known", "This passkey is known already.", status=409)
        events.append(conn, [_event("person.passkey_added", passkey, world)])
    return passkey


def remove(world: World, actor: Actor, cookie: str, ident: str) -> None:
    """Forgets a passkey of the person whose session this is. Raises Refused (404)."""
    permit(actor, "sessions:manage")
    session = _session(world, cookie)
    with world.begin() as conn:
        passkey = account_store.passkey(conn, ident)
        if passkey is None or not account_store.drop_passkey(conn, session.home, session.email, ident):
            raise Refused("no_such_passkey", f"You have no passkey {ident}.", status=404)
        events.append(conn, [_event("person.passkey_removed", passkey, world)])


def _event(kind: str, passkey: Passkey, world: World) -> Event:
    return Event(
        id=new_id(),
        type=kind,
        time=world.clock(),
        workspace=passkey.workspace,
        actor=f"person:{passkey.email}",
        data={"email": passkey.email, "name": passkey.name},
    )


def begin_login(world: World, site: Site) -> JsonObject:
    """What a browser is to answer with any passkey it has for this site. Says nothing of who there is."""
    import webauthn.helpers.structs  # noqa: PLC0415 (see above)

    required = webauthn.helpers.structs.UserVerificationRequirement.REQUIRED
    options = webauthn.generate_authentication_options(rp_id=site.name, user_verification=required)
    with world.begin() as conn:
        asked, home = _ident(options.challenge), world.config.workspace
        account_store.add_challenge(conn, asked, home, kind="login", data={}, now=world.clock(), life=CHALLENGE_LIFE)
    plain: JsonObject = msgspec.json.decode(webauthn.options_to_json(options))
    return plain


def login(world: World, site: Site, credential: JsonObject, visitor: Visitor) -> Session:
    """A session for the owner of the passkey. Raises Refused (401): a challenge that was not asked or was answered
    before, a key that is not known, a signature that does not hold, another site, no check of the person, or a
    counter that went back (a copied key)."""
    import webauthn.helpers.exceptions  # noqa: PLC0415 (see above)

    challenge = _challenge(credential)
    with world.begin() as conn:
        asked = account_store.take_challenge(conn, _ident(challenge), "login", world.clock())
    if asked is None:
        raise _refused("bad_passkey", "This was not asked of your browser, or too long ago.")
    try:
        ident = _ident(_unpadded(str(credential.get("rawId") or "")))
    except ValueError as error:
        raise _refused("bad_passkey", "The browser's answer is not one of a passkey.") from error
    with world.begin() as conn:
        passkey = account_store.passkey(conn, ident)
        if passkey is None:
            raise _refused("bad_passkey", "This passkey is not known here.")
        try:
            verified = webauthn.verify_authentication_response(
                credential=dict(credential),
                expected_challenge=challenge,
                expected_rp_id=site.name,
                expected_origin=site.origin,
                credential_public_key=base64.b64decode(passkey.public_key),
                credential_current_sign_count=passkey.sign_count,
                require_user_verification=True,
            )
        except (webauthn.helpers.exceptions.WebAuthnException, ValueError, TypeError, KeyError) as error:
            raise _refused("bad_passkey", "The passkey could not be verified.") from error
        person = store.person(conn, passkey.workspace, passkey.email)
        if person is None or person.home != passkey.workspace:
            raise _refused("bad_passkey", "This passkey is not known here.")
        account_store.used_passkey(conn, ident, verified.new_sign_count, world.clock())
        return logins.open_session(world, conn, person, "passkey", visitor)
