"""One step of a fork: look at what is told of it, answer what its model asked for, call the model once more, or end.

Nothing is remembered between steps but how often the model was called: the conversation is put together anew each time,
from the recorded run and from what the gateway told of the fork's own calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec

from tenure.base import events
from tenure.base.room import World
from tenure.comparison import service as comparison
from tenure.evaluation.model import bare_tool
from tenure.forks import store, wires
from tenure.forks.calling import call
from tenure.forks.following import Following, Reply, follow
from tenure.forks.model import LOST, MOST_TURNS, Fork, State, Texts
from tenure.forks.record import Course, Told, changed, course_of
from tenure.forks.service import asked_of, model_of, wire
from tenure.forks.telling import answered, decided_anew, event_of
from tenure.kernel.errors import Failed, Refused
from tenure.kernel.ids import new_id
from tenure.kernel.json import JsonObject
from tenure.kernel.snapshot import AgentFact
from tenure.kernel.values import Actor, Call, CallKind, Decision, Effect, Principal
from tenure.policy import service as policy
from tenure.registry import service as registry
from tenure.registry.model import agent_fact
from tenure.telemetry import service as telemetry
from tenure.telemetry.model import RecordedCall, Span
from tenure.tools import service as tools

_SYSTEM = "system:forks"
_DECIDED = ("call.completed", "call.refused")
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class _Over(Exception):  # noqa: N818 (an end, not a malfunction)
    """The fork has come to its end."""

    state: State
    detail: str
    same: int = 0


def step(world: World, ident: str) -> bool:
    """Takes one step; whether anything was done."""
    with world.read() as connection:
        item = store.get(connection, ident)
    if item is None or item.state is not State.RUNNING:
        return False
    try:
        return _step(world, item)
    except _Over as over:
        return _end(world, item, over)
    except (Refused, Failed) as error:
        if isinstance(error, Failed) and error.retry:
            raise
        return _end(world, item, _Over(State.FAILED, error.message))


def _end(world: World, item: Fork, over: _Over) -> bool:
    now = world.clock()
    data = {"tenure.fork.came_to": over.state.value, "tenure.fork.same": over.same, "detail": over.detail}
    with world.begin() as tx:
        if store.end(tx, item.id, over.state, over.detail, now):
            events.append(tx, [event_of(item, "fork.ended", now, data)])
    return True


def _step(world: World, item: Fork) -> bool:
    reader = Actor(item.workspace, _SYSTEM)
    told = comparison.run_of(world, reader, item.of)
    with world.read() as connection:
        agent = agent_fact(registry.the_agent(connection, item.workspace, item.agent))
    files = item.policy or policy.show(world, item.workspace).files
    policies = _Policies(world, item, agent, told, policy.Again(world, item.workspace, files))
    if not item.model:
        raise policies.run()
    own = telemetry.spans_of_trace(world, reader, item.trace_id)
    texts = _texts(own)
    course = changed(course_of(told, item.step), texts.system, texts.prompt)
    calls = sorted(
        (span for span in own if span.type in ("fork.called", "fork.refused")),
        key=lambda span: (span.start, span.event),
    )
    if len(calls) < item.turns:
        if world.clock() - item.at > LOST:
            raise _Over(State.FAILED, "A call of the model was not told of: whoever made it was ended.")
        return False
    going = follow(course, [_answer(span) for span in calls], stand_in=texts.stand_in, go_on=item.go_on)
    policies.replies(going, course.about)
    if going.end is not None:
        raise _Over(*going.end)
    if item.turns >= MOST_TURNS:
        raise _Over(State.STOPPED, f"The model was called {MOST_TURNS} times, which is the most.")
    return _ask(world, item, agent, course, going)


def _ask(world: World, item: Fork, agent: AgentFact, course: Course, going: Following) -> bool:
    fact = model_of(agent, item.model)
    if fact is None:
        raise _Over(State.FAILED, f"The release of {agent.name} has no model {item.model} any more.")
    with world.read() as connection:
        offered = _offered(course, tools.accepted(connection, item.workspace, agent.name))
    request = wires.request(wire(fact), asked_of(course, fact, going.messages, offered))
    with world.begin() as tx:
        if not store.begin_turn(tx, item, world.clock()):
            return False
    problem = call(world, item, agent, fact.name, course.about, request)
    if problem:
        raise _Over(State.FAILED, problem)
    return True


def _texts(own: Sequence[Span]) -> Texts:
    began = next((span.attributes for span in own if span.type == "fork.started"), {})
    said = {name: began.get(f"tenure.fork.{name}") for name in ("system", "prompt", "stand_in")}
    return Texts(**{name: text for name, text in said.items() if isinstance(text, str)})


def _answer(span: Span) -> JsonObject:
    """What the model answered in a call. Raises ``_Over`` where there was no answer, or it was not kept."""
    data = span.attributes
    if span.type == "fork.refused":
        raise _Over(State.REFUSED, f"The call of the model was refused: {span.status_message}")
    if data.get("error.type"):
        raise _Over(State.FAILED, f"The call of the model failed: {data['error.type']}")
    messages = data.get("gen_ai.output.messages")
    if not isinstance(messages, list | tuple) or not messages or not isinstance(messages[0], dict):
        raise _Over(State.FAILED, "The model's answer was not kept, or is none.")
    answer: JsonObject = messages[0]
    return answer


def _offered(course: Course, accepted: dict[str, JsonObject]) -> list[wires.Tool]:
    """The tools as the model is told of them. Their descriptions are not part of the record: those that were accepted
    for the agent are taken, else what a recorded call shows."""
    known = {bare_tool(resource): body for resource, body in accepted.items()}
    found = []
    for name, example in course.tools.items():
        body = known.get(bare_tool(name), {})
        fields = example if isinstance(example, dict) else {}
        schema = body.get("inputSchema") or {"type": "object", "properties": {field: {} for field in fields}}
        found.append(wires.Tool(name, str(body.get("description") or f"{bare_tool(name)}, as recorded"), schema))
    return found


@dataclass(frozen=True, slots=True)
class _Policies:
    """What policies say of what a fork comes to."""

    world: World
    item: Fork
    agent: AgentFact
    told: Told
    again: policy.Again

    def run(self) -> _Over:
        """The end of a fork in which nothing but policy is otherwise: where a recorded call is decided otherwise."""
        for number, (one, span) in enumerate(self.told, 1):
            decision = self._recorded(span)
            if decision is None or number < self.item.step:
                continue
            over = _otherwise(one.label, span, decision, number - 1)
            if over is not None:
                self._tell(span.event, decided_anew(span, decision), _about(span))
                return over
        same = len(self.told)
        return _Over(State.FINISHED, "Every call of the record is decided as it was.", same)

    def _recorded(self, span: Span) -> Decision | None:
        """The decision on a recorded call; None for what is no call, and for one that cannot be decided again."""
        if span.type in _DECIDED:
            data = _encode(span.attributes).decode()
            recorded = RecordedCall(
                0, span.event, span.start, span.agent or "", span.session or "", data, span.release or ""
            )
            return self.again.decide(recorded)[0]
        if span.type == "import.call" and "agent" in self.item.changed:
            kind = CallKind.LLM if span.attributes.get("tenure.kind") == "llm" else CallKind.TOOL
            given = span.attributes.get("gen_ai.tool.call.arguments")
            name = self.agent.models[0].name if kind is CallKind.LLM else str(span.attributes.get("tenure.resource"))
            return self._attempt(kind, name, given if isinstance(given, dict) else {}, "")
        return None

    def replies(self, going: Following, about: str) -> None:
        """Tells what the tool calls of the last answer came to. Raises ``_Over`` where policy says no, or the record
        has no answer."""
        if not going.replies:
            return
        if self.item.policy:  # what was before counts for sequence rules
            for _, earlier in self.told[: self.item.step - 1]:
                self._recorded(earlier)
        for number, reply in enumerate(going.replies):
            span = reply.of.span if reply.of is not None else None
            resource = str(span.attributes.get("tenure.resource")) if span is not None else self._resource(reply.name)
            decision = self._of_reply(reply, span, resource, about)
            if span is not None or reply.how in ("none", "stand-in"):
                place = f"{self.item.turns}/{number}"
                self._tell(place, answered(reply, resource, decision), about)
            if reply.how == "none":
                word = decision.effect.value if decision is not None else "not be asked"
                why = f": {decision.reason}" if decision is not None and decision.reason else ""
                detail = going.end[1] if going.end is not None else ""
                raise _Over(State.DIVERGED, f"{detail} Policy says {word} to {resource}{why}.")
            over = _otherwise(resource, span, decision, 0) if decision is not None else None
            if over is not None:
                raise replace(over, same=0)

    def _of_reply(self, reply: Reply, span: Span | None, resource: str, about: str) -> Decision | None:
        if reply.how in ("none", "stand-in"):
            given = reply.arguments if isinstance(reply.arguments, dict) else {}
            return self._attempt(CallKind.TOOL, resource, given, about)
        if not self.item.policy:
            return None  # as it was decided then
        if span is not None and span.type in _DECIDED:
            return self._recorded(span)
        given = reply.arguments if isinstance(reply.arguments, dict) else {}
        return self._attempt(CallKind.TOOL, resource, given, about)

    def _resource(self, name: str) -> str:
        """The granted tool that the model calls by that name; the name itself where there is none."""
        bare = bare_tool(name)
        granted = next((f"{one.server}/{one.name}" for one in self.agent.tools if one.name == bare), None)
        return granted or name

    def _attempt(self, kind: CallKind, resource: str, given: JsonObject, about: str) -> Decision:
        principal = Principal(
            workspace=self.item.workspace,
            agent=self.agent.name,
            release=self.agent.release,
            instance=self.item.id,
            session=self.item.session,
            credential_epoch=self.agent.credential_epoch,
            on_behalf_of=about or None,
            fork=(self.item.id, about),
        )
        if kind is CallKind.TOOL and "/" not in resource:
            resource = self._resource(resource)
        return self.again.attempt(Call(new_id(), kind, resource, given), principal, self.agent)

    def _tell(self, place: str, data: JsonObject, about: str) -> None:
        with self.world.begin() as tx:
            now = self.world.clock()
            events.append(tx, [event_of(self.item, "fork.answered", now, data, about, place)])


def _about(span: Span) -> str:
    return str(span.attributes.get("enduser.id") or span.attributes.get("tenure.on_behalf_of") or "")


def _otherwise(what: str, span: Span | None, decision: Decision, same: int) -> _Over | None:
    """The end that a decision other than the recorded one makes; None where it is the same."""
    was = span.attributes.get("tenure.decision") if span is not None else None
    before = Effect(was["effect"]) if isinstance(was, dict) and was.get("effect") in set(Effect) else Effect.ALLOW
    if decision.effect is before:
        return None
    by = f" ({', '.join(decision.policies)})" if decision.policies else ""
    if decision.effect is Effect.ALLOW:
        return _Over(State.DIVERGED, f"{what} would be allowed{by}; the record has no answer to it.", same)
    word = "denied" if decision.effect is Effect.DENY else "held for a person"
    return _Over(State.REFUSED, f"{what} would be {word}: {decision.reason}{by}", same)
