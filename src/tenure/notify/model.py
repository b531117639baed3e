"""Destinations, what is told to them, and the answers that a link may give. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from urllib.parse import SplitResult, urlsplit

from tenure.identity.model import email_address
from tenure.kernel.errors import Refused
from tenure.kernel.json import JsonObject
from tenure.kernel.naming import uri_matches

NAME = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
BACK_OFF = (5, 30, 120, 600, 1800, 7200, 18_000, 36_000, 50_400, 72_000)
"""Seconds until the next attempt after each one that failed; after the last of them, somebody has to ask for it."""
PAUSE = timedelta(seconds=5)
"""How long a destination is left alone after an attempt that failed, whatever else waits for it."""
BUNDLE_S, LONGEST_BUNDLE_S = 60, 3600
"""For how long messages about held calls are collected unless a destination says otherwise, and at most."""
MAX_WAITING = 1000
"""Deliveries that may wait for one destination: what comes on top is not sent, and listed as such."""
MAX_DESTINATIONS = 100
KEPT = timedelta(days=30)
LINK_LIFE = timedelta(hours=1)
"""How long a link may answer, however long the call waits."""
APPROVERS, OWNERS, ASKED = "approvers", "owners", "asked"
"""Words for recipients of mail: everybody who may decide held calls now; who answers for the agent; whom a step of a
ladder asks."""
SLACK = ("hooks.slack.com", "hooks.slack-gov.com")
TEAMS = (".logic.azure.com", ".powerplatform.com")
_MAX_TO = 50
_SIGNING_KEY = range(24, 65)


class Kind(StrEnum):
    """How a destination is reached."""

    WEBHOOK = "webhook"
    EMAIL = "email"
    SLACK = "slack"
    TEAMS = "teams"


class State(StrEnum):
    """waiting -> sent | dead | stale; dead and sent go back to waiting when somebody asks for it again."""

    WAITING = "waiting"
    SENT = "sent"
    DEAD = "dead"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a workspace wants to be told. ``url``: the address of a webhook, or the mail server; empty for Slack and
    Teams, whose address is the secret itself. ``secret`` names a secret of the workspace: the signing key of a webhook,
    a mail server's password (or empty), the address that Slack or Teams gave. ``to``: whom mail goes to. ``person``:
    whose own channel it is, where its messages may answer. ``answers``: whether they carry links that do.
    ``bundle_s``: for so many seconds after a message about a held call further ones are collected and told as one; 0
    tells each alone."""

    workspace: str
    name: str
    kind: Kind
    url: str = ""
    secret: str = ""
    to: tuple[str, ...] = ()
    sender: str = ""
    person: str = ""
    answers: bool = False
    topics: tuple[str, ...] = ()
    agents: tuple[str, ...] = ()
    set_at: datetime | None = None
    set_by: str = ""
    bundle_s: int = BUNDLE_S

    def wants(self, topic: str, agent: str | None) -> bool:
        """Whether it is told of this."""
        if topic not in self.topics:
            return False
        return not self.agents or any(uri_matches(pattern, agent or "") for pattern in self.agents)


@dataclass(frozen=True, slots=True)
class Message:
    """What is told. ``facts``: for programs; ``lines``: for people; ``path``: the console's page about it.
    ``approval`` and ``digest``: the held call, empty for anything else."""

    topic: str
    type: str
    title: str
    lines: tuple[str, ...]
    facts: JsonObject
    path: str
    agent: str = ""
    approval: str = ""
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message on its way to one address. ``next_at``: when it is tried next, None when it is not; ``problem``: why
    the last attempt failed. ``window``: until when further messages like it are bundled; ``open``: it is a bundle that
    still takes them, until it is tried for the first time."""

    id: str
    workspace: str
    destination: str
    address: str
    topic: str
    type: str
    agent: str
    approval: str
    digest: str
    title: str
    body: JsonObject
    created_at: datetime
    state: State = State.WAITING
    attempts: int = 0
    next_at: datetime | None = None
    last_at: datetime | None = None
    problem: str = ""
    open: bool = False
    window: datetime | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """What a link may do: answer this one held call (its ``digest``) as this person, once, until then."""

    hash: str
    workspace: str
    approval: str
    digest: str
    person: str
    delivery: str
    expires_at: datetime
    used_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an attempt. ``final``: trying again cannot help."""

    sent: bool
    problem: str = ""
    final: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """A destination with what became of what it was told: how many wait, how many are dead, when one last arrived and
    what was wrong last."""

    destination: Destination
    waiting: int
    dead: int
    sent_at: datetime | None
    problem: str = field(default="")


# -- how it is told ---------------------------------------------------------------------------------------------------


def wire(delivery: Delivery) -> bytes:
    """The body of a webhook, as Standard Webhooks has it: type, timestamp, data."""
    told = {"type": delivery.type, "timestamp": _iso(delivery.created_at), "data": delivery.body["data"]}
    return json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _iso(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def text_of(delivery: Delivery, link: str = "") -> str:
    """The text of a message for people, with the link that answers, or else the page that shows it."""
    lines = [*map(str, delivery.body["lines"]), ""]
    if link:
        lines.append(f"Look at the call and answer as {delivery.address}: {link}")
        lines.append("The link is yours alone, works once and shows the call before anything is decided.")
    else:
        lines.append(f"In the console: {delivery.body['data']['url']}")
    return "\n".join(lines)


def next_attempt(attempts: int, ident: str, now: datetime) -> datetime | None:
    """When the attempt after so many is due: a tenth earlier or later, by id, so that not all come at once; None: no
    more."""
    if attempts > len(BACK_OFF):
        return None
    spread = int(hashlib.sha256(ident.encode()).hexdigest()[:4], 16) / 0xFFFF * 0.2 + 0.9
    return now + timedelta(seconds=BACK_OFF[attempts - 1] * spread)


# -- Standard Webhooks ----------------------------------------------------------------------------------------------


def signing_key(secret: str) -> bytes:
    """The key that ``whsec_<base64>`` stands for. Raises Refused for anything else, and does not repeat it."""
    marked = secret.startswith("whsec_")
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True) if marked else b""
    except (binascii.Error, ValueError):
        key = b""
    if len(key) not in _SIGNING_KEY:
        raise Refused(
            "bad_signing_key",
            "The secret is no signing key of a webhook.",
            fix='Make one: echo "whsec_$(openssl rand -base64 32)"; Standard Webhooks wants 24 to 64 bytes.',
            status=422,
        )
    return key


def signature(keys: Sequence[bytes], ident: str, at: int, body: bytes) -> str:
    """The header ``webhook-signature``: one v1 signature for each key, while two are good. ``at``: Unix seconds."""
    signed = f"{ident}.{at}.".encode() + body
    made = (base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode() for key in keys)
    return " ".join(f"v1,{one}" for one in made)


# -- where it may go ------------------------------------------------------------------------------------------------


def checked(wanted: Destination, private: frozenset[str], topics: Collection[str]) -> Destination:
    """The destination as it is kept. Raises Refused (422) for one that cannot be: an address that is none, words that
    name nothing, links that answer for nobody in particular. ``private``: hosts off the public network that the
    installation lets notifications go to; ``topics``: what can be told."""
    if not re.fullmatch(NAME, wanted.name):
        raise _wrong("bad_name", f"{wanted.name[:100]!r} is no name.", "Lower-case letters, digits, inner hyphens.")
    if not 0 <= wanted.bundle_s <= LONGEST_BUNDLE_S:
        text = f"Messages are collected for 0 to {LONGEST_BUNDLE_S} seconds."
        raise _wrong("bad_window", text, "60 is usual; 0 tells each alone.")
    unknown = [topic for topic in wanted.topics if topic not in topics]
    if unknown or not wanted.topics:
        what = f"{unknown[0][:60]!r} is nothing that can be told." if unknown else "It would be told nothing."
        raise _wrong("bad_topic", what, f"Say some of {', '.join(topics)}.")
    person = email_address(wanted.person) if wanted.person else ""
    if wanted.answers and wanted.kind is Kind.WEBHOOK:
        raise _wrong("answers_for_nobody", "A program answers no held call.", "Leave answers out.")
    if wanted.answers and wanted.kind is not Kind.EMAIL and not person:
        text = "A channel that many read cannot carry links that answer as one person."
        raise _wrong("answers_for_nobody", text, "Say whose own channel it is (person), or leave answers out.")
    match wanted.kind:
        case Kind.WEBHOOK:
            _check_webhook(wanted, private)
        case Kind.EMAIL:
            _check_mail(wanted)
        case Kind.SLACK | Kind.TEAMS:
            if wanted.url or not wanted.secret:
                text = f"The address that {wanted.kind.value} gave is a secret: whoever has it may write there."
                raise _wrong("address_is_secret", text, "Keep it with `tenure secrets put` and name that secret.")
    return wanted


def _wrong(code: str, message: str, fix: str) -> Refused:
    return Refused(code, message, fix=fix, status=422)


def _check_webhook(wanted: Destination, private: frozenset[str]) -> None:
    if not wanted.secret:
        fix = "Keep a signing key (whsec_...) with `tenure secrets put` and name it."
        raise _wrong("no_signing_key", "A webhook is signed, so it needs a key.", fix)
    parts = address_of(wanted.url, ("https", "http"))
    if parts.username or parts.password or parts.fragment:
        raise _wrong("bad_address", "The address holds more than a place.", "Credentials are kept as secrets.")
    if parts.scheme == "http" and not declared(wanted.url, private):
        fix = "Use https. TENURE_NOTIFY_PRIVATE names hosts of one's own network that need none."
        raise _wrong("insecure_address", "A webhook is sent over TLS.", fix)


def _check_mail(wanted: Destination) -> None:
    if not wanted.to or len(wanted.to) > _MAX_TO:
        fix = f"Say up to {_MAX_TO} addresses, {APPROVERS}, {OWNERS} or {ASKED}."
        raise _wrong("bad_recipients", "Mail goes to somebody.", fix)
    for one in (*wanted.to, wanted.sender):
        if one not in (APPROVERS, OWNERS, ASKED) or one == wanted.sender:
            email_address(one)
    parts = address_of(wanted.url, ("smtp", "smtp+starttls", "smtps"))
    if parts.password or parts.path.strip("/") or parts.query or parts.fragment:
        fix = "As in smtps://user@smtp.example.com:465; the password is a secret."
        raise _wrong("bad_address", "That is no address of a mail server.", fix)
    if wanted.secret and not parts.username:
        raise _wrong("bad_address", "A password needs a user.", "As in smtps://user@smtp.example.com.")


def address_of(url: str, schemes: tuple[str, ...]) -> SplitResult:
    """The parts of an address with a host. Raises Refused (422)."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in schemes and bool(parts.hostname) and (parts.port or 1) > 0 and len(url) <= 2000
    except ValueError:
        good = False
    if not good or not url.isprintable() or " " in url:
        raise _wrong("bad_address", f"{url[:200]!r} is no address of {' or '.join(schemes)}.", "Write it whole.")
    return parts


def declared(url: str, private: frozenset[str]) -> bool:
    """Whether the installation names this host (or host:port) as one of its own network."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    return host in private or f"{host}:{parts.port}" in private


def mail_place(url: str) -> str:
    """The mail server as an address that a secret's bounds speak of: TLS as https, without it as http."""
    parts = urlsplit(url)
    port = parts.port or {"smtps": 465, "smtp+starttls": 587}.get(parts.scheme, 25)
    return f"{'http' if parts.scheme == 'smtp' else 'https'}://{parts.hostname}:{port}"


def link_hash(token: str) -> str:
    """What is kept of a link."""
    return hashlib.sha256(token.encode()).hexdigest()


def check_link(link: Link | None, now: datetime) -> Link:
    """Raises Refused (410) unless it may still answer."""
    if link is None or link.used_at is not None or link.expires_at <= now:
        raise Refused(
            "link_spent",
            "This link answers nothing any more: it was used, it is too old, or it was never one.",
            fix="Open Approvals in the console.",
            status=410,
        )
    return link
