"""Who is told of what, until it has arrived: signed webhooks, mail, Slack and Teams."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from email.header import decode_header, make_header
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from apprise.plugins.slack import NotifySlack
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from tenure.base import durable, events, keys
from tenure.base.config import Config
from tenure.base.room import World
from tenure.identity import people
from tenure.kernel.errors import Refused
from tenure.kernel.ids import new_id
from tenure.kernel.values import Actor, Event, Role
from tenure.notify import model, sending, service, store, words
from tenure.notify.flow import DELIVERY, FORGETTING
from tenure.notify.model import BACK_OFF, Destination, Kind, State
from tenure.notify.react import CONSUMER
from tenure.registry import service as registry
from tenure.secrets import service as secrets
from tests.sim.clock import FakeClock
from tests.sim.manifests import manifest
from tests.sim.receivers import MailServer, Receiver, mail_server, receiver

KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # of the specification's own example
OTHER = "whsec_" + base64.b64encode(b"another key of thirty-two bytes!").decode()

SQLITE = pytest.mark.parametrize(
    "database", ["sqlite"], indirect=True
)  # what it asks of a database is asked of both elsewhere


@pytest.fixture
def open_world(world: World, clock: FakeClock) -> World:
    """A world that may tell this machine, and whose clock shows now."""
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


def _webhook(world: World, operator: Actor, url: str, *topics: str, **more: Any) -> Destination:
    secrets.put(world, operator, "hook-key", KEY, hosts=[urlsplit(url).netloc])
    wanted = Destination("default", "ops", Kind.WEBHOOK, url, "hook-key", topics=topics or ("breaker",), **more)
    return service.put(world, operator, wanted)


def _happens(world: World, kind: str = "breaker.tripped", agent: str | None = "clerk", **data: Any) -> Event:
    told = data or {"scope": "agent", "name": "clerk", "reason": "5 violations", "epoch": 1}
    event = Event(new_id(), kind, world.clock(), "default", "system:test", agent, data=told)
    with world.begin() as tx:
        events.append(tx, [event])
    events.consume(world.db, CONSUMER)
    return event


def _run(world: World) -> int:
    return sum(durable.run_due(world, flow, "test") for flow in DELIVERY)


def _all(world: World, operator: Actor) -> list[model.Delivery]:
    return service.deliveries(world, operator)


def test_signatures_are_those_of_the_specification() -> None:
    """The vector that standard-webhooks publishes with its libraries."""
    ident, at, body = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
    signed = model.signature([model.signing_key(KEY)], ident, at, body)
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("secret", ["", "hunter2", "whsec_", "whsec_!!", "whsec_c2hvcnQ=", KEY + "A" * 100])
def test_what_is_no_signing_key_is_refused_and_not_repeated(secret: str) -> None:
    with pytest.raises(Refused) as refused:
        model.signing_key(secret)
    assert refused.value.code == "bad_signing_key"
    assert len(secret) < 7 or secret not in str(refused.value.message)


@pytest.mark.req("R066")
def test_a_webhook_arrives_signed_once_for_each_event(open_world: World, operator: Actor, hook: Receiver) -> None:
    _webhook(open_world, operator, f"{hook.url}/tenure?from=1")
    event = _happens(open_world)
    events.consume(open_world.db, CONSUMER)
    _happens(open_world, "approval.requested", resource="shop/refund")  # nobody asked for this topic
    assert _run(open_world) == 1
    assert _run(open_world) == 0
    (came,) = hook.came
    assert came.path == "/tenure?from=1"
    said = Webhook(KEY).verify(came.body, came.headers)
    assert (said["type"], said["data"]["agent"], said["data"]["event"]) == ("breaker.tripped", "clerk", event.id)
    assert said["data"]["url"] == "https://tenure.example/breakers"
    with pytest.raises(WebhookVerificationError):
        Webhook(OTHER).verify(came.body, came.headers)
    (sent,) = _all(open_world, operator)
    assert (sent.id, sent.state, sent.attempts) == (came.headers["webhook-id"], State.SENT, 1)
    assert service.find(open_world, operator)[0].sent_at is not None


@SQLITE
def test_while_a_key_is_exchanged_both_sign(open_world: World, operator: Actor, hook: Receiver) -> None:
    _webhook(open_world, operator, hook.url)
    secrets.rotate(open_world, operator, "hook-key", OTHER)
    _happens(open_world)
    _run(open_world)
    for key in (KEY, OTHER):
        Webhook(key).verify(hook.came[0].body, hook.came[0].headers)


@pytest.mark.req("R066")
def test_what_fails_is_tried_again_later_and_later_then_listed_as_dead_and_sent_again_on_demand(
    open_world: World, operator: Actor, hook: Receiver, clock: FakeClock
) -> None:
    _webhook(open_world, operator, hook.url)
    _happens(open_world)
    waits = []
    for _ in range(len(BACK_OFF) + 1):
        hook.says(503)
        assert _run(open_world) == 1
        item = _all(open_world, operator)[0]
        if item.next_at is not None:
            waits.append((item.next_at - clock()).total_seconds())
            assert _run(open_world) == 0
            clock.advance(max(waits[-1], model.PAUSE.total_seconds()) + 0.001)
    assert all(0.89 < wait / base < 1.11 for wait, base in zip(waits, BACK_OFF, strict=True))
    item = _all(open_world, operator)[0]
    assert (item.state, item.attempts, item.problem) == (State.DEAD, 11, "it answers 503")
    standing = service.find(open_world, operator)[0]
    assert (standing.dead, standing.problem) == (1, "it answers 503")
    assert _run(open_world) == 0
    service.again(open_world, operator, item.id)
    with pytest.raises(Refused, match="on its way"):
        service.again(open_world, operator, item.id)
    assert _run(open_world) == 1
    assert _all(open_world, operator)[0].state is State.SENT
    assert {came.headers["webhook-id"] for came in hook.came} == {item.id}
    assert service.find(open_world, operator)[0].problem == ""


def test_a_destination_that_fails_is_left_alone_a_while_whatever_else_waits(
    open_world: World, operator: Actor, hook: Receiver, clock: FakeClock
) -> None:
    _webhook(open_world, operator, hook.url)
    for _ in range(3):
        _happens(open_world)
    hook.says(500)
    assert _run(open_world) == 1
    assert _run(open_world) == 0
    clock.advance(6)
    while _run(open_world):
        pass
    assert [item.state for item in _all(open_world, operator)] == [State.SENT] * 3


@SQLITE
def test_a_receiver_that_is_gone_is_not_asked_again(open_world: World, operator: Actor, hook: Receiver) -> None:
    _webhook(open_world, operator, hook.url)
    _happens(open_world)
    hook.says(410)
    _run(open_world)
    assert _all(open_world, operator)[0].state is State.DEAD
    with open_world.read() as conn:
        assert [one.event.type for one in events.read(conn, 0)].count("notify.failed") == 1


@SQLITE
def test_no_redirect_is_followed(open_world: World, operator: Actor, hook: Receiver) -> None:
    with receiver() as other:
        _webhook(open_world, operator, hook.url)
        hook.says(307, location=other.url)
        _happens(open_world)
        _run(open_world)
        assert other.came == []
    assert "307" in _all(open_world, operator)[0].problem


@pytest.mark.req("R066")
@pytest.mark.parametrize(
    "place", ["https://127.0.0.1", "https://localhost", "https://[::1]", "https://[::ffff:10.0.0.1]"]
)
def test_what_is_not_on_the_public_network_is_not_told(hook: Receiver, place: str) -> None:
    """Where nobody declared it: a webhook is no way into one's own network."""
    url = f"{place}:{urlsplit(hook.url).port}/x"
    outcome = sending.post(url, {}, b"{}", frozenset())
    assert (outcome.sent, outcome.problem) == (False, "its address is not on the public network")
    assert hook.came == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"url": "http://hooks.example.com/"}, "insecure_address"),
        ({"url": "ftp://hooks.example.com/"}, "bad_address"),
        ({"url": "https://user:pass@hooks.example.com/"}, "bad_address"),
        ({"url": "https://"}, "bad_address"),
        ({"topics": ()}, "bad_topic"),
        ({"topics": ("weather",)}, "bad_topic"),
        ({"secret": ""}, "no_signing_key"),
        ({"answers": True}, "answers_for_nobody"),
        ({"kind": Kind.SLACK}, "address_is_secret"),
        ({"kind": Kind.SLACK, "url": "", "answers": True}, "answers_for_nobody"),
        ({"kind": Kind.EMAIL, "url": "smtps://mail.example.com", "to": ()}, "bad_recipients"),
        (
            {"kind": Kind.EMAIL, "url": "smtps://mail.example.com", "to": ("nobody",), "sender": "a@b.example"},
            "bad_email",
        ),
        ({"name": "Not A Name"}, "bad_name"),
    ],
)
def test_a_destination_that_cannot_be_is_refused_whole(change: dict[str, Any], code: str) -> None:
    good = Destination("default", "ops", Kind.WEBHOOK, "https://hooks.example.com/x", "k", topics=("breaker",))
    assert model.checked(good, frozenset(), words.TOPICS) == good
    with pytest.raises(Refused) as refused:
        model.checked(replace(good, **change), frozenset(), words.TOPICS)
    assert refused.value.code == code


@SQLITE
def test_a_secret_goes_only_where_its_bounds_say(open_world: World, operator: Actor) -> None:
    secrets.put(open_world, operator, "hook-key", KEY, hosts=["hooks.example.com"])
    wanted = Destination("default", "ops", Kind.WEBHOOK, "https://other.example/", "hook-key", topics=("breaker",))
    with pytest.raises(Refused) as refused:
        service.put(open_world, operator, wanted)
    assert refused.value.code == "secret_bounded"
    with pytest.raises(Refused) as refused:
        service.put(open_world, operator, replace(wanted, secret="no-such"))
    assert refused.value.code == "unknown_secret"


def _mail(post_office: MailServer, **more: Any) -> Destination:
    url = f"smtp://127.0.0.1:{post_office.port}"
    given: dict[str, Any] = {"to": ("approvers", "owners"), "sender": "tenure@example.com", "topics": ("breaker",)}
    return Destination("default", "mail", Kind.EMAIL, url, **(given | more))


def _mails(post_office: MailServer, title: str) -> dict[str, str]:
    """What came under a title, by recipient."""
    return {
        str(mail["To"]): str(mail.get_payload(decode=True), "utf-8")  # type: ignore[arg-type]  # one part
        for mail in post_office.mails
        if str(make_header(decode_header(str(mail["Subject"])))) == title
    }


@SQLITE
@pytest.mark.req("R066")
def test_mail_goes_to_those_who_may_decide_and_to_those_who_answer_for_the_agent(
    open_world: World, operator: Actor, post_office: MailServer
) -> None:
    for email, role in (("ann@example.com", "approver"), ("vic@example.com", "viewer")):
        people.add_person(open_world, operator, email, [role])
    registry.apply(open_world, operator, manifest("clerk", "http://127.0.0.1:9/v1"))
    service.put(open_world, operator, _mail(post_office))
    _happens(open_world, scope="agent", name="clerk", reason="Look: [here](https://evil.example)\nBcc: all@example.com")
    while _run(open_world):
        pass
    found = _mails(post_office, "Stopped: agent clerk")
    assert set(found) == {"ann@example.com", "dana@example.com", "finance@example.com"}
    assert "https://tenure.example/breakers" in found["ann@example.com"]
    assert "Why: Look: (here)(https://evil.example) Bcc: all@example.com" in found["ann@example.com"]


@SQLITE
def test_a_mail_server_of_ones_own_network_must_be_declared(
    open_world: World, operator: Actor, post_office: MailServer
) -> None:
    closed = replace(open_world, config=Config(data_dir=open_world.config.data_dir))
    service.put(closed, operator, _mail(post_office, to=("ann@example.com",)))
    (tried,) = service.try_out(closed, operator, "mail")
    assert (tried.state, tried.problem) == (State.WAITING, "its address is not on the public network")


@SQLITE
def test_slack_is_written_to_as_its_incoming_webhooks_take_it(
    open_world: World, operator: Actor, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address of Slack itself is apprise's, and the one thing that is another here."""
    monkeypatch.setattr(NotifySlack, "webhook_url", f"{hook.url}/services")
    address = "https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7"
    secrets.put(open_world, operator, "slack", address, hosts=["hooks.slack.com"])
    service.put(open_world, operator, Destination("default", "chat", Kind.SLACK, secret="slack", topics=("breaker",)))
    _happens(open_world, scope="agent", name="clerk", reason="<!channel> look & see")
    _run(open_world)
    assert hook.came[0].path == "/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7"
    (said,) = json.loads(hook.came[0].body)["attachments"]
    assert said["title"] == "Stopped: agent clerk"
    assert "Why: (!channel) look &amp; see" in said["text"]
    assert "https://tenure.example/breakers" in said["text"]
    hook.says(404, b"no_service")
    (tried,) = service.try_out(open_world, operator, "chat")
    assert tried.problem == "Slack did not take it: it answers 404"


@SQLITE
def test_teams_is_written_to_as_its_workflows_take_it(
    open_world: World, operator: Actor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiver(tmp_path) as hook, receiver() as other:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(hook.authority))
        place = urlsplit(hook.url).netloc
        address = f"{hook.url}/workflows/643e69f83c8944/triggers/manual/paths/invoke?api-version=2016-06-01&sig=KeyOfIt"
        address += "&verify=no&redirect=yes&template=/etc/passwd"  # options of apprise: nobody's to say
        secrets.put(open_world, operator, "teams", address, hosts=[place])
        wanted = Destination("default", "team", Kind.TEAMS, secret="teams", topics=("breaker",))
        service.put(open_world, operator, wanted)
        (tried,) = service.try_out(open_world, operator, "team")
        assert (tried.state, tried.problem) == (State.SENT, "")
        came = hook.came[0]
        assert came.path.startswith("/workflows/643e69f83c8944/triggers/manual/paths/invoke?")
        assert "sig=KeyOfIt" in came.path
        (card,) = json.loads(came.body)["attachments"]
        assert card["contentType"] == "application/vnd.microsoft.card.adaptive"
        assert card["content"]["body"][0]["text"] == "A test of Tenure"
        hook.says(302, location=other.url)
        (tried,) = service.try_out(open_world, operator, "team")
        assert (tried.problem, other.came) == ("Teams did not take it: it answers 302", [])


@SQLITE
def test_a_chat_is_at_the_address_of_its_service(open_world: World, operator: Actor) -> None:
    secrets.put(open_world, operator, "slack", "https://10.0.0.1/services/a/b/c", hosts=["10.0.0.1"])
    with pytest.raises(Refused, match="no address of this service"):
        service.put(open_world, operator, Destination("default", "c", Kind.SLACK, secret="slack", topics=("breaker",)))


@SQLITE
@pytest.mark.req("R105")
def test_secrets_stand_in_no_log_no_event_and_no_row(
    open_world: World, operator: Actor, hook: Receiver, capfd: pytest.CaptureFixture[str], caplog: Any
) -> None:
    address = "https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7"
    secrets.put(open_world, operator, "slack", address, hosts=["hooks.slack.com"])
    service.put(open_world, operator, Destination("default", "chat", Kind.SLACK, secret="slack", topics=("breaker",)))
    _webhook(open_world, operator, hook.url)
    hook.says(400, KEY.encode())
    with caplog.at_level(0), pytest.MonkeyPatch.context() as patch:
        patch.setattr(NotifySlack, "webhook_url", f"{hook.url}/services")
        hook.says(403, address.encode())
        for name in ("ops", "chat"):
            (tried,) = service.try_out(open_world, operator, name)
            assert tried.problem
    with open_world.read() as conn:
        told = [repr(one) for one in events.read(conn, 0)]
        told += [
            repr(row)
            for table in (store.delivery_table, store.destination_table)
            for row in conn.execute(table.select())
        ]
    out = capfd.readouterr()
    for text in (*told, out.out, out.err, caplog.text):
        assert KEY not in text
        assert "TIiajkdnlazkcOXrIdevi7" not in text


@SQLITE
def test_agents_narrow_what_a_destination_is_told(open_world: World, operator: Actor, hook: Receiver) -> None:
    _webhook(open_world, operator, hook.url, agents=("pay-*",))
    for agent in ("clerk", "pay-out", None):
        _happens(open_world, agent=agent)
    while _run(open_world):
        pass
    assert [json.loads(came.body)["data"]["agent"] for came in hook.came] == ["pay-out"]


@SQLITE
def test_a_queue_has_an_end(
    open_world: World, operator: Actor, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MAX_WAITING", 2)
    _webhook(open_world, operator, hook.url)
    for _ in range(3):
        _happens(open_world)
    assert [item.state for item in _all(open_world, operator)].count(State.DEAD) == 1


def test_what_is_old_is_forgotten(open_world: World, operator: Actor, hook: Receiver, clock: FakeClock) -> None:
    _webhook(open_world, operator, hook.url)
    _happens(open_world)
    _run(open_world)
    assert durable.run_due(open_world, FORGETTING, "test") == 0
    clock.advance(model.KEPT.total_seconds() + 1)
    assert durable.run_due(open_world, FORGETTING, "test") == 1
    assert _all(open_world, operator) == []


@SQLITE
def test_only_operators_say_who_is_told(open_world: World, operator: Actor, hook: Receiver) -> None:
    _webhook(open_world, operator, hook.url)
    viewer = Actor("default", "person:vic@example.com", frozenset({Role.VIEWER}))
    assert service.find(open_world, viewer)
    for verb in (
        lambda: service.remove(open_world, viewer, "ops"),
        lambda: service.try_out(open_world, viewer, "ops"),
        lambda: service.again(open_world, viewer, "x"),
        lambda: service.put(open_world, viewer, service.find(open_world, operator)[0].destination),
    ):
        with pytest.raises(Refused) as refused:
            verb()
        assert refused.value.status == 403


@pytest.mark.parametrize(
    ("kind", "data", "topic"),
    [
        ("agent.transitioned", {"to": "suspended"}, "agent-suspended"),
        ("agent.transitioned", {"to": "production"}, None),
        ("agent.applied", {"changed": ["registered"]}, "agent-requested"),
        ("agent.applied", {"changed": ["pending_release"], "pending_release": "sha256:x"}, "agent-requested"),
        ("agent.applied", {"changed": ["pending_release"], "pending_release": None}, None),
        ("agent.applied", {"changed": ["purpose"]}, None),
        ("instance.ended", {"end": "lost"}, "instance-lost"),
        ("instance.ended", {"end": "exited"}, None),
        ("limits.reached", {"percent": 80, "account": "x"}, "limit"),
        ("call.completed", {}, None),
    ],
)
def test_what_an_event_is_to_a_person(kind: str, data: dict[str, Any], topic: str | None) -> None:
    event = Event("e", kind, datetime.now(UTC), "default", "system:x", "clerk", data=data)
    assert words.topic_of(event) == topic
    if topic is not None:
        message = words.message_of(event, topic)
        assert message.title
        assert topic in words.TOPICS
