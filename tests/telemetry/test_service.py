"""Events kept once, read back whole, flagged when first, pruned when passed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import msgspec
import pytest

from tenure.base import events as log
from tenure.base.config import Config
from tenure.base.db import Database, metadata
from tenure.base.events import Bell
from tenure.base.room import World
from tenure.base.subjects import Keyring
from tenure.kernel.errors import Failed, Refused
from tenure.kernel.ids import session_trace, stable_id
from tenure.kernel.values import Actor, Event, Status
from tenure.telemetry import intake, service
from tenure.telemetry.feed import reading
from tenure.telemetry.flow import PRUNE
from tenure.telemetry.model import GATEWAY_TYPES, outcome_data
from tenure.telemetry.traces import questions
from tenure.telemetry.traces.duck import DuckStore
from tenure.telemetry.traces.interface import Which
from tests.sim.clock import FakeClock
from tests.sim.telemetry import GATEWAY, chat, many, opened, refused, tool_call


@pytest.mark.req("R080")
def test_an_event_comes_back_as_it_went_in(world: World, clock: FakeClock, operator: Actor) -> None:
    sent = [chat(clock.now, data={"nested": {"a": [1, None, "ü\x00"]}}), refused(clock.now)]
    with opened(world):
        assert service.ingest(world, GATEWAY, sent).accepted == 2
        assert [logged.event for logged in service.list_events(world, operator)] == sent
        other = replace(operator, workspace="other")
        assert service.list_events(world, other) == []


def test_telling_twice_keeps_once(world: World, clock: FakeClock, operator: Actor) -> None:
    sent = many(30, clock.now)
    with opened(world):
        service.ingest(world, GATEWAY, sent)
        while service.pump(world):
            pass
        again = service.ingest(world, GATEWAY, [*sent, *many(1, clock.now)])
        assert (again.accepted, again.known) == (1, 30)
        assert len(service.list_events(world, operator, after=0)) == 31


@pytest.mark.req("R046")
def test_the_first_use_of_a_tool_is_flagged_and_no_later_one(world: World, clock: FakeClock, operator: Actor) -> None:
    calls = [
        tool_call(clock.now),
        tool_call(clock.now),
        tool_call(clock.now, agent="other"),
        tool_call(clock.now, "files/write"),
        chat(clock.now),
        refused(clock.now, "files/delete"),
    ]
    with opened(world):
        service.ingest(world, GATEWAY, calls)
        service.ingest(world, GATEWAY, [tool_call(clock.now), calls[0]])
        found = [logged.event.status for logged in service.list_events(world, operator)]
    flagged, allowed, violation = Status.FLAGGED, Status.ALLOWED, Status.VIOLATION
    assert found == [flagged, allowed, flagged, flagged, allowed, violation, allowed]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (b'{"id": "1"}', "missing required field"),
        (b"nonsense", "malformed"),
        (msgspec.json.encode(replace(chat(FakeClock().now), type="agent.transitioned")), "may not be sent here"),
        (msgspec.json.encode(replace(chat(FakeClock().now), time=FakeClock().now.replace(tzinfo=None))), "offset"),
        (msgspec.json.encode(replace(chat(FakeClock().now), duration_us=2**70)), "duration_us"),
        (msgspec.json.encode(replace(chat(FakeClock().now), workspace="")), "workspace"),
        (
            msgspec.json.encode(chat(FakeClock().now, data={"a": "!"})).replace(b'"!"', b"[" * 500 + b"]" * 500),
            "deeper",
        ),
        (msgspec.json.encode(chat(FakeClock().now, data={"a": "!"})).replace(b'"!"', b"[" * 9999), "recursion"),
    ],
)
@pytest.mark.parametrize("shape", ["lines", "array"])
def test_a_batch_with_one_malformed_event_is_refused_whole(change: bytes, reason: str, shape: str) -> None:
    good = msgspec.json.encode(chat(FakeClock().now))
    lines = [good, change, good]
    body = b"\n".join(lines) if shape == "lines" else b"[" + b",".join(lines) + b"]"
    with pytest.raises(Refused) as refusal:
        intake.parse_events(body, GATEWAY_TYPES)
    if refusal.value.code == "malformed_event":
        assert refusal.value.details["index"] == 1
        assert reason in refusal.value.message
    else:
        assert shape == "array"


@pytest.mark.req("R081", "R083")
def test_a_trace_is_whole_and_in_order_right_after_its_calls(world: World, clock: FakeClock, operator: Actor) -> None:
    def told(name: str, second: int) -> Event:
        own = {"otlp.name": name, "otlp.kind": "internal"}
        return replace(tool_call(at(second), data=own), type="otlp.span", memory_snapshot=None)

    def at(second: int) -> datetime:
        return clock.now + timedelta(seconds=second)

    with opened(world):
        service.keep_spans(world, [told("plan: refund the order", 0), told("retrieve memory", 1)])
        failed = tool_call(at(3), "orders/find", data={"error.type": "timeout"})
        sent = [chat(at(2)), failed, tool_call(at(4), "orders/find"), refused(at(5), memory_snapshot="m2")]
        service.ingest(world, GATEWAY, sent)
        trace_id = service.list_traces(world, operator)[0].trace_id
        found = service.trace(world, operator, trace_id).spans
        assert [placed.span.name for placed in found if placed.span.type != "decision"] == [
            "plan: refund the order",
            "retrieve memory",
            "chat gpt-4o",
            "execute_tool orders/find",
            "execute_tool orders/find",
            "execute_tool payments/refund",
        ]
        tries = [placed.span for placed in found if placed.span.name == "execute_tool orders/find"]
        assert [(span.status, span.status_message) for span in tries] == [("error", "timeout"), ("ok", "")]
        *_, blocked, check = (placed.span for placed in found)
        assert check.parent_span_id == blocked.span_id
        assert check.attributes["tenure.decision.policies"] == ["refunds/limit"]
        assert [placed.span.memory_snapshot for placed in found if placed.span.type.startswith("call.")] == [
            "m1",
            "m1",
            "m1",
            "m2",
        ]
        with pytest.raises(Refused):
            service.trace(world, replace(operator, workspace="other"), trace_id)


@pytest.mark.req("R086")
def test_a_workflow_of_several_traces_is_seen_as_one_session(world: World, clock: FakeClock, operator: Actor) -> None:
    second = chat(clock.now, trace_id="f" * 32)
    with opened(world):
        service.ingest(world, GATEWAY, [chat(clock.now), second, chat(clock.now, session="s2")])
        traces = service.list_traces(world, operator, session="s1")
        assert [trace.trace_id for trace in traces] == ["f" * 32, session_trace("default", "s1")[0]]
        session = next(item for item in service.list_sessions(world, operator) if item.session == "s1")
        assert session.calls == 2


PRICED = {
    "gen_ai.usage.cache_read.input_tokens": 40,
    "gen_ai.usage.reasoning.output_tokens": 5,
    "gen_ai.provider.name": "openai",
    "gen_ai.response.model": "gpt-4o",
}


@pytest.mark.req("R110")
def test_sessions_traces_and_figures(world: World, clock: FakeClock, operator: Actor) -> None:
    at = clock.now
    outcome = Event(
        "o1",
        "import.outcome",
        at,
        "default",
        "person:op@example.com",
        session="s2",
        data=outcome_data("tau-bench", "3", 1, reward=1.0, success=True),
    )
    with opened(world):
        calls = [chat(at, duration_us=micros) for micros in range(1000, 21_000, 1000)]
        calls = [replace(call, data={**call.data, **PRICED}) for call in calls]
        calls += [refused(at), chat(at, data={"error.type": "timeout"}), tool_call(at, session="s2", agent="b")]
        service.ingest(world, GATEWAY, calls)
        service.import_events(world, operator, [outcome])
        assert service.import_events(world, operator, [outcome]).known == 1
        newest, older = service.list_sessions(world, operator)
        assert (newest.session, older.session, older.calls, older.violations) == ("s2", "s1", 22, 1)
        assert newest.outcome is not None
        assert newest.outcome.success
        assert service.list_sessions(world, operator, source="tau-bench") == [newest]
        assert service.list_sessions(world, operator, agent="clerk") == [older]
        assert service.list_sessions(world, operator, after=newest.last_seq) == [older]
        assert [found.task for found in service.outcomes(world, operator, "tau-bench")] == ["3"]
        assert service.outcomes(world, operator, "other") == []
        assert [trace.status for trace in service.list_traces(world, operator)] == [Status.FLAGGED, Status.VIOLATION]
        clerk = next(item for item in service.stats(world, operator, timedelta(hours=1)) if item.agent == "clerk")
        assert (clerk.calls, clerk.violation, clerk.errors) == (22, 1, 1)
        assert clerk.p50_us == pytest.approx(10_000, abs=1_000 + 500)  # of the middle ones, to 4.5%
        assert clerk.p95_us == pytest.approx(19_500, abs=500 + 900)
        for spent in (clerk, older):
            assert (spent.input_tokens, spent.output_tokens) == (2100, 420)
            assert (spent.cached_tokens, spent.reasoning_tokens) == (800, 100)
            # 20 times 60 x 2.50 + 40 x 1.25 + 20 x 10 a million; the last one named no provider
            assert (spent.cost_usd, spent.unpriced) == ("0.008", 1)
        clock.advance(7200)
        assert service.stats(world, operator, timedelta(hours=1)) == []


def test_only_a_persons_own_workspace_can_be_imported_into(world: World, clock: FakeClock, operator: Actor) -> None:
    with opened(world), pytest.raises(Refused):
        service.import_events(world, operator, [replace(chat(clock.now), type="import.call", workspace="other")])


def test_an_import_cannot_take_the_id_of_an_event_to_come(world: World, clock: FakeClock, operator: Actor) -> None:
    trip = replace(refused(clock.now), id=stable_id("breaker", "default", "clerk", "0"), type="breaker.tripped")
    with opened(world):
        assert service.import_events(world, operator, [replace(trip, type="import.message")]).accepted == 1
        assert service.ingest(world, GATEWAY, [trip]).accepted == 1


def test_what_a_reader_has_not_passed_is_never_pruned(world: World, clock: FakeClock, operator: Actor) -> None:
    watched = replace(world, consumers=frozenset({"audit", "breaker"}))
    sent = many(50, clock.now)
    with opened(world):
        service.ingest(world, GATEWAY, sent)
        clock.advance(2 * 86400)
        while service.pump(world):
            pass
        assert service.prune(world) == 0, "nothing while no reader is named"
        with world.begin() as tx:
            log.move_cursor(tx, "audit", 40)
        assert service.prune(watched) == 0, "breaker has read nothing"
        assert not PRUNE.calls_for(watched, "event_log")
        with world.begin() as tx:
            log.move_cursor(tx, "breaker", 20)
        assert PRUNE.calls_for(watched, "event_log")
        assert service.prune(watched, limit=7) == 20
        with world.read() as connection:
            assert log.oldest(connection) == 21
        with world.begin() as tx:
            log.move_cursor(tx, "audit", 50)
            log.move_cursor(tx, "breaker", 50)
        assert service.prune(watched) == 29, "the newest stays, so that numbers never go back"
        assert not PRUNE.calls_for(watched, "event_log")
        assert len(service.list_events(world, operator, after=0)) == 50, "the trace store has them all"
        assert service.ingest(world, GATEWAY, sent).accepted == 0, "told again after pruning, still kept once"
        assert [logged.seq for logged in reading.batch(world, operator, 10)] == list(range(11, 51))


def test_a_young_event_is_not_pruned(world: World, clock: FakeClock) -> None:
    watched = replace(world, consumers=frozenset({"audit"}))
    with opened(world):
        service.ingest(world, GATEWAY, many(5, clock.now))
        with world.begin() as tx:
            log.move_cursor(tx, "audit", 5)
        service.pump(world)
        assert service.prune(watched) == 0


def test_a_store_that_cannot_be_used_says_so_in_one_line(tmp_path: Path, keyring: Keyring) -> None:
    path = tmp_path / "traces.duckdb"
    store = DuckStore(path, keyring)
    store._writer.execute("UPDATE store SET version = 99")
    store.close()
    with pytest.raises(Refused, match="newer Tenure") as newer:
        DuckStore(path, keyring)
    path.write_bytes(os.urandom(20_000))
    with pytest.raises(Failed, match="cannot be read") as damaged:
        DuckStore(path, keyring)
    good = tmp_path / "good.duckdb"
    DuckStore(good, keyring).close()
    whole = good.read_bytes()
    path.write_bytes(whole[: len(whole) // 3])
    with pytest.raises(Failed, match="cannot be read") as cut:
        DuckStore(path, keyring)
    for error in (newer, damaged, cut):
        assert "\n" not in str(error.value)


def test_a_store_in_use_by_another_process_says_so(tmp_path: Path, keyring: Keyring) -> None:
    path = tmp_path / "traces.duckdb"
    hold = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"
    arguments = [sys.executable, "-c", hold, str(path)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(Failed, match="in use by another process"):
            DuckStore(path, keyring)
        holder.stdin.close()


def test_a_store_of_another_control_database_is_refused(world: World, clock: FakeClock) -> None:
    with opened(world):
        service.ingest(world, GATEWAY, many(5, clock.now))
        service.pump(world)
    fresh = Database(f"sqlite:///{world.config.data_dir / 'other.db'}")
    metadata.create_all(fresh.engine)
    with pytest.raises(Refused, match="has read up to Event 5"):
        service.open_store(replace(world, db=fresh))
    fresh.close()


_VICTIM = """
import sys
from datetime import UTC, datetime
from pathlib import Path
import threading
from tenure.base.clock import system_clock
from tenure.base.config import Config
from tenure.base.db import Database
from tenure.base.events import Bell
from tenure.base.room import World
from tenure.telemetry import service
from tests.sim.telemetry import GATEWAY, many
world = World(Database(sys.argv[1]), system_clock, Config(data_dir=Path(sys.argv[2])), Bell())
service.open_store(world)
def pump():
    while True:
        service.pump(world)
threading.Thread(target=pump, daemon=True).start()
while True:
    sent = many(37, datetime.now(UTC))
    service.ingest(world, GATEWAY, sent)
    print(" ".join(event.id for event in sent), flush=True)
"""


def test_kill_9_while_ingesting_loses_no_acknowledged_event_and_doubles_none(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'control.db'}")
    metadata.create_all(database.engine)
    acknowledged: list[str] = []
    for _ in range(3):
        arguments = [sys.executable, "-c", _VICTIM, database.url, str(tmp_path)]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as victim:
            assert victim.stdout is not None
            acknowledged += victim.stdout.readline().decode().split()
            time.sleep(0.4)
            victim.send_signal(signal.SIGKILL)
            rest = victim.stdout.read().decode()
        acknowledged += rest[: rest.rfind("\n") + 1].split()
    world = World(database, FakeClock(), Config(data_dir=tmp_path), Bell())
    with opened(world):
        while service.pump(world):
            pass
        with world.read() as connection:
            newest = log.head(connection)
    with duckdb.connect(str(tmp_path / "traces.duckdb")) as store:
        kept = [row[0] for row in store.execute("SELECT id FROM event ORDER BY seq").fetchall()]
        seqs = [row[0] for row in store.execute("SELECT seq FROM event ORDER BY seq").fetchall()]
    database.close()
    assert len(acknowledged) > 100
    assert set(acknowledged) <= set(kept)
    assert len(kept) == len(set(kept))
    assert seqs == list(range(1, newest + 1))


def test_the_store_takes_batches_out_of_order_once(tmp_path: Path, keyring: Keyring) -> None:
    store = DuckStore(tmp_path / "t.duckdb", keyring)
    batch = [log.Logged(seq, event) for seq, event in enumerate(many(10, FakeClock().now), 1)]
    store.add(batch[:6])
    store.add(batch)
    store.add(batch[2:4])
    assert store.cursor == 10
    assert [logged.seq for logged in store.events(Which(), 100)] == list(range(1, 11))
    store.close()


def test_a_store_is_closed_while_many_read(tmp_path: Path, keyring: Keyring) -> None:
    def read(store: DuckStore) -> None:
        with suppress(Failed):  # how a reader hears that it was closed
            while True:
                store.known(["nobody"])

    with ThreadPoolExecutor(4) as crowd:
        for _ in range(20):
            store = DuckStore(tmp_path / "t.duckdb", keyring)
            reading = [crowd.submit(read, store) for _ in range(4)]
            store.known(["nobody"])
            store.close()
            for one in reading:
                one.result(60)


def test_the_latest_are_the_same_however_far_is_looked_at_first(
    world: World, clock: FakeClock, operator: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traces that began early and went on, and an agent that was seldom there, in pages."""
    clock.advance(100)
    sessions = ["long", *(f"s{n}" for n in range(7)), "long", "s2", "seldom", "s5"]
    sent = [
        chat(clock.now, session=name, agent="rare" if name == "seldom" else "clerk", span_id=f"{n:016x}")
        for n, name in enumerate(sessions)
    ]
    right = ["s5", "seldom", "s2", "long", "s6", "s4", "s3", "s1", "s0"]
    with opened(world):
        service.ingest(world, GATEWAY, sent)
        for lately in (1, 3, 1000):
            monkeypatch.setattr(questions, "_LATELY", lately)
            for listed in (service.list_traces, service.list_sessions):
                found, after = list[str | None](), None
                while page := listed(world, operator, after=after, limit=2):
                    found += [one.session for one in page]
                    after = page[-1].last_seq
                assert found == right
                assert [one.session for one in listed(world, operator, agent="rare", limit=5)] == ["seldom"]
                assert not listed(world, operator, agent="nobody")
            first = service.list_traces(world, operator, after=sessions.index("s2", 8) + 1, limit=1)[0]
            assert (first.session, first.events) == ("long", 2)
