"""Keys under which content is kept, one for each subject that it is about: to destroy a key is to erase what it kept.

A subject is a person for whom an agent worked, or the agent itself where it worked for nobody. Content is compressed
(Zstandard) and encrypted (AES-256-GCM, bound to the Event it belongs to) under the subject's key, and that key is kept
wrapped by the key that secrets are kept under. NIST SP 800-88r1, section 2.6, calls it cryptographic erase.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy.engine import Connection

from tenure.base import keys
from tenure.base.blind import Blind
from tenure.base.config import Config
from tenure.base.db import Database, UtcTime, insert, metadata
from tenure.base.sealing import KEY_BYTES, wipe
from tenure.kernel.errors import Failed

MAX_KEYS = 20_000
"""The most keys that are held in memory; beyond it all are read anew."""
_ASKED_AT_ONCE = 10_000
_NONCE_BYTES = 12

subject_key = sa.Table(
    "subject_key",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("workspace", sa.String(63), nullable=False),
    sa.Column("subject", sa.Text),  # None once its key is destroyed: then only the mark is left of the name
    sa.Column("mark", sa.String(64), nullable=False),
    sa.Column("kek", sa.Text),
    sa.Column("wrapped", sa.Text),
    sa.Column("destroyed_at", UtcTime),
    sa.CheckConstraint("(wrapped IS NULL) = (destroyed_at IS NOT NULL)", name="destroyed"),
    sa.UniqueConstraint("workspace", "subject", name="one_key"),
    sa.Index("ix_subject_key_mark", "workspace", "mark"),
    sqlite_autoincrement=True,  # the number of a destroyed key must never be that of another
)
_K = subject_key.c


class _Zstd(threading.local):
    """One of each for every thread: to make one takes longer (13 us) than to use it (9 us for 2 KB)."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=1)
        self.decompressor = zstandard.ZstdDecompressor()


_zstd = _Zstd()


def mark_of(workspace: str, subject: str) -> str:
    """What is remembered of a subject whose key was destroyed, so that content which comes late is not kept."""
    return hashlib.sha256(f"tenure subject\n{workspace}\n{subject}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Seal:
    """A subject's key: its number, what makes marks of words under it, and until when what happened was erased (None:
    never)."""

    id: int
    cipher: AESGCM
    blind: Blind
    erased: datetime | None


def sealed(seals: Sequence[Seal], contents: Sequence[bytes], about: Sequence[str]) -> list[bytes]:
    """Contents, each compressed and encrypted under its seal for the Event that it is ``about`` only. They are
    compressed all at once, on two cores where there are two, while others go on."""
    if not contents:
        return []
    packed = _zstd.compressor.multi_compress_to_buffer(list(contents), threads=2)
    nonces = os.urandom(_NONCE_BYTES * len(contents))
    found = []
    for at, (seal, ident) in enumerate(zip(seals, about, strict=True)):
        nonce = nonces[_NONCE_BYTES * at : _NONCE_BYTES * (at + 1)]
        found.append(nonce + seal.cipher.encrypt(nonce, packed[at].tobytes(), ident.encode()))
    return found


def opened(cipher: AESGCM, content: bytes, about: str) -> bytes:
    """What ``sealed`` was given. Raises Failed for what was changed or belongs to another Event."""
    try:
        plain = cipher.decrypt(content[:_NONCE_BYTES], content[_NONCE_BYTES:], about.encode())
        return _zstd.decompressor.decompress(plain)
    except (InvalidTag, zstandard.ZstdError, ValueError):
        raise Failed("content_damaged", f"What is kept of Event {about} was changed.") from None


@dataclass(frozen=True, slots=True)
class _Held:
    cipher: AESGCM
    blind: Blind


class Keyring:
    """The keys of subjects, as far as they are at hand. Its verbs raise Failed while the key that wraps them all cannot
    be had."""

    def __init__(self, db: Database, config: Config) -> None:
        self._db = db
        self._config = config
        self._held: dict[int, _Held] = {}
        self._lock = threading.Lock()
        keys.ensure(config)

    def seals(self, subjects: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], Seal]:
        """The current key of each (workspace, subject); those that have none are given one."""
        if not subjects:
            return {}
        with self._db.read() as connection:
            rows = _current(connection, subjects)
        while missing := [one for one in subjects if one not in rows]:
            rows |= self._made(missing)
        with self._db.read() as connection:
            erased = _erased(connection, subjects)
        held = self._at_hand([(row.id, row.kek, row.wrapped) for row in rows.values()])
        return {
            name: Seal(row.id, held[row.id].cipher, held[row.id].blind, erased.get(mark_of(*name)))
            for name, row in rows.items()
        }

    def _made(self, names: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Any]:
        fresh = [bytearray(os.urandom(KEY_BYTES)) for _ in names]
        try:
            kek, wrapped = keys.keys_of(self._config).wrap(fresh)
        finally:
            wipe(*fresh)
        with self._db.begin() as tx:
            alone(tx)
            if keys.keys_of(self._config).known(kek):  # else it was replaced and dropped meanwhile: once more
                _add(tx, names, kek, wrapped)  # another process may have been first: then its key is current
            return _current(tx, names)

    def opens(self, numbers: Collection[int]) -> Mapping[int, AESGCM]:
        """The keys of these numbers; one that was destroyed is not among them."""
        return {number: held.cipher for number, held in self._known(numbers).items()}

    def blinds(self, numbers: Collection[int]) -> Mapping[int, Blind]:
        """As ``opens``, what makes marks of words under each."""
        return {number: held.blind for number, held in self._known(numbers).items()}

    def _known(self, numbers: Collection[int]) -> dict[int, _Held]:
        every, found = list(numbers), dict[int, _Held]()
        for start in range(0, len(every), _ASKED_AT_ONCE):
            found |= self._known_of(every[start : start + _ASKED_AT_ONCE])
        return found

    def _known_of(self, numbers: Sequence[int]) -> dict[int, _Held]:
        with self._db.read() as connection:
            rows = connection.execute(
                sa.select(_K.id, _K.kek, _K.wrapped).where(_K.id.in_(numbers), _K.wrapped.is_not(None))
            ).all()
        with self._lock:  # what was destroyed is not kept at hand either
            for gone in set(numbers) - {row.id for row in rows}:
                self._held.pop(gone, None)
        return self._at_hand([tuple(row) for row in rows])

    def _at_hand(self, rows: Sequence[tuple[int, str, str]]) -> dict[int, _Held]:
        with self._lock:
            if len(self._held) > MAX_KEYS:
                self._held.clear()
            missing = [row for row in rows if row[0] not in self._held]
            if missing:
                plain = keys.keys_of(self._config).unwrap([(kek, wrapped) for _, kek, wrapped in missing])
                try:
                    self._held |= {
                        row[0]: _Held(AESGCM(key), Blind(key)) for row, key in zip(missing, plain, strict=True)
                    }
                finally:
                    wipe(*plain)
            return {row[0]: self._held[row[0]] for row in rows}


def alone(connection: Connection) -> None:
    """Until the end of the transaction nobody else makes keys."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("LOCK TABLE subject_key IN SHARE ROW EXCLUSIVE MODE"))


def _current(connection: Connection, subjects: Collection[tuple[str, str]]) -> dict[tuple[str, str], Any]:
    of: dict[str, list[str]] = {}
    for workspace, subject in subjects:
        of.setdefault(workspace, []).append(subject)
    found: dict[tuple[str, str], Any] = {}
    for workspace, names in of.items():
        rows = connection.execute(
            sa.select(_K.id, _K.kek, _K.wrapped, _K.workspace, _K.subject).where(
                _K.workspace == workspace, _K.subject.in_(names)
            )
        )
        found |= {(row.workspace, row.subject): row for row in rows}
    return found


def _add(connection: Connection, subjects: Sequence[tuple[str, str]], kek: str, wrapped: Sequence[str]) -> None:
    rows = [
        {"workspace": workspace, "subject": subject, "mark": mark_of(workspace, subject), "kek": kek, "wrapped": text}
        for (workspace, subject), text in zip(subjects, wrapped, strict=True)
    ]
    connection.execute(
        insert(connection, subject_key).on_conflict_do_nothing(index_elements=["workspace", "subject"]), rows
    )


def _erased(connection: Connection, subjects: Collection[tuple[str, str]]) -> dict[str, datetime]:
    marks = [mark_of(*name) for name in subjects]
    rows = connection.execute(
        sa.select(_K.mark, sa.func.max(_K.destroyed_at, type_=UtcTime))
        .where(_K.mark.in_(marks), _K.destroyed_at.is_not(None))
        .group_by(_K.mark)
    )
    return {row[0]: row[1] for row in rows}


def subjects(connection: Connection, workspace: str, like: str, limit: int) -> list[tuple[int, str]]:
    """(number, subject) of keys of a workspace whose subject has ``like`` in it, by name, at most ``limit``."""
    rows = connection.execute(
        sa.select(_K.id, _K.subject)
        .where(_K.workspace == workspace, _K.subject.contains(like, autoescape=True))
        .order_by(_K.subject)
        .limit(limit)
    )
    return [(row.id, row.subject) for row in rows]


def names(connection: Connection, numbers: Collection[int]) -> dict[int, str]:
    """The subjects of these keys, but for those that were destroyed."""
    rows = connection.execute(sa.select(_K.id, _K.subject).where(_K.id.in_(list(numbers)), _K.subject.is_not(None)))
    return {row.id: row.subject for row in rows}


def number_of(connection: Connection, workspace: str, subject: str) -> int | None:
    """The number of a subject's current key, None for one that has none."""
    found = connection.execute(sa.select(_K.id).where(_K.workspace == workspace, _K.subject == subject)).scalar()
    return None if found is None else int(found)


def destroy(connection: Connection, workspace: str, subject: str, at: datetime) -> int | None:
    """Destroys the key of a subject and forgets its name; the number of that key, None when there was none. One that
    has none is remembered as erased all the same, for content that is still on its way."""
    gone = {"subject": None, "kek": None, "wrapped": None, "destroyed_at": at}
    found = connection.execute(
        sa.select(_K.id).where(_K.workspace == workspace, _K.subject == subject).with_for_update()
    ).scalar()
    if found is None:
        connection.execute(sa.insert(subject_key).values(workspace=workspace, mark=mark_of(workspace, subject), **gone))
        return None
    connection.execute(sa.update(subject_key).where(_K.id == found).values(**gone))
    return int(found)


def keks(connection: Connection) -> dict[str, int]:
    """How many keys each wrapping key wraps."""
    rows = connection.execute(sa.select(_K.kek, sa.func.count()).where(_K.kek.is_not(None)).group_by(_K.kek))
    return {row[0]: int(row[1]) for row in rows}


def under_other(connection: Connection, kek: str, limit: int) -> list[tuple[int, str, str]]:
    """(number, kek, wrapped) of keys that another key than ``kek`` wraps."""
    rows = connection.execute(sa.select(_K.id, _K.kek, _K.wrapped).where(_K.kek != kek).order_by(_K.id).limit(limit))
    return [tuple(row) for row in rows]


def rewrap(connection: Connection, number: int, before: str, kek: str, wrapped: str) -> bool:
    """Puts another wrapping of the same key in place of ``before``; False when that is not there any more."""
    done = connection.execute(
        sa.update(subject_key).where(_K.id == number, _K.wrapped == before).values(kek=kek, wrapped=wrapped)
    )
    return done.rowcount > 0
