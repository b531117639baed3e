"""Never more than the bound, whatever happens: real gateway leases and the real ledger, with everything between them in
the hands of hypothesis. Events wait, gateways are killed with what they had not told, clocks jump."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tenure.gateway.leases import Charge, Leases
from tenure.gateway.snapshot import Facts
from tenure.kernel.budgets import LimitFact
from tenure.kernel.snapshot import AgentFact, Snapshot
from tenure.kernel.values import Call, CallKind, Event, LifecycleState, Principal
from tenure.limits.ledger import Lease
from tenure.limits.model import counted
from tests.sim.ledger import Ledger

BEGIN = datetime(2026, 3, 4, 12, 0, 7, tzinfo=UTC)
WHO = Principal("default", "bot", "r", "i", "s", 1)


def limit_of(amount: int, *, per: str = "hour", sliding: bool = False, of: str = "calls") -> LimitFact:
    return LimitFact(f"bot/{of}-{per}", of, amount, per, "agent", sliding=sliding)


class Spooled:
    """Events in the order in which they were told; a stand-in for the disk, which is tested elsewhere."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def append(self, told: Event, *, urgent: bool = False) -> None:
        assert urgent == (told.type == "limits.asked")
        self.events.append(told)


class Replica:
    """One gateway's leases, its clock, and the Events that did not leave it yet."""

    def __init__(self, control: Ledger, limit: LimitFact) -> None:
        self.clock = 1000.0
        self.facts = Facts(lambda: self.clock)
        self.spool = Spooled()
        self.leases = Leases(self.facts, self.spool, lambda: self.clock)  # type: ignore[arg-type]  # it appends only
        self.agent = AgentFact("default", "bot", LifecycleState.PRODUCTION, "r", 1, "o@x.example", limits=(limit,))
        self.agents = {"default/bot": self.agent}
        self.open: list[tuple[Charge, int]] = []
        self.hear(control)

    def hear(self, control: Ledger) -> None:
        snapshot = Snapshot(1, BEGIN, agents=self.agents, leases=control.facts())
        self.facts.replace(snapshot, {})

    def begin(self, kind: CallKind, size: int, output: int) -> Any:
        """A call as far as its reservation; None when it has to wait."""
        call = Call("c", kind, "m", {"operation": "chat", "max_tokens": output})
        limit = self.agent.limits[0]
        got = self.leases._take([(f"{limit.id}|bot", limit)], call, WHO, size, None, self.clock)
        if isinstance(got, Charge):
            return got
        for held, need in got:
            if not (self.clock < held.turned_down and not held.pending):
                self.leases._want(held, need, self.clock)
        return None

    def end(self, charge: Charge, data: dict[str, Any], *, made: bool = True) -> int:
        charged = self.leases.settle(charge, self.agent, data, made=made)
        if charged:
            told = Event("e", "call.completed", BEGIN, "default", "agent:bot", data={"tenure.charged": charged})
            self.spool.append(told)
        return sum(charged.values())


class Fleet(RuleBasedStateMachine):
    """Calls of a model under a limit of tokens, whose answers are as long as they were allowed to be or shorter, and
    whose questions are what they were reckoned with."""

    replicas: list[Replica]

    @initialize(amount=st.sampled_from([7, 60, 300]), sliding=st.booleans(), per=st.sampled_from(["minute", "hour"]))
    def start(self, amount: int, sliding: bool, per: str) -> None:
        self.amount = amount
        self.limit = limit_of(amount, per=per, sliding=sliding, of="tokens")
        self.control = Ledger({self.limit.id: self.limit}, BEGIN)
        self.replicas = [Replica(self.control, self.limit) for _ in range(3)]
        self.spent: dict[int, int] = {}  # by the period of the lease, as it was really used
        self.slack: dict[int, int] = {}  # what is lost out of sight: granted to gateways that were killed or cut off
        self.periods: dict[str, int] = {}
        self.out_of_sight: set[str] = set()

    def _note(self) -> None:
        for ident, lease in self.control.leases.items():
            self.periods[ident] = lease.period

    def _period(self, charge: Charge) -> int:
        return self.periods[charge.parts[0][0].id]

    @rule(which=st.integers(0, 2), output=st.integers(1, 60), share=st.integers(0, 100))
    def call(self, which: int, output: int, share: int) -> None:
        replica = self.replicas[which]
        charge = replica.begin(CallKind.LLM, 0, output)
        if charge is not None:
            replica.open.append((charge, output * share // 100))

    @rule(which=st.integers(0, 2), made=st.booleans())
    def end(self, which: int, made: bool) -> None:
        replica = self.replicas[which]
        if replica.open:
            charge, output = replica.open.pop(0)
            at = self._period(charge)
            data = {"gen_ai.usage.input_tokens": 0, "gen_ai.usage.output_tokens": output}
            self.spent[at] = self.spent.get(at, 0) + replica.end(charge, data, made=made)

    @rule(which=st.integers(0, 2), count=st.integers(1, 5))
    def ship(self, which: int, count: int) -> None:
        replica = self.replicas[which]
        for told in replica.spool.events[:count]:
            self.control.take(told.type, told.data)
        del replica.spool.events[:count]
        self._note()

    @rule(which=st.integers(0, 2))
    def push(self, which: int) -> None:
        self.replicas[which].hear(self.control)

    @rule(which=st.integers(0, 2))
    def tend(self, which: int) -> None:
        self.replicas[which].leases.tend()

    @rule(which=st.integers(0, 2))
    def settle_down(self, which: int) -> None:
        """What happens most of the time: all is told and all is heard."""
        self.ship(which, 1000)
        self.push(which)

    @rule(which=st.integers(0, 2), output=st.sampled_from([1, 2, 5, 30]), calls=st.integers(5, 40))
    def work(self, which: int, output: int, calls: int) -> None:
        """A gateway that is busy: calls to the last token, one after another, with a lease asked for when it is out."""
        replica = self.replicas[which]
        for _ in range(calls):
            charge = replica.begin(CallKind.LLM, 0, output)
            if charge is None:
                self.settle_down(which)
                replica.clock += 1.0  # a call that was turned down is made again
                continue
            at = self._period(charge)
            data = {"gen_ai.usage.input_tokens": 0, "gen_ai.usage.output_tokens": output}
            self.spent[at] = self.spent.get(at, 0) + replica.end(charge, data)

    @rule(seconds=st.sampled_from([0.1, 1.0, 4.0, 11.0]))
    def wait(self, seconds: float) -> None:
        """Time passes for all alike; connected gateways tend and tell."""
        self.control.now = self.control.clock + timedelta(seconds=seconds)
        for replica in self.replicas:
            replica.clock += seconds
            replica.leases.tend()

    @rule(seconds=st.sampled_from([-3600.0, -61.0, -7.0, 7.0, 3600.0]))
    def jump(self, seconds: float) -> None:
        """The control plane's clock is set."""
        self.control.now = self.control.clock + timedelta(seconds=seconds)

    @rule(which=st.integers(0, 2), late=st.booleans())
    def kill(self, which: int, late: bool) -> None:
        """kill -9. What is on its disk is told by its successor, or never, if the disk is gone as well."""
        replica = self.replicas[which]
        for charge, output in replica.open:  # what was under way may have been billed, and nobody will tell of it
            at = self._period(charge)
            self.spent[at] = self.spent.get(at, 0) + output
            self._slack(at, output)
        successor = Replica(self.control, self.limit)
        if late:
            successor.spool.events[:0] = replica.spool.events
        else:
            for told in replica.spool.events:
                for ident, units in told.data.get("tenure.charged", {}).items():
                    self._slack(self.periods[ident], units)
        successor.clock = replica.clock
        self.replicas[which] = successor
        event("killed, disk kept" if late else "killed, disk lost")

    def _slack(self, at: int, units: int) -> None:
        self.slack[at] = self.slack.get(at, 0) + units

    def _left(self, lease: Lease) -> int:
        """What may come to be told yet of a lease that is over for the control plane: all of it where its clock was set
        forward, else what its gateway used and what is under way."""
        for replica in self.replicas:
            for held in (*replica.leases._held.values(), *replica.leases._closing):
                if held.id == lease.id:
                    return lease.granted if replica.clock < held.deadline else held.used + held.reserved
        return lease.granted  # of a gateway that was killed

    @invariant()
    def never_over(self) -> None:
        """What was used is never more than the amount, and what was granted to gateways that then did not tell in time
        of what they used of it."""
        limit = self.limit
        for lease in self.control.leases.values():
            if lease.until <= self.control.clock and lease.id not in self.out_of_sight:
                self.out_of_sight.add(lease.id)
                self._slack(lease.period, max(0, self._left(lease) - lease.told))
        for start in self.spent:
            first, last = counted(limit, start)
            used = sum(units for at, units in self.spent.items() if start <= at <= last)
            slack = sum(units for at, units in self.slack.items() if first <= at <= last)
            assert used <= limit.amount + slack, (used, limit, slack)


TestFleet = pytest.mark.req("R035", "R110")(Fleet.TestCase)
Fleet.TestCase.settings = settings(
    max_examples=150, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck)
)
