"""Content lies under keys, is erased with them, and goes when its time is over; facts and the audit stay."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import duckdb
import pytest
import sqlalchemy as sa

from tenure.approvals import service as approvals
from tenure.audit import react as auditing
from tenure.audit import service as audit
from tenure.base import events as log
from tenure.base import keys, subjects
from tenure.base.config import Config
from tenure.base.events import consume
from tenure.base.room import World
from tenure.corrections import service as corrections
from tenure.drafts import service as drafts
from tenure.graph import service as graph
from tenure.graph import store as graph_store
from tenure.graph.model import Kind, key
from tenure.kernel.errors import Failed, Refused
from tenure.kernel.ids import new_id
from tenure.kernel.values import Actor, Event, Role, Status
from tenure.policy.past.replay import Past, read_past
from tenure.retention import service
from tenure.retention.model import periods_of
from tenure.secrets import rewrap
from tenure.telemetry import recording
from tenure.telemetry import service as telemetry
from tests.sim.clock import FakeClock
from tests.sim.telemetry import GATEWAY, opened, refused, tool_call

CANARY = "canary-7c1e what the customer said"
ANN, BEN = {"enduser.id": "ann@example.com"}, {"enduser.id": "ben@example.com"}
SAID = {"gen_ai.tool.call.arguments": {"note": CANARY}, "gen_ai.tool.call.result": CANARY}


def _all_read(world: World) -> World:
    """The world whose readers have passed everything."""
    watched = replace(world, consumers=frozenset({"audit"}))
    while consume(world.db, auditing.CONSUMER) or telemetry.pump(world):
        pass
    return watched


def _told(world: World, operator: Actor) -> list[Event]:
    return [one.event for one in telemetry.list_events(world, operator, limit=500)]


def _everything_kept(world: World) -> str:
    """All that lies in the trace store and in the control database, as text."""
    copy = duckdb.connect(str(world.config.data_dir / "traces.duckdb"), read_only=False)
    rows = [str(row) for row in copy.execute("SELECT * FROM event").fetchall()]
    copy.close()
    with world.read() as connection:
        for table in sa.inspect(connection).get_table_names():
            rows += [
                repr(tuple(row)) for row in connection.execute(sa.select(sa.text("*")).select_from(sa.table(table)))
            ]
    return "\n".join(rows)


@pytest.mark.req("R094")
def test_content_lies_in_the_trace_store_under_the_key_of_its_subject_only(
    world: World, clock: FakeClock, operator: Actor
) -> None:
    sent = [tool_call(clock.now, data=ANN | SAID), refused(clock.now, data=BEN | SAID), tool_call(clock.now, data=SAID)]
    with opened(world):
        telemetry.ingest(world, GATEWAY, sent)
        assert [one.data["gen_ai.tool.call.result"] for one in _told(world, operator)] == [CANARY] * 3
    store = duckdb.connect(str(world.config.data_dir / "traces.duckdb"))
    rows = store.execute("SELECT * FROM event").fetchall()
    subject = store.execute("SELECT count(DISTINCT subject) FROM event").fetchall()
    store.close()
    assert len(rows) == 3
    assert CANARY not in str(rows)
    assert "ann@example.com" not in str(rows)
    assert subject == [(3,)]


@pytest.mark.req("R094", "R206")
def test_what_is_erased_is_gone_everywhere_and_nothing_else_is(world: World, clock: FakeClock, operator: Actor) -> None:
    held: dict[str, Any] = {"on_behalf_of": "ann@example.com"}
    held |= {"approval_id": "a1", "resource": "files/read", "digest": "d", "call_id": "c1", "arguments": {"x": CANARY}}
    asked = tool_call(clock.now, type="approval.requested", data=held | ANN, status=Status.FLAGGED)
    principal = {"workspace": "default", "agent": "clerk", "on_behalf_of": "ann@example.com"}
    told = {"arguments": {"x": CANARY}, "principal": principal}
    prepared = refused(clock.now, status=Status.ALLOWED, data=ANN | {"tenure.mode": "draft", "tenure.draft": told})
    with opened(world):
        telemetry.ingest(world, GATEWAY, [tool_call(clock.now, data=ANN | SAID), asked, tool_call(clock.now, data=BEN)])
        telemetry.ingest(world, GATEWAY, [prepared])
        with world.begin() as tx:
            approvals.request(tx, asked)
            drafts.take(tx, [prepared])
            tx.execute(sa.text("UPDATE draft SET state = 'discarded'"))
            tx.execute(sa.text("UPDATE approval SET state = 'rejected', expires_at = NULL"))
        corrections.correct(world, operator, prepared.id, "not this", {"x": CANARY})
        clock.advance(5)
        watched = _all_read(world)
        while graph.look(world):
            pass
        wanted = service.erase(world, operator, "person:ann@example.com", "she asked for it")
        assert service.step(watched, wanted.id)
        assert not service.step(watched, wanted.id)
        with world.read() as connection:
            people = {edge.source for edge in graph_store.edges(connection, "default") if "@" in edge.source}
        assert people == {key(Kind.PERSON, "ben@example.com")}
        mine, request, other, _, _, word = _told(world, operator)
        assert mine.data["tenure.content"] == request.data["tenure.content"] == "erased"
        assert mine.data["tenure.resource"] == "files/read"
        assert mine.data["tenure.decision"]["effect"] == "allow"
        assert other.data["enduser.id"] == "ben@example.com"
        assert (word.type, word.data["events"], word.data["approvals"]) == ("content.erased", 4, 1)
        done = service.find(world, operator)[0]
        assert (done.subject, done.done_at, done.events, done.approvals) == ("", clock.now, 4, 1)
        # What is still on its way is not kept either; what she does from now on is.
        late = tool_call(clock.now - timedelta(seconds=9), data=ANN | SAID)
        clock.advance(5)
        telemetry.ingest(world, GATEWAY, [late, tool_call(clock.now, data=ANN | {"gen_ai.tool.call.result": "new"})])
        *_, late, new = _told(world, operator)
        assert late.data["tenure.content"] == "erased"
        assert new.data["gen_ai.tool.call.result"] == "new"
        _all_read(world)
        assert audit.verify(world).ok
        with world.begin() as tx:  # the row buffer forgets what came late within a day
            tx.execute(sa.text("DELETE FROM event_log WHERE id = :id"), {"id": late.id})
    everything = _everything_kept(world)
    assert CANARY not in everything
    assert everything.count("ann@example.com") == 2  # what she did since, in the row buffer, and her new key


def test_an_erasure_waits_until_every_reader_has_passed_and_may_die_anywhere(
    world: World, clock: FakeClock, operator: Actor
) -> None:
    with opened(world):
        telemetry.ingest(world, GATEWAY, [tool_call(clock.now, data=ANN | SAID)])
        wanted = service.erase(world, operator, "person:ann@example.com", "asked for")
        behind = replace(world, consumers=frozenset({"audit"}))
        assert not service.step(behind, wanted.id)
        assert _told(world, operator)[0].data["gen_ai.tool.call.result"] == CANARY
        watched = _all_read(world)
        assert telemetry.scrub(world, "default", "person:ann@example.com", wanted_upto(world)) == 1  # and died here
        assert service.step(watched, wanted.id)
        assert _told(world, operator)[0].data["tenure.content"] == "erased"
        with world.read() as connection:
            assert "ann@example.com" not in str(connection.execute(sa.select(subjects.subject_key)).all())


def wanted_upto(world: World) -> int:
    with world.read() as connection:
        return log.head(connection)


@pytest.mark.req("R076")
def test_a_decision_whose_content_is_gone_is_made_again_from_facts_and_said_not_to_be_exact(
    world: World, clock: FakeClock
) -> None:
    call = tool_call(clock.now, data=SAID)
    with opened(world):
        telemetry.ingest(world, GATEWAY, [call])

        def past() -> Past:
            kept = telemetry.recorded_call(world, "default", call.id)
            assert kept is not None
            found = read_past(kept.id, kept.time, kept.agent, kept.session, kept.data)
            assert found is not None
            return found

        before = past()
        assert telemetry.expire_others(world, clock.now + timedelta(seconds=1), []) == 1
        after = past()
    assert (before.exact, after.exact) == (True, False)
    assert before.call.arguments == SAID["gen_ai.tool.call.arguments"]
    assert after.decided == before.decided
    assert after.call.resource == before.call.resource


@pytest.mark.parametrize(
    ("subject", "reason", "code"),
    [("ann", "why", "bad_subject"), ("person:", "why", "bad_subject"), ("person:ann", " ", "bad_reason")],
)
def test_an_erasure_of_nobody_or_without_a_reason_is_refused(
    world: World, operator: Actor, subject: str, reason: str, code: str
) -> None:
    with pytest.raises(Refused) as refusal:
        service.erase(world, operator, subject, reason)
    assert refusal.value.code == code


def test_who_only_reads_erases_nothing_and_another_workspace_is_not_touched(
    world: World, clock: FakeClock, operator: Actor
) -> None:
    viewer = replace(operator, roles=frozenset({Role.VIEWER}))
    with pytest.raises(Refused):
        service.erase(world, viewer, "person:ann@example.com", "why")
    with opened(world):
        telemetry.ingest(world, GATEWAY, [tool_call(clock.now, data=ANN | SAID)])
        telemetry.pump(world)
        other = service.erase(world, replace(operator, workspace="other"), "person:ann@example.com", "why")
        assert service.step(_all_read(world), other.id)
        assert _told(world, operator)[0].data["gen_ai.tool.call.result"] == CANARY
        assert [one.subject for one in service.subjects_like(world, operator, "ann@")] == ["person:ann@example.com"]
        assert service.subjects_like(world, replace(operator, workspace="other"), "") == []


@pytest.mark.req("R205", "R206")
def test_content_goes_by_the_shortest_period_of_what_its_agent_may_meet(
    world: World, clock: FakeClock, operator: Actor
) -> None:
    with opened(world):
        sent = [tool_call(clock.now, agent=name, data=SAID) for name in ("clerk", "nurse")]
        telemetry.ingest(world, GATEWAY, sent)
        telemetry.pump(world)
        nurse = ["default/nurse"]

        def contents() -> list[object]:
            told = [event for event in _told(world, operator) if event.type != "content.opened"]
            return [event.data.get("tenure.content", "kept") for event in told]

        assert telemetry.expire(world, clock.now + timedelta(seconds=1), nurse) == 1
        assert telemetry.expire_others(world, clock.now, nurse) == 0
        assert contents() == ["kept", "expired"]
        assert telemetry.expire_others(world, clock.now + timedelta(seconds=1), nurse) == 1
        assert contents() == ["expired", "expired"]
        assert telemetry.drop(world, clock.now) == 0
        assert telemetry.drop(world, clock.now + timedelta(seconds=1)) == 3, "with that somebody looked"
        assert _told(world, operator) == []


def test_letting_go_follows_the_settings(world: World, clock: FakeClock, operator: Actor) -> None:
    short = replace(world, config=Config(data_dir=world.config.data_dir, keep_content="2, health=1", keep_records=5))
    with opened(short):
        telemetry.ingest(short, GATEWAY, [tool_call(clock.now, data=SAID)])
        telemetry.pump(short)
        clock.advance(86_400 + 1)
        assert not service.let_go(short)
        clock.advance(86_400)
        assert service.let_go(short)
        assert not service.let_go(short)
        assert _told(short, operator)[0].data["tenure.content"] == "expired"
        clock.advance(3 * 86_400)
        assert service.let_go(short)
        left = [event.type for event in _told(short, operator)]
        assert left == ["content.opened"], "that somebody looked is kept longer"


def test_periods_are_read_as_they_are_written() -> None:
    held = periods_of("90, health=7,customer = 30", 400, 10)
    assert [held.of(classes) for classes in ((), ("public",), ("health", "customer"), ("customer",))] == [90, 90, 7, 30]


def _trace(clock: FakeClock, spans: Sequence[str], trace: str) -> list[Event]:
    made = []
    for kind in spans:
        event = tool_call(clock.now, data=dict(SAID), session=trace)
        data = dict(event.data)
        if kind == "failed":
            data["error.type"] = "timeout"
        if kind == "held":
            event = replace(event, type="approval.requested")
        status = {"flagged": Status.FLAGGED, "violation": Status.VIOLATION}.get(kind, Status.ALLOWED)
        made.append(replace(event, id=new_id(), trace_id=trace, status=status, data=data))
    return made


@pytest.mark.req("R094")
def test_sampling_lets_go_of_uneventful_traces_only_and_of_all_of_one_or_none(
    world: World, clock: FakeClock, operator: Actor
) -> None:
    dice = random.Random(11)  # noqa: S311 (a test, the same each time)
    kinds = ("allowed", "allowed", "allowed", "failed", "held", "flagged", "violation")
    traces = {
        new_id(): [dice.choice(kinds) if n % 2 else "allowed" for _ in range(dice.randint(1, 4))] for n in range(60)
    }
    with opened(world):
        with world.begin() as tx:  # not through ``ingest``, which flags the first use of a tool
            log.append(tx, [event for trace, spans in traces.items() for event in _trace(clock, spans, trace)])
        telemetry.pump(world)
        assert telemetry.thin(world, clock.now + timedelta(minutes=59), 25) == 0  # not known to be over
        telemetry.thin(world, clock.now + timedelta(hours=2), 25)
        gone: dict[str, set[bool]] = {}
        for event in _told(world, operator):
            gone.setdefault(str(event.trace_id), set()).add(event.data.get("tenure.content") == "sampled")
    assert all(len(answers) == 1 for answers in gone.values())
    quiet = {trace for trace, spans in traces.items() if set(spans) == {"allowed"}}
    let_go = {trace for trace, answers in gone.items() if answers == {True}}
    assert let_go == {trace for trace in quiet if int(trace[-6:], 16) % 100 >= 25}
    assert 0 < len(let_go) < len(quiet) < 60


@pytest.mark.req("R174")
def test_content_stays_readable_when_the_key_above_is_replaced(world: World, clock: FakeClock, operator: Actor) -> None:
    with opened(world):
        telemetry.ingest(world, GATEWAY, [tool_call(clock.now, data=ANN | SAID), tool_call(clock.now, data=SAID)])
        telemetry.pump(world)
        before = rewrap.key_state(world, operator)
        assert (before.wrapped, before.waiting) == (2, 0)
        assert rewrap.rotate_key(world, operator).waiting == 2
        while rewrap.rewrap(world):
            pass
        after = rewrap.key_state(world, operator)
        assert (after.wrapped, after.waiting) == (2, 0)
        assert after.current != before.current
        assert not keys.keys_of(world.config).known(before.current)
    with opened(world):
        told = [event.data["gen_ai.tool.call.result"] for event in _told(world, operator) if event.type[:4] == "call"]
        assert told == [CANARY, CANARY]


def test_without_the_key_above_nothing_is_lost_and_nothing_kept_in_clear(
    world: World, clock: FakeClock, operator: Actor
) -> None:
    path = world.config.data_dir / "keys" / "secrets.json"
    with opened(world):
        key = path.read_bytes()
        path.unlink()
        telemetry.ingest(world, GATEWAY, [tool_call(clock.now, data=ANN | SAID)])
        with pytest.raises(Failed, match="no key"):
            telemetry.pump(world)
        told = recording.recording(world, timedelta(days=1))
        assert (told.behind, "no key" in told.problem) == (1, True)
        path.write_bytes(key)
        assert _told(world, operator)[0].data["gen_ai.tool.call.result"] == CANARY
        assert recording.recording(world, timedelta(days=1)).problem == ""


def test_content_that_was_moved_to_another_event_does_not_open(world: World, clock: FakeClock, operator: Actor) -> None:
    with opened(world):
        telemetry.ingest(world, GATEWAY, [tool_call(clock.now, data=SAID), tool_call(clock.now, data=SAID)])
        telemetry.pump(world)
    store = duckdb.connect(str(world.config.data_dir / "traces.duckdb"))
    store.execute("UPDATE event SET content = (SELECT content FROM event WHERE seq = 1) WHERE seq = 2")
    store.close()
    with opened(world), pytest.raises(Failed, match="was changed"):
        _told(world, operator)
