"""Segment files: append-only, every record with its length and CRC, so that a torn tail is told from a record. A record
is a batch of Events, one to a line: what was made durable together is whole together.

All functions here block; the spool calls them from its own thread.
"""

from __future__ import annotations

import fcntl
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from struct import Struct

from tenure.kernel.errors import Refused

_HEADER = Struct("<II")  # length and CRC-32 of the lines
_RECORD = 1 << 20  # a record ends after the line that makes it this long, so that it can be read in one piece
_MAX_RECORD = 128 << 20


def framed(lines: Sequence[bytes]) -> bytes:
    """A record as it lies in a segment. No line is empty or holds a line feed, which JSON never needs."""
    text = b"\n".join(lines)
    return _HEADER.pack(len(text), zlib.crc32(text)) + text


def _records(lines: Sequence[bytes]) -> Iterator[bytes]:
    group: list[bytes] = []
    size = 0
    for line in lines:
        group.append(line)
        size += len(line)
        if size >= _RECORD:
            yield framed(group)
            group, size = [], 0
    if group:
        yield framed(group)


def read(path: Path, offset: int, end: int, limit: int) -> tuple[list[bytes], int]:
    """Lines from ``offset`` up to ``end``, about ``limit`` bytes of them and at least one record, and the offset after
    them. Stops at the first record that is torn."""
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read(max(0, min(end - offset, limit)))
        out, used = _take(data)
        if not out and len(data) < end - offset:  # one record longer than the limit
            file.seek(offset)
            out, used = _take(file.read(end - offset), 1)
    return out, offset + used


def _take(data: bytes, most: int = 1 << 30) -> tuple[list[bytes], int]:
    """The lines of the first ``most`` records, and their size."""
    out: list[bytes] = []
    at = count = 0
    while at + _HEADER.size <= len(data) and count < most:
        length, crc = _HEADER.unpack_from(data, at)
        text = data[at + _HEADER.size : at + _HEADER.size + length]
        if length > _MAX_RECORD or len(text) < length or zlib.crc32(text) != crc:
            break
        out += text.split(b"\n")
        at += _HEADER.size + length
        count += 1
    return out, at


@dataclass(slots=True)
class Segment:
    """``size`` is how much of the file is whole and on disk, ``count`` how many lines that is."""

    number: int
    path: Path
    size: int = 0
    count: int = 0


def recover(folder: Path) -> list[Segment]:
    """The segments that an earlier process left, oldest first, each cut off after its last whole record."""
    out: list[Segment] = []
    for path in sorted(folder.glob("*.seg")):
        size = path.stat().st_size
        whole = count = 0
        while whole < size:
            records, after = read(path, whole, size, 4 << 20)
            if not records:
                break
            whole, count = after, count + len(records)
        if whole < size:
            os.truncate(path, whole)
        if whole:
            out.append(Segment(int(path.stem), path, whole, count))
        else:
            path.unlink()
    return out


def own(folder: Path) -> int:
    """Makes ``folder`` and locks it for this process; returns the lock's file. Raises Refused."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise Refused(
            "spool_unwritable",
            f"The spool folder {folder} cannot be written: {error.strerror or error}.",
            fix="Make it writable, or set TENURE_DATA to another folder.",
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise Refused(
            "spool_in_use",
            f"Another gateway works in {folder}.",
            fix="Stop it, or set TENURE_DATA to another folder.",
        ) from None
    return lock


class Writer:
    """Appends to the newest segment, and starts another when that is full."""

    def __init__(self, folder: Path, number: int, segment_bytes: int) -> None:
        self._folder = folder
        self._number = number
        self._segment_bytes = segment_bytes
        self._file: int | None = None
        self._segment: Segment | None = None

    @property
    def open_number(self) -> int:
        """The segment that may still grow; 0 when the next record starts another."""
        segment = self._segment
        return segment.number if segment is not None else 0

    def write(self, lines: Sequence[bytes]) -> tuple[Segment, int]:
        """Appends lines and makes them durable. Returns the segment they are in, with its new size, and how much of it
        they take. Raises OSError, and then none of them counts."""
        if self._segment is not None and self._segment.size >= self._segment_bytes:
            self.seal()
        if self._segment is None:
            self._number += 1
            self._segment = Segment(self._number, self._folder / f"{self._number:012d}.seg")
        segment = self._segment
        data = b"".join(_records(lines))
        try:
            if self._file is None:
                self._file = os.open(segment.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
                _sync_folder(self._folder)
            done = 0
            while done < len(data):
                done += os.write(self._file, data[done:])
            os.fdatasync(self._file)
        except OSError:
            self._give_up(segment)
            raise
        segment.size += len(data)
        segment.count += len(lines)
        return replace(segment), len(data)

    def _give_up(self, segment: Segment) -> None:
        """After a failed fsync the kernel may have dropped the pages: the file is written no further. What cannot be
        taken back is read again only by another process, and then it is a second delivery of the same Events."""
        with suppress(OSError):
            self.seal()
        with suppress(OSError):
            if segment.size:
                os.truncate(segment.path, segment.size)
            else:
                segment.path.unlink(missing_ok=True)

    def seal(self) -> None:
        """Closes the present segment; the next record starts another."""
        file, self._file, self._segment = self._file, None, None
        if file is not None:
            os.close(file)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
