"""The spool: Events on disk until the control plane has them.

Appending never waits and never fails. A thread writes what was appended in batches with one fsync each; a task ships
whole batches in order and deletes a segment when all of it is acknowledged. What does not fit (a full disk, a spool at
its limit) is dropped, newest first, counted, and told in a ``gateway.dropped`` Event when there is room again: a dead
recorder never stops a call.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from tenure.base import log
from tenure.gateway.events import pared
from tenure.gateway.segments import Segment, Writer, framed, read, recover
from tenure.kernel.errors import Refused
from tenure.kernel.ids import new_id
from tenure.kernel.values import Event, Status

_log = log.get("gateway")
_COMMIT_S = 0.005
_SHIP_S = 0.1  # lets Events gather; urgent ones do not wait
_SHIP_BYTES = 256 << 10  # a bigger batch would hold the event loop up while it is sent
_SEGMENT_BYTES = 4 << 20
_BACKOFF_S = (0.1, 5.0)
_RETRY_WRITE_S = 1.0
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Event).decode

Ship = Callable[[bytes], Awaitable[int]]
"""Sends ndjson to the control plane and returns the HTTP status; raises OSError or UpstreamError when unreachable."""


@dataclass(slots=True)
class Counts:
    """What became of Events since the process started. ``recovered`` came from an earlier process."""

    appended: int = 0
    durable: int = 0
    shipped: int = 0
    dropped: int = 0
    refused: int = 0
    recovered: int = 0


class Spool:
    """``folder`` is this gateway's own. Raises Refused when it cannot be written or another process has it."""

    def __init__(self, folder: Path, max_bytes: int, name: str = "local") -> None:
        self.counts = Counts()
        self._folder = folder
        self._name = name
        self._max_bytes = max_bytes
        self._lock = _own(folder)
        self._segments: deque[Segment] = deque(recover(folder))
        self.counts.recovered = sum(1 for segment in self._segments for _ in _all(segment))
        newest = self._segments[-1].number if self._segments else 0
        self._writer = Writer(folder, newest, min(_SEGMENT_BYTES, max(1, max_bytes // 4)))
        self._bytes = sum(segment.size for segment in self._segments)
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._waiting: list[asyncio.Future[bool]] = []
        self._committing = False
        self._timer: asyncio.TimerHandle | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")
        self._urgent = asyncio.Event()
        self._work = asyncio.Event()
        self._unreported = 0
        self._dropping_since: datetime | None = None
        self._shipper: asyncio.Task[None] | None = None
        if self._segments:
            self._work.set()

    @property
    def backlog_bytes(self) -> int:
        """What waits to be shipped."""
        return self._bytes + self._pending_bytes

    def recovered(self, kind: str) -> list[Event]:
        """The Events of a type that an earlier process could not deliver. To be asked before ``start``."""
        records = (record for segment in self._segments for record in _all(segment))
        found = (_decode(record) for record in records if kind.encode() in record)
        return [event for event in found if event.type == kind]

    # -- taking Events in
    def append(self, event: Event, *, urgent: bool = False) -> None:
        """Takes an Event; ``urgent`` ships it without gathering more. Never waits, never raises."""
        if self._dropping_since is not None:
            self._report_dropped()
        self._take(event)
        if urgent:
            self._urgent.set()
            self._commit_now()
        elif self._timer is None and not self._committing:
            self._timer = asyncio.get_running_loop().call_later(_COMMIT_S, self._commit_now)

    def _take(self, event: Event) -> bool:
        try:
            record = framed(_encode(event))
        except (TypeError, ValueError, RecursionError) as error:  # bytes that a foreign upstream made up
            _log.error("event_not_json", type=event.type, problem=str(error))
            if event.type.startswith("call.") and "tenure.capture.truncated" not in event.data:
                return self._take(pared(event))
            self._drop()
            return False
        # A trip is small, told once, and must be known to whoever serves this agent next: it always finds room.
        if self.backlog_bytes + len(record) > self._max_bytes and event.type != "breaker.tripped":
            self._drop()
            return False
        self.counts.appended += 1
        self._pending.append(record)
        self._pending_bytes += len(record)
        return True

    def _drop(self, count: int = 1) -> None:
        self.counts.dropped += count
        self._unreported += count
        if self._dropping_since is None:
            self._dropping_since = datetime.now(UTC)
            _log.error("spool_full", bytes=self.backlog_bytes, limit=self._max_bytes)

    def _report_dropped(self) -> None:
        """Tells of dropped Events, once a little room has come back."""
        since = self._dropping_since
        if since is None or self.backlog_bytes > self._max_bytes * 0.9:
            return
        count, self._unreported, self._dropping_since = self._unreported, 0, None
        event = Event(
            id=new_id(),
            type="gateway.dropped",
            time=since,
            workspace="default",
            actor=f"gateway:{self._name}",
            status=Status.FLAGGED,
            data={"count": count},
        )
        if not self._take(event):
            self._unreported += count

    async def durable(self, event: Event) -> bool:
        """As ``append``, and returns when the Event is on disk: True, or False when it had to be dropped."""
        before = self.counts.dropped
        self.append(event, urgent=True)
        return self.counts.dropped == before and await self._committed()

    async def flush(self) -> bool:
        """Returns when all that was appended so far is on disk (True) or could not be written (False)."""
        if not self._pending and not self._committing:
            return True
        return await self._committed()

    async def _committed(self) -> bool:
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append(done)
        self._commit_now()
        return await done

    # -- to disk
    def _commit_now(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._committing or not (self._pending or self._waiting):
            return
        self._committing = True
        batch, self._pending = self._pending, []
        waiting, self._waiting = self._waiting, []
        future = asyncio.get_running_loop().run_in_executor(self._thread, self._write, batch)
        future.add_done_callback(lambda done: self._committed_batch(done, batch, waiting))

    def _write(self, batch: Sequence[bytes]) -> Segment | None:
        return self._writer.write(batch) if batch else None

    def _committed_batch(
        self, done: asyncio.Future[Segment | None], batch: list[bytes], waiting: list[asyncio.Future[bool]]
    ) -> None:
        self._committing = False
        size = sum(map(len, batch))
        error = None if done.cancelled() else done.exception()
        if done.cancelled() or error is not None:
            self._not_written(batch, error)
        elif (segment := done.result()) is not None:
            self._pending_bytes -= size
            self._bytes += size
            self.counts.durable += len(batch)
            if self._segments and self._segments[-1].number == segment.number:
                self._segments[-1].size = segment.size
            else:
                self._segments.append(segment)
            self._work.set()
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(error is None)
        if error is None and (self._pending or self._waiting):
            self._commit_now()

    def _not_written(self, batch: list[bytes], error: BaseException | None) -> None:
        """Keeps what fits into memory for another attempt and drops the rest."""
        _log.error("spool_not_written", problem=str(error))
        room = min(self._max_bytes, _SEGMENT_BYTES)
        self._pending = batch + self._pending
        size = sum(map(len, self._pending))
        dropped = 0
        while self._pending and size > room:
            size -= len(self._pending.pop())
            dropped += 1
        self._pending_bytes = size
        if dropped:
            self._drop(dropped)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_RETRY_WRITE_S, self._commit_now)

    # -- to the control plane
    def start(self, ship: Ship) -> None:
        """Begins to ship."""
        self._shipper = asyncio.create_task(self._run(ship))

    async def _run(self, ship: Ship) -> None:
        offset = 0
        while True:
            if not self._segments or offset >= self._segments[0].size:
                offset = await self._next_segment(offset)
                continue
            segment = self._segments[0]
            try:
                payloads, after = await asyncio.to_thread(read, segment.path, offset, segment.size, _SHIP_BYTES)
            except OSError as error:
                _log.error("segment_unreadable", path=str(segment.path), problem=str(error))
                payloads, after = [], offset
            if not payloads:  # damaged on disk after it was written: what follows cannot be told apart
                _log.error("segment_damaged", path=str(segment.path), offset=offset)
                self._bytes -= segment.size - offset
                offset = segment.size
                continue
            await self._deliver(ship, payloads)
            self._bytes -= after - offset
            offset = after

    async def _next_segment(self, offset: int) -> int:
        """Deletes a segment that is all acknowledged and will not grow, or waits for more; returns the new offset."""
        if len(self._segments) > 1:
            segment = self._segments.popleft()
            await asyncio.to_thread(segment.path.unlink, missing_ok=True)
            return 0
        self._work.clear()
        if self._dropping_since is not None:
            self._report_dropped()
            self._commit_now()
        await self._work.wait()
        try:
            async with asyncio.timeout(_SHIP_S):
                await self._urgent.wait()
        except TimeoutError:
            pass
        self._urgent.clear()
        return offset

    async def _deliver(self, ship: Ship, payloads: list[bytes]) -> None:
        """Sends until it is acknowledged. What the control plane refuses for good is halved until the one bad Event is
        found. A call's is sent again without its content; any other is counted and left out: it must not hold up the
        others."""
        delay = _BACKOFF_S[0]
        while True:
            try:
                status = await ship(b"\n".join(payloads) + b"\n")
            except Exception as error:  # noqa: BLE001 (whatever the link does, Events wait on disk)
                _log.info("events_wait", problem=str(error) or type(error).__name__, retry_s=round(delay, 2))
                status = 0
            if 200 <= status < 300:
                self.counts.shipped += len(payloads)
                return
            if status in (400, 413, 422):
                if len(payloads) == 1:
                    smaller = _without_content(payloads[0])
                    if smaller is not None:
                        await self._deliver(ship, [smaller])
                        return
                    self.counts.refused += 1
                    _log.error("event_refused", status=status, record=payloads[0][:200].decode("utf-8", "replace"))
                    return
                half = len(payloads) // 2
                await self._deliver(ship, payloads[:half])
                await self._deliver(ship, payloads[half:])
                return
            await asyncio.sleep(delay)
            delay = min(delay * 2, _BACKOFF_S[1])

    async def stop(self, seconds: float) -> None:
        """Writes what is pending, ships for at most ``seconds`` more, and leaves the rest to the next process."""
        await self.flush()
        if self._shipper is not None:
            self._urgent.set()
            end = asyncio.get_running_loop().time() + seconds
            while self._bytes > 0 and asyncio.get_running_loop().time() < end:  # noqa: ASYNC110 (once, at the end)
                await asyncio.sleep(0.02)
            self._shipper.cancel()
        self._writer.seal()
        if self._bytes <= 0:
            for segment in self._segments:
                segment.path.unlink(missing_ok=True)
        self._thread.shutdown()
        os.close(self._lock)


def _without_content(record: bytes) -> bytes | None:
    """A call's record pared down; None for one that is so already, and for any other Event: whoever decides on a held
    call must see all of it."""
    event = _decode(record)
    smaller = _encode(pared(event)) if event.type.startswith("call.") else record
    return smaller if smaller != record else None


def _all(segment: Segment) -> list[bytes]:
    return read(segment.path, 0, segment.size, segment.size)[0]


def _own(folder: Path) -> int:
    """Makes ``folder`` and locks it for this process."""
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
