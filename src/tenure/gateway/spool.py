"""The spool: Events on disk until the control plane has them.

Appending never waits and never fails. What is found in an Event is noted and secrets are taken out before anything else
is done with it. A thread writes what was appended in batches with one fsync each; a task ships whole batches in order
and deletes a segment when all of it is acknowledged. While the disk takes nothing (it is full, fails or hangs) a
bounded part waits in memory. What does not fit there, or into a spool at its limit, is dropped,
newest first, counted, and told in a ``gateway.dropped`` Event when there is room again: a dead recorder never stops a
call.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tenure.base import log
from tenure.base.scan.kept import encoded
from tenure.gateway import losses
from tenure.gateway.events import pared
from tenure.gateway.losses import Losses
from tenure.gateway.segments import Segment, Writer, own, read, recover
from tenure.kernel.values import Event

_log = log.get("gateway")
_COMMIT_S = 0.01
_SHIP_S = 0.05  # between two shipments, so that Events gather; urgent ones do not wait, nor the first after a pause
_SHIP_BYTES = 256 << 10  # a bigger batch would hold the event loop up while it is sent
_SEGMENT_BYTES = 4 << 20
_FRESH_BYTES = 8 << 20  # of what is on disk, as much is also kept in memory until it is shipped
_MEMORY_BYTES = 32 << 20  # of Events that wait for a disk that takes none
_WRITE_BYTES = 4 << 20  # at once
_PROBE_BYTES = 64 << 10  # at once after a failure: a disk with little room takes what it can
_BACKOFF_S = (0.1, 5.0)
_RETRY_WRITE_S = 1.0
_READ_ATTEMPTS = 10
_LATE = (408, 504)  # the batch may be too long for the way
_STOP_S = 1.0  # for what is pending to reach the disk
_ALWAYS = frozenset({"breaker.tripped", "gateway.dropped"})
"""Small, told once, and needed: a trip must be known to whoever serves the agent next."""
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Event).decode

Ship = Callable[[bytes], Awaitable[int]]
"""Sends ndjson to the control plane and returns the HTTP status; raises OSError or UpstreamError when unreachable."""


@dataclass(slots=True)
class Counts:
    """What became of Events since the process started. ``recovered`` came from an earlier process.

    Every Event was ``appended`` or ``dropped``. What was appended is in memory or ``durable``; what was durable or
    recovered is on disk, or ``shipped``, ``refused`` for good by the control plane, or ``damaged`` on disk since."""

    appended: int = 0
    durable: int = 0
    shipped: int = 0
    dropped: int = 0
    refused: int = 0
    damaged: int = 0
    recovered: int = 0


class Spool:
    """``folder`` is this gateway's own; ``redacted`` are the classes of findings that do not reach it, besides secrets.
    Raises Refused when the folder cannot be written or another process has it."""

    def __init__(
        self, folder: Path, max_bytes: int, name: str = "local", redacted: Collection[str] = ("personal",)
    ) -> None:
        self.counts = Counts()
        self._folder = folder
        self._redacted = redacted
        self._max_bytes = max_bytes
        self._lock = own(folder)
        self._segments: deque[Segment] = deque(recover(folder))
        self.counts.recovered = sum(segment.count for segment in self._segments)
        newest = self._segments[-1].number if self._segments else 0
        self._writer = Writer(folder, newest, min(_SEGMENT_BYTES, max(1, max_bytes // 4)))
        self._bytes = sum(segment.size for segment in self._segments)
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._kept: set[bytes] = set()  # records on their way to disk that always find room
        self._write_bytes = _WRITE_BYTES
        self._waiting: list[asyncio.Future[bool]] = []
        # What was written last, by where it begins: (segment number, offset) -> records, size in the segment.
        self._fresh: dict[tuple[int, int], tuple[list[bytes], int]] = {}
        self._fresh_bytes = 0
        self._committing = False
        self._timer: asyncio.TimerHandle | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")
        self._urgent = asyncio.Event()
        self._work = asyncio.Event()
        self._losses = Losses(name)
        self.disk_problem = ""  # why the disk took nothing when it was last asked
        self._shipper: asyncio.Task[None] | None = None
        self._shipped_at = 0.0  # when the newest shipment began, by the event loop's clock
        self._offset = self._sent = 0  # bytes and records of the first segment that are acknowledged
        if self._segments:
            self._work.set()

    @property
    def backlog_bytes(self) -> int:
        """What waits to be shipped."""
        return self._bytes + self._pending_bytes

    @property
    def trouble(self) -> str:
        """Why Events wait or are lost at this moment, in words; empty when all is well."""
        if self.disk_problem:
            return f"The spool's disk takes nothing: {self.disk_problem}."
        if self._pending_bytes > _WRITE_BYTES:
            return "The spool's disk is slower than what is to be recorded."
        return "The spool has as much as it may hold." if self._losses else ""

    def recovered(self, kind: str) -> list[Event]:
        """The Events of a type that an earlier process could not deliver. To be asked before ``start``."""
        records = (record for segment in self._segments for record in _all(segment))
        found = (_decode(record) for record in records if kind.encode() in record)
        return [event for event in found if event.type == kind]

    # -- taking Events in
    def append(self, event: Event, *, urgent: bool = False) -> None:
        """Takes an Event; ``urgent`` ships it without gathering more. Never waits, never raises."""
        if self._losses:
            self._tell_of_losses()
        self._take(event)
        if urgent:
            self._urgent.set()
            self._commit_now()
        elif self._timer is None and not self._committing:
            self._timer = asyncio.get_running_loop().call_later(_COMMIT_S, self._commit_now)

    def _take(self, event: Event) -> None:
        try:
            record = encoded(event, self._redacted)
        except (TypeError, ValueError, RecursionError) as error:  # bytes that a foreign upstream made up
            _log.error("event_not_json", type=event.type, problem=str(error))
            if event.type.startswith(("call.", "fork.")) and "tenure.capture.truncated" not in event.data:
                self._take(pared(event))
            else:
                self._drop(losses.NOT_JSON)
            return
        if event.type in _ALWAYS:
            self._kept.add(record)
        elif self._pending_bytes + len(record) > _MEMORY_BYTES:
            self._drop(losses.DISK)
            return
        elif self.backlog_bytes + len(record) > self._max_bytes:
            self._drop(losses.DISK if self.disk_problem else losses.FULL)
            return
        self.counts.appended += 1
        self._pending.append(record)
        self._pending_bytes += len(record)

    def _drop(self, reason: str) -> None:
        self.counts.dropped += 1
        if self._losses.add(reason):
            _log.error("events_dropped", reason=reason, bytes=self.backlog_bytes, limit=self._max_bytes)

    def _tell_of_losses(self) -> None:
        """Appends the Event that tells of them, once a little room has come back and the disk takes it."""
        if not self.disk_problem and self.backlog_bytes <= self._max_bytes * 0.9:
            self._take(self._losses.told())

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
        if self._pending_bytes > self._write_bytes:
            batch, self._pending = _split(batch, self._write_bytes)
        waiting: list[asyncio.Future[bool]] = []
        if not self._pending:
            waiting, self._waiting = self._waiting, waiting
        future = asyncio.get_running_loop().run_in_executor(self._thread, self._write, batch)
        future.add_done_callback(lambda done: self._committed_batch(done, batch, waiting))

    def _write(self, batch: Sequence[bytes]) -> tuple[Segment, int] | None:
        return self._writer.write(batch) if batch else None

    def _committed_batch(
        self, done: asyncio.Future[tuple[Segment, int] | None], batch: list[bytes], waiting: list[asyncio.Future[bool]]
    ) -> None:
        self._committing = False
        error = None if done.cancelled() else done.exception()
        if done.cancelled() or error is not None:
            self._not_written(batch, error)
        elif (written := done.result()) is not None:
            self._written(batch, *written)
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(error is None)
        if error is None and (self._pending or self._waiting):
            self._commit_now()

    def _written(self, batch: list[bytes], segment: Segment, size: int) -> None:
        self._pending_bytes -= sum(map(len, batch))
        self._bytes += size
        self.counts.durable += len(batch)
        self._fresh[segment.number, segment.size - size] = batch, size
        self._fresh_bytes += size
        while self._fresh_bytes > _FRESH_BYTES:  # the oldest are read from disk when their turn comes
            self._fresh_bytes -= self._fresh.pop(next(iter(self._fresh)))[1]
        if self._kept:
            self._kept.difference_update(batch)
        self._write_bytes = min(self._write_bytes * 2, _WRITE_BYTES)
        if self._segments and self._segments[-1].number == segment.number:
            self._segments[-1].size, self._segments[-1].count = segment.size, segment.count
        else:
            self._segments.append(segment)
        self._work.set()
        if self.disk_problem:
            self.disk_problem = ""
            _log.warning("spool_written_again")
        if self._losses:
            self._tell_of_losses()

    def _not_written(self, batch: list[bytes], error: BaseException | None) -> None:
        """Keeps the batch for another attempt."""
        self._pending = batch + self._pending
        self._write_bytes = _PROBE_BYTES
        first, self.disk_problem = not self.disk_problem, str(error) or type(error).__name__
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_RETRY_WRITE_S, self._commit_now)
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(False)
        self._work.set()  # a segment that nothing is added to any more can make room
        if first:
            _log.error("spool_not_written", problem=self.disk_problem)

    # -- to the control plane
    def start(self, ship: Ship) -> None:
        """Begins to ship."""
        self._shipper = asyncio.create_task(self._run(ship))

    async def _run(self, ship: Ship) -> None:
        while True:
            try:
                await self._ship_all(ship)
            except Exception as error:  # noqa: BLE001 (whatever goes wrong with one segment, Events must go on)
                _log.error("shipping_failed", problem=str(error) or type(error).__name__)
                await asyncio.sleep(_BACKOFF_S[1])

    async def _ship_all(self, ship: Ship) -> None:
        while True:
            segment = self._segments[0] if self._segments else None
            if segment is None or self._offset >= segment.size:
                await self._next_segment()
                continue
            payloads, after = await self._read(segment)
            if not payloads:  # what follows cannot be told apart
                self._skip_rest(segment)
                continue
            await self._deliver(ship, payloads)
            self._sent += len(payloads)
            self._bytes -= after - self._offset
            self._offset = after

    async def _read(self, segment: Segment) -> tuple[list[bytes], int]:
        """The next records; none when they are damaged, or when the disk does not give them for a while."""
        fresh: list[bytes] = []
        at = self._offset
        while at - self._offset < _SHIP_BYTES and (kept := self._fresh.pop((segment.number, at), None)) is not None:
            fresh += kept[0]
            at += kept[1]
        self._fresh_bytes -= at - self._offset
        if fresh:
            return fresh, at
        delay = _BACKOFF_S[0]
        for _ in range(_READ_ATTEMPTS):
            try:
                return await asyncio.to_thread(read, segment.path, self._offset, segment.size, _SHIP_BYTES)
            except FileNotFoundError:
                break
            except OSError as error:
                _log.error("segment_unreadable", path=str(segment.path), problem=str(error))
            await asyncio.sleep(delay)
            delay = min(delay * 2, _BACKOFF_S[1])
        return [], self._offset

    def _skip_rest(self, segment: Segment) -> None:
        lost = segment.count - self._sent
        _log.error("segment_damaged", path=str(segment.path), offset=self._offset, events=lost)
        self.counts.damaged += lost
        self._losses.add(losses.DAMAGED, lost)
        self._bytes -= segment.size - self._offset
        self._offset, self._sent = segment.size, segment.count

    async def _next_segment(self) -> None:
        """Deletes a segment that is all acknowledged and will not grow, or waits for more."""
        if self._segments and (len(self._segments) > 1 or self._segments[0].number != self._writer.open_number):
            segment = self._segments.popleft()
            self._offset = self._sent = 0
            try:
                await asyncio.to_thread(segment.path.unlink, missing_ok=True)
            except OSError as error:  # it stays, and is sent again by the next process
                _log.error("segment_not_deleted", path=str(segment.path), problem=str(error))
            return
        self._work.clear()
        if self._losses:
            self._tell_of_losses()
            self._commit_now()
        await self._work.wait()
        try:
            async with asyncio.timeout_at(self._shipped_at + _SHIP_S):
                await self._urgent.wait()
        except TimeoutError:
            pass
        self._urgent.clear()

    async def _deliver(self, ship: Ship, payloads: list[bytes]) -> None:
        """Sends until it is acknowledged. What the control plane refuses for good is halved until the one bad Event is
        found. A call's is sent again without its content; any other is counted and left out: it must not hold up the
        others."""
        delay = _BACKOFF_S[0]
        self._shipped_at = asyncio.get_running_loop().time()
        while True:
            try:
                status = await ship(b"\n".join(payloads) + b"\n")
            except Exception as error:  # noqa: BLE001 (whatever the link does, Events wait on disk)
                _log.info("events_wait", problem=str(error) or type(error).__name__, retry_s=round(delay, 2))
                status = 0
            if 200 <= status < 300:
                self.counts.shipped += len(payloads)
                return
            if status in (400, 413, 422) and len(payloads) == 1:
                smaller = _without_content(payloads[0])
                if smaller is not None:
                    await self._deliver(ship, [smaller])
                else:
                    self._refused(status, payloads[0])
                return
            if status in (400, 413, 422, *_LATE) and len(payloads) > 1:
                half = len(payloads) // 2
                await self._deliver(ship, payloads[:half])
                await self._deliver(ship, payloads[half:])
                return
            await asyncio.sleep(delay)
            delay = min(delay * 2, _BACKOFF_S[1])

    def _refused(self, status: int, record: bytes) -> None:
        self.counts.refused += 1
        _log.error("event_refused", status=status, record=record[:200].decode("utf-8", "replace"))
        if b'"type":"gateway.dropped"' not in record[:200]:  # or it would be told of for ever
            self._losses.add(losses.REFUSED)

    async def stop(self, seconds: float) -> None:
        """Writes what is pending, ships for at most ``seconds`` more, and leaves the rest to the next process. Waits
        for no disk that hangs."""
        end = asyncio.get_running_loop().time() + seconds
        with suppress(TimeoutError):
            async with asyncio.timeout(max(seconds, _STOP_S)):
                await self.flush()
        if self._shipper is not None:
            self._urgent.set()
            while self._bytes > 0 and asyncio.get_running_loop().time() < end:  # noqa: ASYNC110 (once, at the end)
                await asyncio.sleep(0.02)
            self._shipper.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)
        if self._pending_bytes:
            _log.error("events_lost_at_stop", bytes=self._pending_bytes, problem=self.disk_problem)
        if self._committing:
            return
        with suppress(OSError):
            self._writer.seal()
            if self._bytes <= 0:
                for segment in self._segments:
                    segment.path.unlink(missing_ok=True)
        os.close(self._lock)


def _without_content(record: bytes) -> bytes | None:
    """A call's record pared down; None for one that is so already, and for any other Event: whoever decides on a held
    call must see all of it."""
    event = _decode(record)
    smaller = _encode(pared(event)) if event.type.startswith(("call.", "fork.")) else record
    return smaller if smaller != record else None


def _split(records: list[bytes], size: int) -> tuple[list[bytes], list[bytes]]:
    """The first records of about ``size`` bytes together, at least one, and the others."""
    total = 0
    for index, record in enumerate(records):
        total += len(record)
        if total >= size:
            return records[: index + 1], records[index + 1 :]
    return records, []


def _all(segment: Segment) -> list[bytes]:
    return read(segment.path, 0, segment.size, segment.size)[0]
