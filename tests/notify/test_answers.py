"""Answers by link: one person's, for one held call as it is, once, for a while."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from tenure.approvals import service as approvals
from tenure.approvals.model import State
from tenure.approvals.react import CONSUMER as APPROVALS
from tenure.base import durable, events
from tenure.base.config import Config
from tenure.base.room import World
from tenure.identity import people
from tenure.kernel.errors import Refused
from tenure.kernel.ids import new_id
from tenure.kernel.json import digest
from tenure.kernel.values import Actor, Event
from tenure.notify import answering, service, store
from tenure.notify import model as rules
from tenure.notify.api import router
from tenure.notify.flow import DELIVERY
from tenure.notify.model import Destination, Kind
from tenure.notify.react import CONSUMER
from tests.sim.api import Api
from tests.sim.clock import FakeClock
from tests.sim.receivers import MailServer, mail_server

LINK = re.compile(r"https://tenure\.example/answer\?link=(\S+)")

SQLITE = pytest.mark.parametrize(
    "database", ["sqlite"], indirect=True
)  # what it asks of a database is asked of both elsewhere


@pytest.fixture(scope="module")
def post_office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MailServer]:
    with mail_server(tmp_path_factory.mktemp("mail") / "box") as found:
        yield found


@pytest.fixture
def told(world: World, operator: Actor, clock: FakeClock, post_office: MailServer) -> World:
    """A world in which ann, an approver, and bob, an owner, get mail about held calls."""
    clock.advance((datetime.now(UTC) - clock()).total_seconds())
    config = Config(data_dir=world.config.data_dir, notify_private="127.0.0.1", public_url="https://tenure.example")
    here = replace(world, config=config)
    people.add_person(here, operator, "op@example.com", ["operator"])
    people.add_person(here, operator, "ann@example.com", ["approver"])
    people.add_person(here, operator, "bob@example.com", ["owner"])
    url = f"smtp://127.0.0.1:{post_office.port}"
    given: dict[str, Any] = {"to": ("ann@example.com", "bob@example.com"), "sender": "t@example.com", "answers": True}
    service.put(here, operator, Destination("default", "mail", Kind.EMAIL, url, topics=("approval",), **given))
    return here


def _held(world: World, **more: Any) -> str:
    ident = new_id()
    data = {
        "approval_id": ident,
        "call_id": "c1",
        "resource": f"shop/{ident}",
        "digest": "sha256:d",
        "arguments": {"amount": 500, "to": "Zoe Z., card 4111"},
        "reason": "Large refunds need a person.",
        "policies": ["limit"],
    }
    event = Event(new_id(), "approval.requested", world.clock(), "default", "agent:clerk", "clerk", data=data | more)
    with world.begin() as tx:
        events.append(tx, [event])
    for consumer in (APPROVALS, CONSUMER):
        events.consume(world.db, consumer)
    return ident


def _mails(world: World, post_office: MailServer, ident: str) -> dict[str, str]:
    while any(durable.run_due(world, flow, "test") for flow in DELIVERY):
        pass
    found = [(str(mail["To"]), str(mail.get_payload(decode=True), "utf-8")) for mail in post_office.mails]  # type: ignore[arg-type]  # one part
    return {to: text for to, text in found if ident in text}


def _links(world: World, post_office: MailServer, ident: str) -> dict[str, str]:
    found = {to: LINK.search(text) for to, text in _mails(world, post_office, ident).items()}
    return {to: link[1] for to, link in found.items() if link}


def _link(world: World, post_office: MailServer) -> tuple[str, str]:
    ident = _held(world)
    return ident, _links(world, post_office, ident)["ann@example.com"]


def _refusal(verb: Any) -> tuple[int, str]:
    with pytest.raises(Refused) as refused:
        verb()
    return refused.value.status, refused.value.code


@pytest.mark.req("R063", "R066")
def test_a_link_answers_once_as_the_person_it_was_sent_to(told: World, post_office: MailServer) -> None:
    ident = _held(told)
    mails = _mails(told, post_office, ident)
    assert set(mails) == {"ann@example.com", "bob@example.com"}
    assert "Zoe" not in str(mails)  # the arguments are shown behind the link, to whom they concern
    links = _links(told, post_office, ident)
    assert set(links) == {"ann@example.com"}, "bob may decide nothing, so nothing that he gets does"
    link = links["ann@example.com"]
    for _ in range(3):  # a mail scanner looks too
        assert answering.look(told, link).person == "ann@example.com"
    assert approvals.get(told, "default", ident).state is State.PENDING
    answered = answering.answer(told, link, True, "fine")
    assert (answered.state, answered.decided_by) == (State.GRANTED, "person:ann@example.com")
    assert _refusal(lambda: answering.answer(told, link, False, "no, stop")) == (410, "link_spent")
    assert approvals.get(told, "default", ident).state is State.GRANTED
    with told.read() as conn:
        done = [one.event for one in events.read(conn, 0)]
        kept = [row.hash for row in conn.execute(store.link_table.select())]
    assert [(one.type, one.actor) for one in done if one.type in ("notify.answered", "approval.granted")] == [
        ("notify.answered", "person:ann@example.com"),
        ("approval.granted", "person:ann@example.com"),
    ]
    assert all(link not in repr(one) for one in done)
    assert link not in kept


@pytest.mark.req("R063")
def test_whoever_lost_the_role_answers_nothing(told: World, operator: Actor, post_office: MailServer) -> None:
    ident, link = _link(told, post_office)
    people.add_person(told, operator, "ann@example.com", ["viewer"])
    assert _refusal(lambda: answering.answer(told, link, True, "")) == (403, "not_permitted")
    people.add_person(told, operator, "ann@example.com", ["approver"])
    people.remove_person(told, operator, "ann@example.com")
    assert _refusal(lambda: answering.answer(told, link, True, ""))[0] in (403, 410)
    events.consume(told.db, CONSUMER)
    people.add_person(told, operator, "ann@example.com", ["approver"])
    assert _refusal(lambda: answering.answer(told, link, True, "")) == (410, "link_spent")
    assert approvals.get(told, "default", ident).state is State.PENDING


@SQLITE
@pytest.mark.req("R063")
def test_a_link_is_too_old_after_a_while(told: World, clock: FakeClock, post_office: MailServer) -> None:
    _, link = _link(told, post_office)
    clock.advance(rules.LINK_LIFE.total_seconds() + 1)
    assert _refusal(lambda: answering.look(told, link)) == (410, "link_spent")


@SQLITE
@pytest.mark.req("R063")
def test_a_link_is_bound_to_the_digest_of_the_call(told: World, post_office: MailServer) -> None:
    ident, link = _link(told, post_office)
    with told.begin() as tx:
        tx.execute(store.link_table.update().values(digest="sha256:other"))
    assert _refusal(lambda: answering.answer(told, link, True, "")) == (410, "link_spent")
    assert approvals.get(told, "default", ident).state is State.PENDING


@SQLITE
def test_a_rejection_needs_a_reason_and_uses_nothing_up_without(told: World, post_office: MailServer) -> None:
    ident, link = _link(told, post_office)
    assert _refusal(lambda: answering.answer(told, link, False, " ")) == (400, "reason_required")
    answering.answer(told, link, False, "not this customer")
    assert approvals.get(told, "default", ident).reason == "not this customer"


@SQLITE
def test_a_call_that_was_decided_elsewhere_is_told_so(told: World, operator: Actor, post_office: MailServer) -> None:
    ident, link = _link(told, post_office)
    approvals.decide(told, operator, ident, True)
    assert _refusal(lambda: answering.answer(told, link, True, "")) == (409, "approval_not_pending")


@SQLITE
def test_nobody_is_mailed_about_a_call_that_waits_no_more(
    told: World, operator: Actor, post_office: MailServer
) -> None:
    ident = _held(told)
    approvals.decide(told, operator, ident, True)
    assert _mails(told, post_office, ident) == {}
    found = service.deliveries(told, operator)
    assert {item.state for item in found} == {rules.State.STALE}


@SQLITE
@pytest.mark.parametrize("link", ["", "nonsense", "tna_", "tna_" + "a" * 43])
def test_what_is_no_link_opens_nothing(told: World, link: str) -> None:
    api = Api(told, router)
    assert api("POST", "/v1/answers/look", {"link": link})[0] == 410
    assert api("POST", "/v1/answers", {"link": link, "decision": "approve"})[0] == 410


@SQLITE
def test_over_http_a_link_needs_no_login(told: World, post_office: MailServer) -> None:
    ident, link = _link(told, post_office)
    api = Api(told, router)
    status, shown = api("POST", "/v1/answers/look", {"link": link})
    assert (status, shown["person"], shown["arguments"]["amount"]) == (200, "ann@example.com", 500)
    status, answered = api("POST", "/v1/answers", {"link": link, "decision": "approve"})
    assert (status, answered["state"]) == (200, "granted")
    assert approvals.get(told, "default", ident).state is State.GRANTED


@pytest.mark.req("R063")
def test_of_two_people_by_link_one_who_clicks_twice_is_one_and_the_requester_is_none(
    told: World, operator: Actor, post_office: MailServer
) -> None:
    for name in ("cai", "dan"):
        people.add_person(told, operator, f"{name}@example.com", ["approver"])
    ident = _held(told, demands=["approve:2"], on_behalf_of="person:Dan@example.com")
    link = _links(told, post_office, ident)["ann@example.com"]
    (delivery,) = [
        one
        for one in service.deliveries(told, operator, None, None, 50)
        if one.approval == ident and one.address == "ann@example.com"
    ]

    def another(name: str) -> str:
        return answering.link_for(told, delivery, f"{name}@example.com").rpartition("=")[2]

    second, cais, dans = another("ann"), another("cai"), "tna_dans"
    assert another("dan") == "", "whoever asked is sent no link"
    until = told.clock() + rules.LINK_LIFE
    own = rules.Link(rules.link_hash(dans), "default", ident, "sha256:d", "dan@example.com", delivery.id, until)
    with told.begin() as tx:
        store.add_link(tx, own)  # even if one were sent, from before it was known for whom the call is made
    assert answering.answer(told, link, True, "fine").state is State.PENDING
    assert _refusal(lambda: answering.answer(told, link, True, "fine")) == (410, "link_spent")
    assert _refusal(lambda: answering.answer(told, second, True, "fine")) == (409, "already_answered")
    assert _refusal(lambda: answering.answer(told, dans, True, "mine")) == (403, "own_call")
    assert [one.by for one in approvals.get(told, "default", ident).given] == ["ann@example.com"]
    done = answering.answer(told, cais, True, "fine")
    assert (done.state, [one.by for one in done.given]) == (State.GRANTED, ["ann@example.com", "cai@example.com"])


@SQLITE
def test_a_link_to_a_call_that_somebody_changed_is_dead(told: World, operator: Actor, post_office: MailServer) -> None:
    arguments = {"amount": 500}
    ident = _held(told, demands=["approve:2"], arguments=arguments, editable=digest(arguments))
    link = _links(told, post_office, ident)["ann@example.com"]
    changed = approvals.decide(told, operator, ident, True, "too much", arguments={"amount": 5})
    assert _refusal(lambda: answering.answer(told, link, True, "")) == (410, "link_spent")
    (delivery,) = [
        one
        for one in service.deliveries(told, operator, None, None, 50)
        if one.approval == ident and one.address == "ann@example.com"
    ]
    fresh = answering.link_for(told, delivery, "ann@example.com").rpartition("=")[2]
    assert answering.look(told, fresh).approval.covers == changed.covers
    assert answering.answer(told, fresh, True, "").state is State.GRANTED
