"""Segment files: append-only, every record with its length and CRC, so that a torn tail is told from a record.

All functions here block; the spool calls them from its own thread.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from struct import Struct

_HEADER = Struct("<II")  # length and CRC-32 of the payload
_MAX_RECORD = 64 << 20


def framed(payload: bytes) -> bytes:
    """A record as it lies in a segment."""
    return _HEADER.pack(len(payload), zlib.crc32(payload)) + payload


def read(path: Path, offset: int, end: int, limit: int) -> tuple[list[bytes], int]:
    """Payloads from ``offset`` up to ``end``, about ``limit`` bytes of them and at least one, and the offset after
    them. Stops at the first record that is torn."""
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read(max(0, min(end - offset, limit)))
        out, used = _take(data)
        if not out and len(data) < end - offset:  # one record longer than the limit
            file.seek(offset)
            out, used = _take(file.read(end - offset))
            out, used = out[:1], _HEADER.size + len(out[0]) if out else 0
    return out, offset + used


def _take(data: bytes) -> tuple[list[bytes], int]:
    out: list[bytes] = []
    at = 0
    while at + _HEADER.size <= len(data):
        length, crc = _HEADER.unpack_from(data, at)
        payload = data[at + _HEADER.size : at + _HEADER.size + length]
        if length > _MAX_RECORD or len(payload) < length or zlib.crc32(payload) != crc:
            break
        out.append(payload)
        at += _HEADER.size + length
    return out, at


@dataclass(slots=True)
class Segment:
    """``size`` is how much of the file is whole and on disk."""

    number: int
    path: Path
    size: int = 0


def recover(folder: Path) -> list[Segment]:
    """The segments that an earlier process left, oldest first, each cut off after its last whole record."""
    out: list[Segment] = []
    for path in sorted(folder.glob("*.seg")):
        size = path.stat().st_size
        whole = 0
        while whole < size:
            records, after = read(path, whole, size, 4 << 20)
            if not records:
                break
            whole = after
        if whole < size:
            os.truncate(path, whole)
        if whole:
            out.append(Segment(int(path.stem), path, whole))
        else:
            path.unlink()
    return out


class Writer:
    """Appends to the newest segment, and starts another when that is full."""

    def __init__(self, folder: Path, number: int, segment_bytes: int) -> None:
        self._folder = folder
        self._number = number
        self._segment_bytes = segment_bytes
        self._file: int | None = None
        self._segment: Segment | None = None

    def write(self, records: Sequence[bytes]) -> Segment:
        """Appends framed records and makes them durable. Returns the segment they are in, with its new size. Raises
        OSError, and then none of them counts."""
        segment = self._segment
        if segment is not None and segment.size >= self._segment_bytes:
            self.seal()
            segment = None
        if segment is None or self._file is None:
            self._number += 1
            path = self._folder / f"{self._number:012d}.seg"
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
            segment = self._segment = Segment(self._number, path)
            _sync_folder(self._folder)
        data = b"".join(records)
        try:
            done = 0
            while done < len(data):
                done += os.write(self._file, data[done:])
            os.fdatasync(self._file)
        except OSError:
            # After a failed fsync the kernel may have dropped the pages: this file is written no further.
            self.seal()
            os.truncate(segment.path, segment.size)
            raise
        segment.size += len(data)
        return Segment(segment.number, segment.path, segment.size)

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
