"""Figures over days come from sums of days, and are those that counting every Event gives. What takes ``store`` runs on
both engines (``test_engines``)."""

from __future__ import annotations

import random
import shutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tenure.base import subjects
from tenure.base.config import Config
from tenure.base.db import Database
from tenure.base.events import Bell, Logged
from tenure.base.room import World
from tenure.base.subjects import Keyring
from tenure.kernel.errors import Failed
from tenure.kernel.ids import new_id
from tenure.kernel.values import Event, Status
from tenure.telemetry.model import CALL_TYPES, AgentStats, Measured, ToolUse
from tenure.telemetry.traces import content, sums
from tenure.telemetry.traces.duck import DuckStore
from tenure.telemetry.traces.duck_older import append
from tenure.telemetry.traces.interface import TraceStore, Which
from tenure.telemetry.traces.rows import SCHEMA_VERSION, rows_of
from tests.sim.clock import FakeClock
from tests.sim.telemetry import chat, refused, tool_call

ROOT = Path(__file__).resolve().parents[2]
START = datetime(2026, 3, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
PIECE = 8
_EDGES = (0, 1, 2, 1023, 1024, 1025, 2**40 - 1, 2**40)
"""Durations where a bucket ends."""
_numbers = count(1)


@pytest.fixture
def world(_sqlite: Path, clock: FakeClock, tmp_path: Path) -> Iterator[World]:
    """An empty installation; which database it has makes no difference here."""
    shutil.copyfile(_sqlite, tmp_path / "control.db")
    database = Database(f"sqlite:///{tmp_path / 'control.db'}")
    yield World(db=database, clock=clock, config=Config(data_dir=tmp_path), bell=Bell())
    database.close()


@pytest.fixture
def store(tmp_path: Path, keyring: Keyring) -> Iterator[TraceStore]:
    """An empty store."""
    found = DuckStore(tmp_path / "t.duckdb", keyring)
    yield found
    found.close()


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sums, "AT_ONCE", PIECE)


# --- what counting every Event gives ----------------------------------------------------------------------------------


def _grouped(events: Sequence[Event]) -> dict[str, list[Event]]:
    found: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        if event.agent is not None:
            found[event.agent].append(event)
    return dict(sorted(found.items()))


def _quantile(went: Sequence[Event], percent: int) -> int | None:
    ordered = sorted(event.duration_us for event in went if event.duration_us is not None)
    return ordered[-(-percent * len(ordered) // 100) - 1] if ordered else None


def _near(found: int | None, exact: int | None) -> bool:
    """Within the width of a bucket around its middle."""
    if found is None or exact is None:
        return found is exact
    return abs(found - exact) <= 0.0454 * max(exact, 1)


_WAYS = ("input", "output")


def _cost(events: Sequence[Event]) -> Decimal:
    return sum((Decimal(event.data.get("tenure.cost_usd", "0")) for event in events), Decimal(0))


def _is_of_tool(call: Event) -> bool:
    return call.data.get("gen_ai.operation.name") == "execute_tool"


def _tokens(events: Sequence[Event], way: str) -> int:
    return sum(one.data.get(f"gen_ai.usage.{way}_tokens", 0) for one in events)


def _failed(events: Sequence[Event]) -> list[Event]:
    return [one for one in events if one.type != "call.refused" and "error.type" in one.data]


def _are_stats(found: Sequence[AgentStats], events: Sequence[Event], since: datetime) -> None:
    counted = _grouped([one for one in events if one.type in CALL_TYPES and one.time >= since])
    assert [one.agent for one in found] == list(counted)
    for one, calls in zip(found, counted.values(), strict=True):
        went = [call for call in calls if call.type != "call.refused"]
        by_status = tuple(sum(call.status is status for call in calls) for status in Status)
        assert (one.calls, (one.allowed, one.flagged, one.violation, one.anomaly)) == (len(calls), by_status)
        assert one.errors == len(_failed(calls))
        assert one.input_tokens == _tokens(calls, "input")
        assert Decimal(one.cost_usd) == _cost(calls)
        tools = {call.data["tenure.resource"] for call in calls if _is_of_tool(call)}
        assert (one.tools, one.last) == (len(tools), max(call.time for call in calls))
        assert _near(one.p50_us, _quantile(went, 50))
        assert _near(one.p95_us, _quantile(went, 95))


def _are_uses(found: Sequence[ToolUse], events: Sequence[Event], since: datetime) -> None:
    used: dict[tuple[str, str], list[datetime]] = defaultdict(list)
    for one in events:
        if one.type == "call.completed" and one.agent is not None and _is_of_tool(one):
            used[one.agent, one.data["tenure.resource"]].append(one.time)
    assert {(one.agent, one.resource): (one.recent, one.last) for one in found} == {
        key: (sum(time >= since for time in times), max(times)) for key, times in used.items()
    }
    assert len(found) == len(used)


def _are_measured(found: Sequence[Measured], events: Sequence[Event], since: datetime, until: datetime) -> None:
    counted = _grouped([one for one in events if since <= one.time < until and one.type != "other"])
    assert [one.agent for one in found] == list(counted)
    for one, these in zip(found, counted.values(), strict=True):
        calls = [each for each in these if each.type in CALL_TYPES]
        went = [call for call in calls if call.type != "call.refused"]
        told = [each for each in these if each.type == "import.outcome"]
        good = [each for each in told if each.data["tenure.outcome.success"]]
        assert _near(one.p95_us, _quantile(went, 95))
        assert replace(one, p95_us=None) == Measured(
            one.agent,
            calls=len(calls),
            refused=len(calls) - len(went),
            errors=len(_failed(calls)),
            anomalies=sum(call.status is Status.ANOMALY for call in calls),
            held=sum(each.type == "approval.requested" for each in these),
            overridden=sum(each.type == "call.corrected" for each in these),
            runs=len({call.session for call in calls}),
            judged=len({each.session for each in told}),
            solved=len({each.session for each in good}),
            tokens=sum(sum(each.data.get(f"gen_ai.usage.{way}_tokens", 0) for way in _WAYS) for each in these),
            cost_usd=_cost(these),
            unpriced=sum(
                "tenure.cost_usd" not in each.data and any(each.data.get(f"gen_ai.usage.{way}_tokens") for way in _WAYS)
                for each in these
            ),
        )


def is_counted(store: TraceStore, workspace: str, events: Sequence[Event], at: datetime, width: timedelta) -> None:
    """Whether the figures of these Events are right, from a time on and for so long."""
    _are_stats(store.stats(workspace), events, START - 99 * DAY)
    _are_stats(store.stats(workspace, at), events, at)
    _are_uses(store.tool_uses(workspace, at), events, at)
    _are_measured(store.measured(workspace, at, at + width), events, at, at + width)


# --- Events -----------------------------------------------------------------------------------------------------------


@st.composite
def _an_event(draw: st.DrawFn) -> Event:
    at = START + timedelta(minutes=draw(st.integers(-30 * 60, 45 * 60)))
    if draw(st.booleans()):
        at = at.replace(hour=0, minute=0)  # days begin exactly here
    kinds = (chat, tool_call, tool_call, refused, "import.outcome", "approval.requested", "call.corrected", "other")
    kind = draw(st.sampled_from(kinds))
    more: dict[str, Any] = {
        "agent": draw(st.sampled_from(["a", "b", "c"])),
        "session": draw(st.sampled_from(["s1", "s2", "s3"])),
        "data": {"error.type": "timeout"} if draw(st.booleans()) else {},
    }
    if isinstance(kind, str):
        data = {"tenure.outcome.success": draw(st.booleans())} if kind == "import.outcome" else {}
        return Event(new_id(), kind, at, "", "person:x", agent=more["agent"], session=more["session"], data=data)
    more["duration_us"] = draw(st.integers(0, 2**33) | st.sampled_from(_EDGES))
    more["status"] = draw(st.sampled_from(list(Status)))
    if kind is tool_call:
        more["resource"] = draw(st.sampled_from(["files/read", "files/write"]))
    if kind is chat:
        more["data"]["tenure.cost_usd"] = draw(st.sampled_from(["0.000000000001", "0.1", "12.5"]))
        more["tokens"] = (draw(st.integers(0, 9)), draw(st.integers(0, 9)))
    made: Event = kind(at, **more)
    return made


def _told(store: TraceStore, workspace: str, events: Sequence[Event]) -> list[Event]:
    """Adds them in pieces; sums are made whenever there are enough."""
    mine = [replace(event, workspace=workspace) for event in events]
    for first in range(0, len(mine), 5):
        store.add([Logged(store.cursor + place, event) for place, event in enumerate(mine[first : first + 5], 1)])
        store.sum_up()
    return mine


@given(events=st.lists(_an_event(), max_size=40), hours=st.integers(-40, 50), width=st.integers(0, 80))
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@pytest.mark.usefixtures("often")
def test_figures_are_what_counting_every_event_gives(
    store: TraceStore, events: list[Event], hours: int, width: int
) -> None:
    workspace = f"w{next(_numbers)}"
    mine = _told(store, workspace, events)
    is_counted(store, workspace, mine, START + hours * HOUR, width * HOUR)
    is_counted(store, workspace, mine, START, DAY)


def _history(number: int) -> list[Event]:
    """Calls of three agents over six days; some are late."""
    draw = random.Random(number)  # noqa: S311 (no secret: the same Events each time)
    times = sorted(draw.uniform(0, 6 * 24) for _ in range(number))
    times[::7] = [hours / 3 for hours in times[::7]]
    calls = (chat, tool_call, refused)
    return [
        draw.choice(calls)(
            START + hours * HOUR,
            agent=draw.choice("abc"),
            session=f"s{draw.randrange(9)}",
            duration_us=int(hours * 999),
        )
        for hours in times
    ]


@pytest.mark.usefixtures("often")
def test_what_was_dropped_is_counted_no_more(store: TraceStore) -> None:
    mine = _told(store, "default", _history(60))
    for before in (START + DAY / 2, START + DAY, START + 2.6 * DAY, START + 2.4 * DAY):
        while store.drop(before):
            pass
        mine = [event for event in mine if event.time >= before]
        mine += _told(store, "default", [chat(START + 5 * DAY, agent="a")] * 3)
        is_counted(store, "default", mine, START + 2 * DAY, 2.5 * DAY)
        is_counted(store, "default", mine, START - DAY, 9 * DAY)
    assert store.drop(START + 99 * DAY)
    assert not store.stats("default")
    assert not store.tool_uses("default", START)
    assert store.measured("default", START, START + 9 * DAY) == []


@pytest.mark.usefixtures("often")
def test_what_was_done_for_somebody_who_was_erased_is_still_counted(store: TraceStore, world: World) -> None:
    told = [replace(one, data={**one.data, "enduser.id": "ann@example.com", "said": "x"}) for one in _history(50)]
    mine = _told(store, "default", told[:25])
    with world.begin() as tx:
        assert subjects.destroy(tx, "default", "person:ann@example.com", START + 9 * DAY) is not None
    mine += _told(store, "default", told[25:])
    assert {one.event.data.get(content.GONE) for one in store.events(Which(), 99)} == {"erased"}
    is_counted(store, "default", mine, START + DAY, 3 * DAY)


@pytest.mark.usefixtures("often")
def test_sums_are_made_whole_or_not_at_all(tmp_path: Path, keyring: Keyring, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.duckdb"
    store = DuckStore(path, keyring)
    mine = [replace(event, workspace="default") for event in _history(3 * PIECE)]
    store.add([Logged(seq, event) for seq, event in enumerate(mine, 1)])
    assert store.sum_up()
    with monkeypatch.context() as patch:
        last = replace(sums.CALLED, name="nowhere")
        patch.setattr(sums, "TABLES", (sums.RAN, sums.TOOK, last))
        with pytest.raises(Failed, match="nowhere"):
            store.sum_up()
    is_counted(store, "default", mine, START + DAY, 3 * DAY)
    assert [store.sum_up() for _ in range(3)] == [True, True, False]
    store.close()
    store = DuckStore(path, keyring)  # it goes on where it was
    assert not store.sum_up()
    is_counted(store, "default", mine, START + DAY, 3 * DAY)
    store.close()


@pytest.mark.usefixtures("often")
def test_a_store_of_the_version_before_has_its_events_summed_where_they_are(tmp_path: Path, keyring: Keyring) -> None:
    path, mine = tmp_path / "t.duckdb", [replace(event, workspace="default") for event in _history(3 * PIECE)]
    with duckdb.connect(str(path)) as before:
        before.execute((ROOT / "tests" / "telemetry" / "schemas" / "4.sql").read_text())
        append(before, rows_of([Logged(seq, event) for seq, event in enumerate(mine, 1)], keyring))
        before.execute("UPDATE store SET cursor = ?", [len(mine)])
    store = DuckStore(path, keyring)
    assert store.renewal is None
    is_counted(store, "default", mine, START + DAY, 3 * DAY)
    assert [store.sum_up() for _ in range(4)] == [True, True, True, False]
    is_counted(store, "default", mine, START + DAY, 3 * DAY)
    store.close()
    with duckdb.connect(str(path)) as after:
        assert after.execute("SELECT version, summed FROM store").fetchall() == [(SCHEMA_VERSION, len(mine))]
