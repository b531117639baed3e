"""Sequence rules at real gateways: two replicas of one session, restarts, kills, holds; and nothing without a rule."""

from __future__ import annotations

import concurrent.futures
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tenure.kernel.snapshot import ServerFact, ToolFact
from tests.sim.control import ControlSim
from tests.sim.gateway import GatewayProcess, agent_fact, default_policies

RULES = """
rules:
  - id: no-send-after-customer-data
    reason: Nothing goes out after customer data came in.
    deny: {tool: mail/send, where: {to: {unlike: "*@example.com"}}}
    once: {tool: crm/read}
  - id: three-refunds-per-case
    deny: {tool: shop/refund}
    per: case
    count: {tool: shop/refund, failed: ignored}
    reached: 3
  - id: write-after-read
    hold: {tool: docs/write}
    per: record
    never: {tool: docs/read}
  - id: one-wipe-by-anybody
    deny: {tool: shop/wipe}
    over: agent
    once: {tool: shop/wipe}
"""
TOOLS = (
    *(("mail", "send"), ("crm", "read"), ("shop", "refund"), ("shop", "wipe"), ("shop", "list")),
    *(("docs", "write"), ("docs", "read")),
)


class Pair:
    """A control plane and two gateways that any session may come to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        permit = '@id("rest") permit (principal, action, resource);'
        policies = (*default_policies(), ("rest.cedar", permit), ("a.sequence.yaml", RULES))
        self.control = ControlSim(folder / "a", policies)
        self.gateways: dict[str, GatewayProcess] = {}
        self.http = httpx2.Client(timeout=60, trust_env=False)

    def start(self, name: str) -> None:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        (folder / "gateway.token").write_text("gateway-secret\n")
        self.gateways[name] = GatewayProcess(folder, self.control.port)

    def settle(self) -> None:
        end = time.monotonic() + 30
        while not all(one.acts_on(self.control.snapshot.version) for one in self.gateways.values()):
            assert time.monotonic() < end
            time.sleep(0.005)

    def decide(self, where: str, tool: str, session: str, wait_s: float = 0.0, **arguments: Any) -> dict[str, Any]:
        body = {"tool": tool, "arguments": arguments, "wait_s": wait_s}
        answer = self.http.post(f"{self.gateways[where].url}/v1/decide", json=body, headers=self._as(session))
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def tell(self, where: str, call: dict[str, Any], session: str, **what: Any) -> None:
        url = f"{self.gateways[where].url}/v1/record"
        assert self.http.post(url, json={"call": call["call"], **what}, headers=self._as(session)).status_code == 200

    def do(self, where: str, tool: str, session: str, **arguments: Any) -> str:
        """Decides on a call, makes it if it may be made, and says what was decided."""
        call = self.decide(where, tool, session, **arguments)
        if call["effect"] == "allow":
            self.tell(where, call, session, result="done")
        return str(call["effect"])

    def refused(self, tool: str, count: int = 1) -> list[dict[str, Any]]:
        def found(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
            out = [one for one in events if one["type"] == "call.refused" and one["data"]["tenure.resource"] == tool]
            return out if len(out) >= count else []

        out: list[dict[str, Any]] = self.control.wait(found, 30)
        return out

    def _as(self, session: str) -> dict[str, str]:
        return {"authorization": f"Bearer {self.control.token('clerk')}", "x-tenure-session": session}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    one = Pair(tmp_path_factory.mktemp("pair"))
    with one.control, one.http:
        try:
            one.start("a")
            one.start("b")
            tools = tuple(ToolFact(server, name) for server, name in TOOLS)
            servers = tuple(ServerFact(name, in_process=True) for name in sorted({tool.server for tool in tools}))
            one.control.agent(replace(agent_fact("http://127.0.0.1:9/v1", (), tools=tools), servers=servers))
            one.settle()
            yield one
        finally:
            for gateway in one.gateways.values():
                gateway.stop()


@pytest.mark.req("R052")
@pytest.mark.asi("ASI01", "What a hijacked agent read cannot leave by a later call, whatever each call may alone")
def test_what_was_read_does_not_leave_and_the_decision_names_the_step_that_read_it(pair: Pair) -> None:
    read = pair.decide("a", "crm/read", "chained", id=7)
    assert read["effect"] == "allow"
    sent = pair.decide("a", "mail/send", "chained", to="x@evil.com")  # while it is still being read
    assert (sent["effect"], sent["policies"]) == ("deny", ["no-send-after-customer-data"])
    pair.tell("a", read, "chained", result={"name": "Ann"})
    assert pair.do("b", "mail/send", "chained", to="x@evil.com") == "deny"
    refused = pair.refused("mail/send", 2)
    assert [one["data"]["tenure.decision"]["because"] for one in refused] == [[read["call"]]] * 2
    assert "This session called crm/read before" in refused[0]["data"]["tenure.decision"]["reason"]


@pytest.mark.req("R052")
@pytest.mark.twin("ASI01")
def test_the_same_calls_pass_where_nothing_leaves_that_was_read(pair: Pair) -> None:
    assert pair.do("a", "mail/send", "benign", to="x@evil.com") == "allow"
    assert pair.do("b", "crm/read", "benign", id=7) == "allow"
    assert pair.do("a", "mail/send", "benign", to="boss@example.com") == "allow"
    assert pair.do("b", "mail/send", "another", to="x@evil.com") == "allow"


@pytest.mark.req("R052")
@pytest.mark.asi("ASI02", "A limit on a chain of calls is exact over gateways and over calls at once")
def test_two_gateways_let_exactly_three_pass_however_many_come_at_once(pair: Pair) -> None:
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        asked = [pool.submit(pair.decide, "ab"[index % 2], "shop/refund", "race", case=1) for index in range(24)]
        found = [one.result(60) for one in asked]
    allowed = [one for one in found if one["effect"] == "allow"]
    assert len(allowed) <= 3
    while len(allowed) < 3:  # some were refused for not getting the history in time, on a slow machine
        allowed.append(pair.decide("a", "shop/refund", "race", case=1))
        assert allowed[-1]["effect"] == "allow", allowed[-1]
    assert pair.decide("b", "shop/refund", "race", case=1)["policies"] == ["three-refunds-per-case"]
    assert pair.do("b", "shop/refund", "race", case=2) == "allow"


@pytest.mark.req("R052")
def test_what_was_refused_or_has_failed_does_not_count_where_the_rule_says_so(pair: Pair) -> None:
    first = [pair.decide("a", "shop/refund", "fails", case=1) for _ in range(3)]
    assert {one["effect"] for one in first} == {"allow"}
    assert [pair.do("a", "shop/refund", "fails", case=1) for _ in range(2)] == ["deny", "deny"]
    assert pair.do("b", "shop/list", "fails") == "allow"
    pair.tell("a", first[0], "fails", error="out of money")
    assert pair.do("b", "shop/refund", "fails", case=1) == "allow"
    assert pair.do("a", "shop/refund", "fails", case=1) == "deny"


@pytest.mark.req("R052")
def test_a_call_ends_at_the_gateway_that_let_it_begin_wherever_its_session_is_by_then(pair: Pair) -> None:
    first = [pair.decide("a", "shop/refund", "moved", case=1) for _ in range(3)]
    assert pair.do("b", "shop/refund", "moved", case=1) == "deny"  # the history is at b now
    pair.tell("a", first[0], "moved", error="out of money")
    pair.control.wait(lambda _: pair.control.of_type("sequence.late"))
    pair.settle()
    assert pair.do("b", "shop/refund", "moved", case=1) == "allow"


@pytest.mark.req("R052")
def test_a_held_call_waits_for_a_person_and_what_lifts_the_rule_lets_it_go_on(pair: Pair) -> None:
    held = pair.decide("a", "docs/write", "held", record="r1")
    assert (held["effect"], held["policies"]) == ("hold", ["write-after-read"])
    asked = pair.control.wait(lambda _: pair.control.of_type("approval.requested"))[0]["data"]
    assert asked["policies"] == ["write-after-read"]
    pair.settle()
    pair.control.approval(asked["approval_id"], "granted", decided_by="person:ann@example.com")
    pair.settle()
    assert pair.decide("b", "docs/write", "held", wait_s=20, record="r1")["effect"] == "allow"
    assert pair.do("a", "docs/read", "held", record="r2") == "allow"
    assert pair.do("b", "docs/write", "held", record="r2") == "allow"


@pytest.mark.req("R052")
def test_a_rule_over_an_agent_is_not_dodged_by_another_session(pair: Pair) -> None:
    assert pair.do("a", "shop/wipe", "one") == "allow"
    assert pair.do("b", "shop/wipe", "two") == "deny"


@pytest.mark.req("R052")
def test_a_gateway_that_is_killed_has_forgotten_nothing_when_it_is_back(pair: Pair) -> None:
    for _ in range(2):
        assert pair.do("a", "shop/refund", "killed", case=1) == "allow"
    assert pair.decide("a", "shop/refund", "killed", case=1)["effect"] == "allow"  # and never told of again
    pair.gateways["a"].kill()
    pair.start("a")
    pair.settle()
    assert pair.decide("a", "shop/refund", "killed", case=1)["policies"] == ["three-refunds-per-case"]
    assert pair.do("a", "shop/refund", "killed", case=2) == "allow"


@pytest.mark.req("R052")
def test_a_history_whose_keeper_is_gone_is_not_had_and_then_held_as_lost(pair: Pair) -> None:
    assert pair.do("a", "mail/send", "lost", to="x@evil.com") == "allow"
    assert pair.do("a", "crm/read", "other", id=1) == "allow"
    assert pair.do("a", "shop/refund", "lost", case=1) == "allow"
    pair.gateways["a"].kill()
    refused = pair.decide("b", "mail/send", "lost", to="x@evil.com")
    assert refused["policies"] == ["system/history"]
    book = pair.control.histories.records
    name = "session:clerk/lost"
    book[name] = replace(book[name], until=datetime(2026, 1, 1, tzinfo=UTC))  # half a minute later
    lost = pair.decide("b", "mail/send", "lost", to="x@evil.com")
    assert lost["policies"] == ["no-send-after-customer-data"]
    assert "was lost with it" in lost["reason"]
    assert pair.do("b", "mail/send", "lost", to="boss@example.com") == "allow"  # no rule is about it
    pair.start("a")  # with all that it had still to tell
    pair.settle()
    assert pair.decide("a", "mail/send", "lost", to="x@evil.com")["effect"] == "allow"


def test_a_gateway_that_stops_gives_back_what_it_keeps(pair: Pair) -> None:
    assert pair.do("a", "crm/read", "stopped", id=1) == "allow"
    pair.gateways["a"].stop()
    assert pair.decide("b", "mail/send", "stopped", to="x@evil.com")["policies"] == ["no-send-after-customer-data"]
    pair.start("a")
    pair.settle()


def test_where_no_rule_is_about_a_call_nothing_is_asked_or_told(pair: Pair) -> None:
    before = len([one for one in pair.control.events if one["type"].startswith("sequence.")])
    assert pair.do("a", "shop/list", "quiet") == "allow"
    pair.control.wait(lambda events: [one for one in events if one["session"] == "quiet"])
    told = [one for one in pair.control.events if one["type"].startswith("sequence.")][before:]
    assert [one for one in told if "quiet" in str(one["data"])] == []
