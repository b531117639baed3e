"""The suite of the trace store once more, on ClickHouse; and what both engines must answer alike."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tenure.base import events
from tenure.base.config import Config, load
from tenure.base.db import Database, metadata
from tenure.base.events import Bell, Logged
from tenure.base.room import World
from tenure.base.subjects import Keyring
from tenure.kernel.errors import Failed, Refused
from tenure.kernel.ids import new_id
from tenure.kernel.values import Actor
from tenure.telemetry import recording, service
from tenure.telemetry.traces import clickhouse, shelf, sums
from tenure.telemetry.traces.clickhouse import ClickHouseStore, connect
from tenure.telemetry.traces.duck import DuckStore
from tenure.telemetry.traces.engines import open_engine
from tenure.telemetry.traces.interface import Which
from tenure.telemetry.traces.moving import move
from tenure.telemetry.traces.rows import COLUMNS, SCHEMA_VERSION, rows_of
from tests.retention.test_retention import (  # noqa: F401 (they run here once more, on the ``world`` below)
    test_an_erasure_waits_until_every_reader_has_passed_and_may_die_anywhere,
    test_content_goes_by_the_shortest_period_of_what_its_agent_may_meet,
    test_content_stays_readable_when_the_key_above_is_replaced,
    test_sampling_lets_go_of_uneventful_traces_only_and_of_all_of_one_or_none,
    test_who_only_reads_erases_nothing_and_another_workspace_is_not_touched,
)
from tests.sim.clickhouse import engine_folder, load_engine
from tests.sim.clock import FakeClock
from tests.sim.telemetry import GATEWAY, chat, many, opened, tool_call
from tests.telemetry.alike import asked, history_of
from tests.telemetry.test_renewal import without_words
from tests.telemetry.test_search import (  # noqa: F401 (as above)
    stored,
    test_only_the_window_and_the_workspace_of_who_asks,
    test_pages_follow_each_other_and_leave_nothing_out,
    test_what_was_erased_or_expired_is_not_found,
    test_what_was_said_is_found_by_its_words,
)
from tests.telemetry.test_service import (  # noqa: F401 (as above)
    test_a_trace_is_whole_and_in_order_right_after_its_calls,
    test_a_workflow_of_several_traces_is_seen_as_one_session,
    test_an_event_comes_back_as_it_went_in,
    test_sessions_traces_and_figures,
    test_telling_twice_keeps_once,
    test_the_latest_are_the_same_however_far_is_looked_at_first,
    test_what_a_reader_has_not_passed_is_never_pruned,
)
from tests.telemetry.test_sums import (  # noqa: F401 (as above)
    is_counted,
    often,
    test_what_was_done_for_somebody_who_was_erased_is_still_counted,
    test_what_was_dropped_is_counted_no_more,
)

_numbers = count(1)
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def _engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One engine for all: a process can have one only."""
    load_engine()
    address = f"chdb://{tmp_path_factory.mktemp('clickhouse')}"
    client = connect(f"{address}/first")
    yield address
    client.close()


@pytest.fixture
def address(_engine: str) -> Iterator[str]:
    """The address of a store of ClickHouse that is not there yet."""
    name = f"t{next(_numbers)}"
    yield f"{_engine}/{name}"
    client = connect(f"{_engine}/first")
    client.command(f"DROP DATABASE IF EXISTS {name}")
    client.close()


@pytest.fixture
def world(address: str, _sqlite: Path, clock: FakeClock, tmp_path: Path) -> Iterator[World]:
    """An empty installation whose traces are kept in ClickHouse."""
    shutil.copyfile(_sqlite, tmp_path / "control.db")
    database = Database(f"sqlite:///{tmp_path / 'control.db'}")
    yield World(db=database, clock=clock, config=Config(data_dir=tmp_path, traces=address), bell=Bell())
    database.close()


@pytest.fixture
def store(world: World, keyring: Keyring) -> Iterator[ClickHouseStore]:
    """An empty store of ClickHouse."""
    found = open_engine(world.config, keyring)
    assert isinstance(found, ClickHouseStore)
    yield found
    found.close()


def test_both_engines_answer_alike(store: ClickHouseStore, keyring: Keyring, clock: FakeClock, tmp_path: Path) -> None:
    embedded = DuckStore(tmp_path / "t.duckdb", keyring)
    history = history_of(clock)
    for each in (store, embedded):
        each.add(history)
    ids = [one.event.id for one in history]
    answers, other = asked(store, clock, ids), asked(embedded, clock, ids)
    for name, answer in answers.items():
        assert answer == other[name], name
    empty = {name for name, answer in answers.items() if not answer}
    assert empty == {"nobody", "no stats", "agents", "under none", "old strangers"}
    for before in (clock.now, clock.now + HOUR / 2, clock.now + 2 * HOUR):
        assert store.expire(before, ["default/clerk"]) == embedded.expire(before, ["default/clerk"])
        assert store.expire_others(before, ["default/b"]) == embedded.expire_others(before, ["default/b"])
        assert store.thin(clock.now, before, 0) == embedded.thin(clock.now, before, 0)
        assert asked(store, clock, ids) == asked(embedded, clock, ids)
        assert store.drop(before) == embedded.drop(before)
        assert store.cursor == embedded.cursor == len(history)
    assert store.events(Which(), 1) == embedded.events(Which(), 1) == []
    embedded.close()


def test_a_batch_told_twice_by_two_control_planes_is_there_once(
    store: ClickHouseStore, world: World, keyring: Keyring, clock: FakeClock
) -> None:
    other = open_engine(world.config, keyring)
    batch = [Logged(seq, chat(clock.now, data={"said": "x"})) for seq in range(1, 21)]
    store.add(batch[:12])
    other.add(batch)  # it was opened when there was none
    store.add(batch)
    assert [one.seq for one in store.events(Which(), 100)] == list(range(1, 21))
    # Both looked before either had inserted: the same rows, twice, sealed anew.
    for each in (store, other):
        assert isinstance(each, ClickHouseStore)
        each._cursor = 0
        each._client.insert("event", rows_of(batch, keyring), column_names=list(COLUMNS))
    assert [one.event for one in store.events(Which(), 100)] == [one.event for one in batch]
    assert sum(stats.calls for stats in store.stats("default")) == 20
    assert store.expire(clock.now + HOUR, ["default/clerk"]) == 20
    assert store.content_under(list(range(100))) == {}
    assert store.drop(clock.now + HOUR) == 20
    other.close()
    again = open_engine(world.config, keyring)
    assert again.cursor == 20, "the place in the log outlives the rows"
    again.close()


def test_the_events_of_one_engine_go_over_into_the_other_and_back(
    store: ClickHouseStore, keyring: Keyring, clock: FakeClock, tmp_path: Path
) -> None:
    former, back = DuckStore(tmp_path / "former", keyring), DuckStore(tmp_path / "back", keyring)
    history = history_of(clock)
    former.add(history)
    assert former.expire(clock.now + HOUR, ["default/clerk"]) > 0
    ids = [one.event.id for one in history]
    assert len(list(move(former, store, 5))) == len(list(move(store, back, 5))) == 4
    told = asked(former, clock, ids)
    assert asked(store, clock, ids) == told
    assert asked(back, clock, ids) == told
    for each in (former, back):
        each.close()


def test_a_table_of_a_newer_tenure_is_refused(store: ClickHouseStore, world: World, keyring: Keyring) -> None:
    store._client.command("ALTER TABLE event MODIFY COMMENT '99'")
    with pytest.raises(Refused, match=r"newer Tenure.*version 99"):
        open_engine(world.config, keyring)


def test_a_server_that_is_away_keeps_nobody_waiting_and_is_found_when_it_is_back(
    world: World, clock: FakeClock, operator: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways: list[str] = []

    def reach(address: str, password: str) -> Any:
        if not ways:
            raise Failed("trace_store_unavailable", "nobody answers", retry=True)
        return connect(address, password)

    monkeypatch.setattr(clickhouse, "connect", reach)
    with opened(world):
        assert service.ingest(world, GATEWAY, many(30, clock.now)).accepted == 30
        with pytest.raises(Failed, match="nobody answers"):
            service.pump(world)
        told = recording.recording(world, HOUR)
        assert (told.behind, told.problem) == (30, "nobody answers")
        with pytest.raises(Failed):
            service.list_events(world, operator)
        ways.append("there")
        assert len(service.list_events(world, operator)) == 30
        assert recording.recording(world, HOUR).problem == ""


SCHEMA = Path(__file__).parent / "schemas" / "3.clickhouse.sql"


def test_a_table_of_an_older_version_is_brought_to_this_one_while_events_come_in(
    world: World, keyring: Keyring, clock: FakeClock, operator: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = [chat(clock.now, data={"gen_ai.output.messages": "the customer said no"}) for _ in range(60)]
    with world.begin() as tx:
        events.append(tx, said)
    client = connect(world.config.traces)
    client.command(SCHEMA.read_text())
    rows = [without_words(row) for row in rows_of([Logged(seq, one) for seq, one in enumerate(said, 1)], keyring)]
    client.insert("event", rows, column_names=[name for name in COLUMNS if name != "words"])
    monkeypatch.setattr(clickhouse, "PIECE", 25)
    with opened(world):
        assert service.pump(world) == 1
        assert service.ingest(world, GATEWAY, many(30, clock.now)).accepted == 30
        told = recording.recording(world, HOUR)
        assert told.behind == 30
        assert f"from version 3 to {SCHEMA_VERSION}: 25 of 60 Events are." in told.renewal
        with pytest.raises(Failed, match="25 of 60"):
            service.list_events(world, operator)
        assert shelf.store_of(world).known([said[50].id, "nobody"]) == {said[50].id}
    other = open_engine(world.config, keyring)  # a second control plane, and the first one begins anew
    with opened(world):
        while other.renew():
            pass
        while service.pump(world):
            pass
        assert len(service.list_events(world, operator, after=0, limit=200)) == 90
        assert len(service.search(world, operator, "customer no", HOUR, limit=100).hits) == 60
        assert recording.recording(world, HOUR).problem == ""
    tables = {row[0] for row in client.query("SHOW TABLES").result_rows}
    assert tables == {"event", "store", *(table.name for table in sums.TABLES)}
    for each in (other, client):
        each.close()


@pytest.mark.usefixtures("often")
def test_a_table_of_the_version_before_has_its_events_summed_where_they_are(
    store: ClickHouseStore, world: World, keyring: Keyring, clock: FakeClock
) -> None:
    mine = [tool_call(clock.now + number * HOUR, duration_us=number) for number in range(60)]
    store.add([Logged(seq, event) for seq, event in enumerate(mine, 1)])
    for name in ("summed", "floor_us"):
        store._client.command(f"ALTER TABLE store DROP COLUMN {name}")
    for table in sums.TABLES:
        store._client.command(f"DROP TABLE {table.name} SYNC")
    store._client.command("ALTER TABLE event MODIFY COMMENT '4'")
    for number in range(2):  # two control planes, the first of which is killed before it has said how far it is
        after = open_engine(world.config, keyring)
        assert isinstance(after, ClickHouseStore)
        assert after.sum_up()
        if not number:
            after._client.command("TRUNCATE TABLE store")
        after.close()
    assert not store.renewal
    while store.sum_up():
        pass
    assert store._version(store._client) == SCHEMA_VERSION
    is_counted(store, "default", mine, clock.now + 30 * HOUR, 99 * HOUR)


_VICTIM = """
import json, sys
sys.path.append(sys.argv[1])
from pathlib import Path
from tenure.base.clock import system_clock
from tenure.base.config import Config
from tenure.base.db import Database
from tenure.base.events import Bell
from tenure.base.room import World
from tenure.telemetry import recording, service
from tenure.telemetry.traces.interface import Which
from tenure.telemetry.traces.shelf import store_of
world = World(Database(sys.argv[2]), system_clock, Config(data_dir=Path(sys.argv[3]), traces=sys.argv[4]), Bell())
service.PUMP_BATCH = 50
service.open_store(world)
while service.pump(world):
    print(store_of(world).cursor, flush=True)
print(json.dumps([one.seq for one in store_of(world).events(Which(), 100_000)]), flush=True)
service.close_store(world)
"""


def test_kill_9_while_adding_loses_no_event_and_doubles_none(tmp_path: Path, clock: FakeClock) -> None:
    folder = engine_folder()
    database = Database(f"sqlite:///{tmp_path / 'control.db'}")
    metadata.create_all(database.engine)
    world = World(database, clock, Config(data_dir=tmp_path), Bell())
    with opened(world):
        for _ in range(10):
            service.keep_spans(world, [replace(one, id=new_id()) for one in many(200, clock.now)])
    address = f"chdb://{tmp_path / 'clickhouse'}/kill"
    arguments = [sys.executable, "-W", "ignore", "-c", _VICTIM, str(folder), database.url, str(tmp_path), address]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as victim:
        assert victim.stdout is not None
        reached = [int(victim.stdout.readline()) for _ in range(5)][-1]
        victim.send_signal(signal.SIGKILL)
    told = subprocess.run(arguments, capture_output=True, check=True, cwd=Path(__file__).parents[2]).stdout.splitlines()
    database.close()
    assert int(told[0]) > reached, "it went on where it was"
    assert json.loads(told[-1]) == list(range(1, 2001))


# --- a server that is far away ----------------------------------------------------------------------------------------


class _Doorkeeper(BaseHTTPRequestHandler):
    """Lets nobody in, as ClickHouse says it, and remembers how they came."""

    came: list[str]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.came.append(f"{self.path}\n{self.headers.get('Authorization')} {self.headers.get('X-ClickHouse-Key')}")
        said = b"Code: 516. DB::Exception: tenure: Authentication failed. (AUTHENTICATION_FAILED)"
        self.send_response(403)
        self.send_header("X-ClickHouse-Exception-Code", "516")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    do_GET = do_POST  # noqa: N815 (the name that the library calls)

    def log_message(self, *_: object) -> None:
        pass


def test_a_server_that_lets_nobody_in_is_told_of_without_the_password(
    monkeypatch: pytest.MonkeyPatch, keyring_apart: Keyring
) -> None:
    monkeypatch.setenv("CH_PASSWORD", "pa55-canary")
    _Doorkeeper.came = []
    server = HTTPServer(("127.0.0.1", 0), _Doorkeeper)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        config = Config(traces=f"clickhouse://tenure@127.0.0.1:{server.server_port}/t", traces_key="CH_PASSWORD")
        store = open_engine(config, keyring_apart)
        assert (store.cursor, "Authentication failed" in store.problem) == (0, True)
        with pytest.raises(Failed, match=r"clickhouse://127\.0\.0\.1:\d+/t: .*Authentication failed") as error:
            store.known(["x"])
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert error.value.retry
    assert "pa55-canary" not in str(error.value)
    address, _, credential = _Doorkeeper.came[0].partition("\n")
    assert "pa55-canary" not in address
    assert credential != "None None"
    with pytest.raises(Failed, match="trace store at clickhouse://127"):
        store.newest(Which(), 1)  # nobody is there any more


@pytest.fixture
def keyring_apart(_sqlite: Path, tmp_path: Path) -> Iterator[Keyring]:
    """The keys of an empty installation, whichever engine there is."""
    shutil.copyfile(_sqlite, tmp_path / "control.db")
    database = Database(f"sqlite:///{tmp_path / 'control.db'}")
    yield Keyring(database, Config(data_dir=tmp_path))
    database.close()


def test_a_password_is_never_part_of_the_address(keyring_apart: Keyring) -> None:
    for wrong in ("clickhouse://me:secret@host/t", "http://host:8123", "clickhouse://"):
        with pytest.raises(Refused, match="without a password"):
            load({"TENURE_TRACES": wrong})
    good = "clickhouses://me@host:9440/traces"
    assert load({"TENURE_TRACES": good}).traces == good
    assert load({}).traces_file == Path(".tenure/traces.duckdb")
    assert load({"TENURE_TRACES": "/srv/t.duckdb"}).traces_file == Path("/srv/t.duckdb")
    unset = Config(traces="clickhouse://me@127.0.0.1/t", traces_key="NOT_THERE_AT_ALL")
    with pytest.raises(Refused, match="NOT_THERE_AT_ALL, which is not set"):
        open_engine(unset, keyring_apart)
