"""The spool: nothing acknowledged is lost, nothing waits for it, and what is dropped is counted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenure.gateway.segments import Writer, framed, read, recover
from tenure.gateway.spool import Spool
from tenure.kernel.errors import Refused
from tenure.kernel.values import Event

MANY = 1 << 20
LINES = st.binary(min_size=1, max_size=60).map(lambda line: line.replace(b"\n", b"n"))


def event(number: int, size: int = 10) -> Event:
    return Event(f"{number:032d}", "call.completed", datetime.now(UTC), "default", "agent:a", data={"x": "x" * size})


class Sink:
    """Takes what is shipped, with the statuses it is told to answer, then 200."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.numbers: list[int] = []
        self.poison: int | None = None

    async def __call__(self, payload: bytes) -> int:
        status = self.statuses.pop(0) if self.statuses else 200
        if status == 0:
            raise ConnectionError("down")
        numbers = [int(json.loads(line)["id"]) for line in payload.splitlines()]
        if self.poison in numbers:
            return 422
        if status == 200:
            self.numbers += numbers
        return status

    async def until(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.numbers) < count:  # noqa: ASYNC110 (a test that polls is a test that cannot miss)
                await asyncio.sleep(0.01)


KEY = "AKIAIOSFODNN7EXAMPLE"


def run(body: Callable[[], Awaitable[Any]]) -> None:
    async def main() -> None:
        await body()

    asyncio.run(main())


def test_events_arrive_in_order_and_the_disk_is_empty_after(tmp_path: Path) -> None:
    async def body() -> None:
        spool, sink = Spool(tmp_path, MANY), Sink()
        spool.start(sink)
        for number in range(500):
            spool.append(event(number))
        await sink.until(500)
        assert sink.numbers == list(range(500))
        await spool.stop(1.0)

    run(body)
    assert list(tmp_path.glob("*.seg")) == []


def test_an_outage_delays_and_loses_nothing(tmp_path: Path) -> None:
    async def body() -> None:
        spool, sink = Spool(tmp_path, MANY), Sink(0, 503, 401, 429, 0)
        spool.start(sink)
        for number in range(50):
            spool.append(event(number), urgent=number == 25)
        await sink.until(50)
        assert sink.numbers == list(range(50))
        await spool.stop(1.0)

    run(body)


@pytest.mark.req("R094")
def test_no_secret_reaches_the_disk_of_whatever_event_it_is_in(tmp_path: Path) -> None:
    async def body() -> None:
        spool = Spool(tmp_path, MANY)
        for number, kind in enumerate(("call.completed", "approval.requested", "breaker.tripped")):
            spool.append(replace(event(number), type=kind, data={"any": {"thing": [f"{KEY} 4111 1111 1111 1111"]}}))
        await spool.stop(0.1)

    run(body)
    segments = b"".join(path.read_bytes() for path in tmp_path.glob("*.seg"))
    assert KEY.encode() not in segments
    assert segments.count(b"[redacted:secret/aws-access-key] [redacted:personal/card]") == 3


def test_what_a_dead_process_left_is_shipped_first_by_the_next(tmp_path: Path) -> None:
    async def dies() -> None:
        spool = Spool(tmp_path, MANY)
        for number in range(20):
            spool.append(event(number))
        assert await spool.flush()
        await spool.stop(0.0)

    async def lives() -> None:
        spool, sink = Spool(tmp_path, MANY), Sink()
        assert spool.counts.recovered == 20
        spool.append(event(20))
        spool.start(sink)
        await sink.until(21)
        assert sink.numbers == list(range(21))
        await spool.stop(1.0)

    run(dies)
    run(lives)


def test_durable_means_on_disk(tmp_path: Path) -> None:
    async def body() -> None:
        spool = Spool(tmp_path, MANY)
        assert await spool.durable(event(7))
        (path,) = tmp_path.glob("*.seg")  # noqa: ASYNC240 (one look into a test's folder)
        assert [json.loads(record)["id"] for record in read(path, 0, MANY, MANY)[0]] == [event(7).id]
        await spool.stop(0.0)

    run(body)


def test_one_event_that_is_refused_for_good_does_not_hold_up_the_others(tmp_path: Path) -> None:
    async def body() -> None:
        spool, sink = Spool(tmp_path, MANY), Sink()
        sink.poison = 33  # whatever is left of it
        for number in range(100):
            spool.append(event(number))
        spool.start(sink)
        await sink.until(99)
        assert sink.numbers == [number for number in range(100) if number != 33]
        assert spool.counts.refused == 1
        await spool.stop(1.0)

    run(body)


def test_a_call_whose_content_is_refused_is_kept_without_it(tmp_path: Path) -> None:
    decision = {"effect": "deny", "reason": "r" * 5000, "policies": ("p",), "obligations": (), "policy_version": "v"}
    data = {"tenure.decision": decision, "tenure.violation": True, "gen_ai.input.messages": [[[]]], "x": "x" * 5000}
    taken: list[dict[str, Any]] = []

    async def ship(payload: bytes) -> int:
        if len(payload) > 4000:
            return 413
        taken.extend(json.loads(line) for line in payload.splitlines())
        return 200

    async def body() -> None:
        spool = Spool(tmp_path, MANY)
        spool.start(ship)
        spool.append(replace(event(1), type="approval.requested", data=data))  # a person must see all of it or none
        spool.append(replace(event(2), type="call.refused", data=data))
        async with asyncio.timeout(10):
            while not taken:  # noqa: ASYNC110 (a test that polls is a test that cannot miss)
                await asyncio.sleep(0.01)
        assert (spool.counts.refused, spool.counts.shipped) == (1, 1)
        await spool.stop(1.0)

    run(body)
    kept, *told = taken
    assert [item["data"] for item in told] in ([], [{"count": 1, "reasons": {"refused": 1}}])
    assert (kept["id"], kept["type"]) == (event(2).id, "call.refused")
    assert kept["data"] == {
        "tenure.decision": {**decision, "reason": "r" * 1000, "policies": ["p"], "obligations": []},
        "tenure.violation": True,
        "x": "x" * 1000,
        "tenure.capture.truncated": True,
    }


def test_a_full_spool_still_takes_a_trip(tmp_path: Path) -> None:
    async def body() -> None:
        spool = Spool(tmp_path, 10_000)
        for number in range(100):
            spool.append(event(number, 1000))
        trip = replace(event(100), type="breaker.tripped", data={"epoch": 0})
        assert await spool.durable(trip)
        await spool.stop(0.0)
        assert [found.id for found in Spool(tmp_path, 10_000).recovered("breaker.tripped")] == [trip.id]

    run(body)


def test_a_full_spool_drops_the_newest_and_tells_when_there_is_room(tmp_path: Path) -> None:
    async def body() -> None:
        spool = Spool(tmp_path, 20_000)
        for number in range(100):
            spool.append(event(number, 500))
        assert spool.backlog_bytes <= 20_000
        dropped = spool.counts.dropped
        assert dropped + spool.counts.appended == 100
        told: list[dict[str, Any]] = []

        async def ship(payload: bytes) -> int:
            told.extend(json.loads(line) for line in payload.splitlines())
            return 200

        spool.start(ship)
        async with asyncio.timeout(10):
            while not any(item["type"] == "gateway.dropped" for item in told):  # noqa: ASYNC110 (as above)
                await asyncio.sleep(0.01)
        assert [item["data"]["count"] for item in told if item["type"] == "gateway.dropped"] == [dropped]
        kept = [int(item["id"]) for item in told if item["type"] == "call.completed"]
        assert kept == list(range(len(kept)))
        await spool.stop(1.0)

    run(body)


def test_a_disk_that_fails_is_retried_and_costs_nobody_a_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        spool, sink = Spool(tmp_path, MANY), Sink()
        spool.start(sink)
        with monkeypatch.context() as patch:
            patch.setattr("os.fdatasync", _no_space)
            assert not await spool.durable(event(0))
            spool.append(event(1))
        await sink.until(2)
        assert sink.numbers == [0, 1]
        await spool.stop(1.0)

    run(body)


def _no_space(_file: int) -> None:
    raise OSError(28, "No space left on device")


def test_an_event_that_is_not_json_is_counted_and_left_out(tmp_path: Path) -> None:
    async def body() -> None:
        spool = Spool(tmp_path, MANY)
        spool.append(Event("1", "call.completed", datetime.now(UTC), "default", "agent:a", data={"x": object()}))
        assert spool.counts.dropped == 1
        await spool.stop(0.0)

    run(body)


def test_two_processes_do_not_share_a_folder(tmp_path: Path) -> None:
    async def body() -> None:
        spool = Spool(tmp_path, MANY)
        with pytest.raises(Refused, match="Another gateway"):
            Spool(tmp_path, MANY)
        await spool.stop(0.0)

    run(body)


@pytest.mark.req("R079")
@given(st.lists(st.lists(LINES, min_size=1, max_size=4), min_size=1, max_size=6), st.data())
@settings(max_examples=80, deadline=None)
def test_any_torn_tail_costs_only_the_records_it_tears(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[bytes]], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("torn")
    writer = Writer(folder, 0, MANY)
    for batch in batches:
        segment, _ = writer.write(batch)
    writer.seal()
    whole = segment.path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    tail = data.draw(st.binary(max_size=20))
    segment.path.write_bytes(whole[:cut] + (tail if cut < len(whole) else b""))
    kept, end = [], 0
    for batch in batches:
        end += len(framed(batch))
        if end > cut:
            break
        kept += batch
    found = [line for part in recover(folder) for line in read(part.path, 0, part.size, MANY)[0]]
    assert found[: len(kept)] == kept
    assert len(found) == len(kept) or whole[: len(segment.path.read_bytes())] == segment.path.read_bytes()


def test_a_batch_longer_than_a_record_is_read_back_line_by_line(tmp_path: Path) -> None:
    lines = [bytes([65 + number]) * (400 << 10) for number in range(7)]
    writer = Writer(tmp_path, 0, 64 << 20)
    segment, size = writer.write(lines)
    writer.seal()
    assert size == segment.size == segment.path.stat().st_size
    found: list[bytes] = []
    at = steps = 0
    while at < segment.size:
        some, at = read(segment.path, at, segment.size, 1000)
        found += some
        steps += 1
    assert found == lines
    assert steps == 3  # records of a megabyte and a little more: one of them is never torn apart by a smaller limit


def test_what_is_fresh_is_shipped_from_memory_and_the_rest_from_disk_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenure.gateway.spool._FRESH_BYTES", 40_000)

    async def body() -> None:
        spool = Spool(tmp_path, 4 << 20)
        for number in range(60):
            await spool.durable(event(number, 3000))
        assert spool._fresh_bytes <= 40_000
        assert 0 < len(spool._fresh) < 60
        sink = Sink()
        spool.start(sink)
        await sink.until(60)
        assert sink.numbers == list(range(60))
        for number in range(60, 70):
            await spool.durable(event(number, 3000))
        await sink.until(70)
        assert sink.numbers == list(range(70))
        await spool.stop(1.0)

    run(body)
