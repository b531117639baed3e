"""Many held calls at once: the first is told at once, the others of a window as one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from email.message import Message
from typing import Any
from urllib.parse import urlsplit

import pytest

from tenure.approvals import service as approvals
from tenure.approvals.react import CONSUMER as APPROVALS
from tenure.base import durable, events, keys
from tenure.base.config import Config
from tenure.base.room import World
from tenure.identity import people
from tenure.kernel.ids import new_id
from tenure.kernel.values import Actor, Event
from tenure.notify import digest, service, store
from tenure.notify.flow import DELIVERY
from tenure.notify.model import Destination, Kind, State
from tenure.notify.react import CONSUMER
from tenure.notify.words import message_of
from tenure.secrets import service as secrets
from tests.sim.clock import FakeClock
from tests.sim.receivers import MailServer, Receiver, mail_server, receiver

KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SQLITE = pytest.mark.parametrize(
    "database", ["sqlite"], indirect=True
)  # what it asks of a database is asked of both elsewhere


@pytest.fixture
def here(world: World, clock: FakeClock) -> World:
    clock.advance((datetime.now(UTC) - clock()).total_seconds())
    config = Config(data_dir=world.config.data_dir, notify_private="127.0.0.1", public_url="https://tenure.example")
    keys.ensure(config)
    return replace(world, config=config)


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiver() as found:
        yield found


@pytest.fixture(scope="module")
def post_office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MailServer]:
    with mail_server(tmp_path_factory.mktemp("mail") / "box") as found:
        yield found


def _webhook(world: World, operator: Actor, url: str, **more: Any) -> None:
    secrets.put(world, operator, "hook-key", KEY, hosts=[urlsplit(url).netloc])
    service.put(
        world, operator, Destination("default", "ops", Kind.WEBHOOK, url, "hook-key", topics=("approval",), **more)
    )


def _held(world: World, *names: str) -> list[Event]:
    told = []
    for name in names:
        data: dict[str, Any] = {"approval_id": name, "call_id": "c", "resource": f"shop/{name}", "digest": "sha256:d"}
        data |= {"reason": "Refunds need a person.", "policies": ["limit"]}
        told.append(Event(new_id(), "approval.requested", world.clock(), "default", "agent:clerk", "clerk", data=data))
    with world.begin() as tx:
        events.append(tx, told)
    for consumer in (APPROVALS, CONSUMER):
        events.consume(world.db, consumer)
    return told


def _run(world: World) -> int:
    return sum(durable.run_due(world, flow, "test") for flow in DELIVERY)


def _text(mail: Message) -> str:
    parts = [part.get_payload(decode=True) for part in mail.walk() if part.get_content_type() == "text/plain"]
    return b"".join(part for part in parts if isinstance(part, bytes)).decode()


def _got(hook: Receiver) -> list[dict[str, Any]]:
    return [json.loads(one.body) for one in hook.came]


@pytest.mark.req("R065")
def test_the_first_goes_out_at_once_and_the_rest_of_the_window_as_one(
    here: World, operator: Actor, clock: FakeClock, hook: Receiver
) -> None:
    _webhook(here, operator, f"{hook.url}/t")
    _held(here, *(f"a{number}" for number in range(40)))
    assert _run(here) == 1
    assert [one["type"] for one in _got(hook)] == ["approval.requested"]
    clock.advance(59)
    (again,) = _held(here, "late")
    with here.begin() as tx:
        service.hear(tx, again)  # told twice
    assert _run(here) == 0
    clock.advance(1)
    assert _run(here) == 1
    told = _got(hook)[-1]
    assert (told["type"], told["data"]["count"]) == ("notify.digest", 40)
    assert [one["approval_id"] for one in told["data"]["items"]] == [*(f"a{n}" for n in range(1, 40)), "late"]
    _held(here, "next")  # in the window of the digest
    assert _run(here) == 0
    clock.advance(60)
    assert _run(here) == 1
    assert _got(hook)[-1]["data"]["count"] == 1
    clock.advance(61)
    _held(here, "calm")
    assert _run(here) == 1
    assert _got(hook)[-1]["type"] == "approval.requested"


@SQLITE
def test_what_comes_while_a_bundle_is_sent_begins_another(
    here: World, operator: Actor, clock: FakeClock, hook: Receiver
) -> None:
    _webhook(here, operator, f"{hook.url}/t")
    _held(here, "a1", "a2")
    assert _run(here) == 1
    clock.advance(60)
    (bundle,) = [one for one in service.deliveries(here, operator) if one.open]
    with here.begin() as tx:
        store.close(tx, bundle.id)  # it is being tried, and its process dies before it is sent
    _held(here, "a3")
    assert _run(here) == 1
    assert [one["approval_id"] for one in _got(hook)[-1]["data"]["items"]] == ["a2"]
    clock.advance(60)
    assert _run(here) == 1
    assert [one["approval_id"] for one in _got(hook)[-1]["data"]["items"]] == ["a3"]


@SQLITE
def test_without_a_window_each_is_told_alone(here: World, operator: Actor, hook: Receiver) -> None:
    _webhook(here, operator, f"{hook.url}/t", bundle_s=0)
    _held(here, "a1", "a2", "a3")
    assert sum(_run(here) for _ in range(3)) == 3
    assert {one["type"] for one in _got(hook)} == {"approval.requested"}


@SQLITE
def test_a_mail_tells_what_still_waits_each_with_its_own_link(
    here: World, operator: Actor, clock: FakeClock, post_office: MailServer
) -> None:
    people.add_person(here, operator, "op@example.com", ["operator"])
    people.add_person(here, operator, "ann@example.com", ["approver"])
    given: dict[str, Any] = {"to": ("ann@example.com",), "sender": "t@example.com", "answers": True}
    url = f"smtp://127.0.0.1:{post_office.port}"
    service.put(here, operator, Destination("default", "mail", Kind.EMAIL, url, topics=("approval",), **given))
    _held(here, "m1", "m2", "m3", "m4")
    assert _run(here) == 1
    approvals.decide(here, operator, "m3", True)
    clock.advance(60)
    assert _run(here) == 1
    text = _text(next(one for one in post_office.mails if "calls wait" in str(one["subject"])))
    assert "shop/m2" in text
    assert "shop/m4" in text
    assert "shop/m3" not in text  # decided meanwhile
    assert text.count("/answer?link=") == 2
    _held(here, "m5")
    approvals.decide(here, operator, "m5", True)
    clock.advance(60)
    assert _run(here) == 1
    assert service.deliveries(here, operator)[0].state is State.STALE


def test_of_very_many_the_rest_is_counted() -> None:
    message = message_of(
        Event("e", "approval.requested", datetime(2026, 1, 1, tzinfo=UTC), "default", "agent:clerk", "clerk"),
        "approval",
    )
    body: dict[str, Any] = {"items": []}
    for number in range(digest.MAX_ITEMS + 5):
        body = dict(digest.with_one_more(body, message, str(number)))
    assert (len(body["items"]), body["more"]) == (digest.MAX_ITEMS, 5)
