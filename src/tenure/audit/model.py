"""Entries, what an Event leaves in one, the chain that joins them, and the signed checkpoint that pins its length.

Every entry names the hash of the one before it, so a change anywhere shows from there on; the checkpoint, kept outside
the database, shows what hashes alone cannot: an end that was cut off and a chain that was rewritten to fit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from tenure.kernel.json import Json, JsonObject, canonical, digest
from tenure.kernel.values import Event

GENESIS = "0" * 64
MAX_TEXT = 191
MAX_ITEMS = 64
_SAFE_INTEGER = 2**53 - 1

_ENTRY_DOMAIN = b"tenure audit entry v1\n"
_BODY_DOMAIN = b"tenure audit event v1\n"
_CHECKPOINT_TYPE = "tenure-audit-checkpoint"
_REGISTRY = jws.JWSRegistry(algorithms=["ES256"])
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

_CALL = (
    "tenure.call.id",
    "tenure.kind",
    "tenure.resource",
    "tenure.decision",
    "tenure.violation",
    "tenure.approval.id",
    "tenure.mode",
    "tenure.draft.id",
    "tenure.breaker.epoch",
    "error.type",
)
_APPROVAL = (
    "approval_id",
    "call_id",
    "resource",
    "digest",
    "policies",
    "policy_version",
    "claim",
    "decided_by",
    "recommended",
)
_DRAFT = ("draft", "kind", "resource", "digest")
_BREAKER = ("scope", "name", "epoch", "threshold", "window_s", "trials", "limits")
_TOOL = ("resource", "fingerprint", "before")
_PERSON = ("email", "roles")
_HANDOVER = ("handover", "role", "from", "to")
_DECISION = ("effect", "policies", "obligations", "policy_version")

KEPT: Mapping[str, tuple[str, ...]] = {
    "agent.applied": ("release", "pending_release"),
    "release.created": ("digest",),
    "release.approved": ("digest", "before"),
    "release.rejected": ("digest", "before"),
    "agent.credentials_revoked": ("credential_epoch",),
    "credentials.revoked": ("kind", "subject"),
    "credentials.rotated": ("kind", "subject", "good_until"),
    "agent.transitioned": ("from", "to", "credential_epoch", "forced"),
    "agent.owner_changed": ("role", "before", "now"),
    "handover.offered": (*_HANDOVER, "expires_at", "declared"),
    "handover.accepted": _HANDOVER,
    "handover.declined": _HANDOVER,
    "handover.withdrawn": _HANDOVER,
    "handover.expired": _HANDOVER,
    "owner.confirmed": ("email",),
    "owner.concern_raised": ("kind", "since", "due", "owner"),
    "owner.concern_ended": ("kinds",),
    "instance.started": ("on_behalf_of", "ttl_s"),
    "instance.ended": ("exit_code",),
    "call.completed": _CALL,
    "call.refused": _CALL,
    "fork.started": ("tenure.fork", "tenure.fork.of", "tenure.fork.step", "tenure.fork.changed"),
    "fork.ended": ("tenure.fork", "tenure.fork.came_to"),
    "fork.called": _CALL,
    "fork.refused": _CALL,
    "blame.asked": ("tenure.blame.of", "gen_ai.request.model", "server.address", "tenure.blame.prompt"),
    "blame.judged": ("tenure.blame.of", "tenure.blame.came_to"),
    "gateway.dropped": ("count",),
    "approval.requested": _APPROVAL,
    "approval.granted": (*_APPROVAL, "covers"),
    "approval.edited": (*_APPROVAL, "covers"),
    "approval.rejected": _APPROVAL,
    "approval.claimed": _APPROVAL,
    "approval.expired": _APPROVAL,
    "call.corrected": ("call", "resource"),
    "draft.released": _DRAFT,
    "draft.discarded": _DRAFT,
    "draft.elsewhere": _DRAFT,
    "draft.returned": _DRAFT,
    "draft.claimed": ("draft", "claim", "resource"),
    "breaker.tripped": _BREAKER,
    "breaker.reset": _BREAKER,
    "breaker.closed": _BREAKER,
    "breaker.limited": _BREAKER,
    "tool.pinned": _TOOL,
    "tool.changed": (*_TOOL, "changed", "like"),
    "tool.held": (*_TOOL, "like"),
    "tool.restored": _TOOL,
    "tool.rejected": _TOOL,
    "tool.disabled": ("resource", "agents"),
    "tool.enabled": ("resource",),
    "policy.loaded": ("version", "before"),
    "person.created": _PERSON,
    "person.changed": _PERSON,
    "person.logged_in": (),
    "login_link.created": ("email",),
    "token.issued": ("jti", "kid", "expires_at", "epoch", "on_behalf_of"),
    "api_token.created": ("token_id",),
    "api_token.revoked": ("token_id",),
    "key.created": ("kid",),
    "key.rotated": ("kid", "signs_at"),
    "key.retired": ("kid",),
}
"""The event types that leave an entry, and the attributes of each that are identifiers or a decision. Free text,
arguments and results are not among them: the digest binds the entry to them, so that they can be erased (D6)."""

_CORRELATION = ("release", "instance", "session", "trace_id", "span_id", "policy_version")


@dataclass(frozen=True, slots=True)
class Entry:
    """One link. ``time_us`` is microseconds since 1970, ``facts`` canonical JSON as text, ``digest`` that of the whole
    Event, ``prev`` the hash of entry ``seq - 1``."""

    seq: int
    workspace: str
    time_us: int
    event: str
    type: str
    actor: str
    agent: str | None
    digest: str
    facts: str
    prev: str
    hash: str

    @property
    def time(self) -> datetime:
        """When the Event began, UTC."""
        return _EPOCH + self.time_us * _MICROSECOND


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with the chain, and from which entry on.

    ``kind``: edited, reordered, missing, broken_link, cut_off, rewritten, checkpoint_missing, checkpoint_forged.
    """

    seq: int
    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """``size`` entries, the last of which has the hash ``head``, at ``time``; signed, so only we can say so."""

    size: int
    head: str
    time: datetime


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check of the whole chain found. ``checkpoint`` is None while there is none; a chain that is longer than
    its checkpoint says is fine. ``problems`` are the first hundred."""

    ok: bool
    entries: int
    problems: tuple[Problem, ...]
    head: str = GENESIS
    checkpoint: Checkpoint | None = None


def _scalar(value: Json) -> Json:
    if isinstance(value, str):
        # Long text is content, whatever its name says; a NUL is what PostgreSQL cannot store.
        return value.replace("\x00", "\ufffd") if len(value) <= MAX_TEXT else digest(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) <= _SAFE_INTEGER else str(value)
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) <= _SAFE_INTEGER else repr(value)
    return None


def _kept(value: Json) -> Json:
    if isinstance(value, list | tuple):
        return [_scalar(item) for item in value[:MAX_ITEMS]]
    return _scalar(value)


def facts(event: Event) -> dict[str, Any]:
    """The identifiers of an Event and the decision in it: texts of at most 191 characters (longer ones as their
    digest), whole numbers, truth values and flat lists of those."""
    out: dict[str, Any] = {name: value for name in _CORRELATION if (value := getattr(event, name)) is not None}
    out = {name: _scalar(value) for name, value in out.items()}
    if event.type.startswith("call."):
        out["status"] = str(event.status)
    for name in KEPT.get(event.type, ()):
        value = event.data.get(name)
        if name == "tenure.decision" and isinstance(value, Mapping):
            out["decision"] = {part: _kept(value[part]) for part in _DECISION if part in value}
        elif value is not None:
            out[name] = _kept(value)
    return out


def body_digest(event: Event) -> str:
    """``sha256:<hex>`` over the whole Event as JSON with sorted keys. Not RFC 8785: arguments may hold numbers that it
    refuses, and no Event may stop the chain."""
    return "sha256:" + hashlib.sha256(_BODY_DOMAIN + msgspec.json.encode(event, order="deterministic")).hexdigest()


def entry_hash(entry: Entry) -> str:
    """64 hex digits over the RFC 8785 canonical JSON of every field but the hash itself, with domain separation.

    The keys stand in order and the values are texts and whole numbers: written so, plain JSON is the canonical form
    (a property test compares them), at a thirtieth of the cost."""
    body = {
        "actor": entry.actor,
        "agent": entry.agent,
        "digest": entry.digest,
        "event": entry.event,
        "facts": entry.facts,
        "prev": entry.prev,
        "seq": entry.seq,
        "time_us": entry.time_us,
        "type": entry.type,
        "workspace": entry.workspace,
    }
    return hashlib.sha256(_ENTRY_DOMAIN + msgspec.json.encode(body)).hexdigest()


def seal(events: Iterable[Event], seq: int, head: str) -> list[Entry]:
    """The entries of ``events`` that continue a chain whose last entry is number ``seq`` with hash ``head``."""
    out: list[Entry] = []
    for event in events:
        seq += 1
        draft = Entry(
            seq=seq,
            workspace=event.workspace,
            time_us=(event.time - _EPOCH) // _MICROSECOND,
            event=event.id,
            type=event.type,
            actor=event.actor.replace("\x00", "\ufffd"),
            agent=event.agent,
            digest=body_digest(event),
            facts=msgspec.json.encode(facts(event), order="deterministic").decode(),
            prev=head,
            hash="",
        )
        head = entry_hash(draft)
        out.append(replace(draft, hash=head))
    return out


def _holds(entry: Entry) -> bool:
    try:
        return entry_hash(entry) == entry.hash
    except (TypeError, ValueError, OverflowError):  # an embedded database lets any kind of value into any column
        return False


class Walk:
    """Reads a chain from a place that is known to be good, one entry at a time, and says what is wrong with each.

    ``find``: the number of the entry that has a hash. It is asked only when something is wrong."""

    def __init__(self, find: Callable[[str], int | None], seq: int = 0, head: str = GENESIS) -> None:
        self.seq = seq
        self.head = head
        self._find = find
        self._shift = 0  # how far the last entry was from where it was written

    def take(self, entry: Entry) -> Iterator[Problem]:
        """The problems of the next entry in the order of numbers. It is then taken as it stands, so that one fault is
        not told again for every entry after it."""
        before, expected = self._shift, self.seq + 1
        holds = _holds(entry)
        self._shift = 0 if holds else self._shift_of(entry)
        if entry.seq > expected:
            last = entry.seq - 1
            gone = f"Entry {expected} is" if last == expected else f"Entries {expected} to {last} are"
            yield Problem(expected, "missing", f"{gone} missing.")
        elif entry.prev != self.head and not before and not self._shift:
            yield Problem(
                entry.seq,
                "broken_link",
                f"Entry {entry.seq} does not continue entry {self.seq}: one of the two is not what was written.",
            )
        if self._shift and self._shift != before:
            place = entry.seq + self._shift
            yield Problem(entry.seq, "reordered", f"Entry {entry.seq} was written as entry {place}.")
        elif not holds and not self._shift:
            yield Problem(entry.seq, "edited", f"Entry {entry.seq} was changed after it was written.")
        self.seq, self.head = entry.seq, entry.hash

    def _shift_of(self, entry: Entry) -> int:
        """How far a true entry is from the place it was written for: as far as the one before it, or as the entry that
        it continues says. 0 when it is no true entry."""
        if self._shift and _holds(replace(entry, seq=entry.seq + self._shift)):
            return self._shift
        continued = 0 if entry.prev == GENESIS else self._find(entry.prev)
        if continued is None or not _holds(replace(entry, seq=continued + 1)):
            return 0
        return continued + 1 - entry.seq


def against_checkpoint(checkpoint: Checkpoint, size: int, hash_at_size: str | None) -> Problem | None:
    """What a checkpoint says of a chain of ``size`` entries whose entry ``checkpoint.size`` has the given hash (None
    when there is no such entry). A chain that has grown since is fine."""
    when = checkpoint.time.isoformat(timespec="seconds")
    if size < checkpoint.size:
        return Problem(
            size + 1,
            "cut_off",
            f"The chain ends at entry {size}, but had {checkpoint.size} entries at {when}: the rest was cut off.",
        )
    if checkpoint.size and hash_at_size is not None and hash_at_size != checkpoint.head:
        return Problem(
            checkpoint.size,
            "rewritten",
            f"Entry {checkpoint.size} is not the one that the checkpoint of {when} was signed for: entries up to it "
            "were rewritten.",
        )
    return None


# -- the signed checkpoint ------------------------------------------------------------------------------------------


def _statement(checkpoint: Checkpoint) -> dict[str, Any]:
    return {"size": checkpoint.size, "head": checkpoint.head, "time": checkpoint.time.isoformat()}


def sign_checkpoint(checkpoint: Checkpoint, private_jwk: JsonObject) -> bytes:
    """The checkpoint file: JSON with size, head, time and a detached JWS (RFC 7515 appendix F) over the canonical JSON
    of those three."""
    header = {"alg": "ES256", "kid": private_jwk["kid"], "typ": _CHECKPOINT_TYPE}
    statement = _statement(checkpoint)
    token = jws.serialize_compact(header, canonical(statement), ECKey.import_key(dict(private_jwk)), registry=_REGISTRY)
    signed = {**statement, "signature": jws.detach_content(token)}
    return msgspec.json.format(msgspec.json.encode(signed), indent=2) + b"\n"


def read_checkpoint(data: bytes, jwk: JsonObject) -> Checkpoint | None:
    """The checkpoint in a file, None when it is not one that the key ``jwk`` signed."""
    try:
        body = msgspec.json.decode(data)
        checkpoint = Checkpoint(body["size"], body["head"], datetime.fromisoformat(body["time"]))
        if type(checkpoint.size) is not int or checkpoint.time.tzinfo is None:
            return None
        payload = canonical(_statement(checkpoint))
        signed = jws.deserialize_compact(
            body["signature"], ECKey.import_key(dict(jwk)), registry=_REGISTRY, payload=payload
        )
    except (JoseError, ValueError, TypeError, KeyError, AttributeError):  # msgspec's errors are ValueErrors
        return None
    return checkpoint if signed.headers().get("typ") == _CHECKPOINT_TYPE else None
