"""The verbs of forks: ask for one, see what it came to. How one goes on is ``driving``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.engine import Connection

from tenure.base import events
from tenure.base.access import permit
from tenure.base.room import World
from tenure.base.sight import Sight
from tenure.comparison import service as comparison
from tenure.forks import store, wires
from tenure.forks.model import MOST_RUNNING, MOST_TEXT, Fork, State, Texts
from tenure.forks.record import Course, Told, at, changed, course_of
from tenure.forks.telling import event_of
from tenure.kernel.errors import Refused
from tenure.kernel.ids import new_id
from tenure.kernel.json import JsonObject
from tenure.kernel.snapshot import AgentFact, ModelFact
from tenure.kernel.values import Actor
from tenure.kernel.wires import wire_of
from tenure.policy import service as policy
from tenure.registry import service as registry
from tenure.registry.model import agent_fact, thing
from tenure.runtime.model import STARTS


@dataclass(frozen=True, slots=True)
class Wish:
    """What a fork is to have otherwise: None, or nothing, for what stays. ``agent``: whose model is called and whose
    grants are asked about in the place of the run's own; a run that was imported has none."""

    step: int
    texts: Texts = Texts()
    model: str | None = None
    agent: str | None = None
    policy: tuple[tuple[str, str], ...] = ()
    go_on: bool = False

    @property
    def asks_model(self) -> bool:
        """Whether the model is called: where nothing but policy is otherwise, the record is decided on again."""
        said = (self.texts.system, self.texts.prompt, self.model)
        return not self.policy or any(one is not None for one in said)


def ask(world: World, actor: Actor, trace_id: str, wish: Wish) -> Fork:
    """A run played again from a step. It goes on in the background; ``get`` tells how far it is. Raises Refused: 403
    for whoever may not start this agent or not see all that was said in the run, 404 for a run, step, agent or model
    that there is not, 409 where the content of the step is gone or the agent may not act, 422 for policies that do not
    compile and for what cannot be said again, 429 while too many run."""
    permit(actor, "events:read")
    for text in (wish.texts.system, wish.texts.prompt, wish.texts.stand_in):
        if text is not None and len(text.encode("utf-8", "replace")) > MOST_TEXT:
            raise Refused("too_long", f"A text of a fork has at most {MOST_TEXT >> 10} KiB.", status=422)
    told = comparison.run_of(world, actor, trace_id)
    _, span = at(told, wish.step)
    sight = Sight(world, actor)
    if not all(sight.of(one.agent) for _, one in told):  # what a fork tells, it tells as of the agent that is named
        raise Refused("withheld", "What was said in this run is not yours to see.", fix=sight.ask, status=403)
    name = wish.agent or span.agent
    if not name:
        raise Refused(
            "no_agent",
            "The run was imported: it is of no agent here, so there is none whose model could be called.",
            fix="Name one of yours with `agent` (--agent).",
            status=422,
        )
    with world.read() as connection:
        record = registry.the_agent(connection, actor.workspace, name)
    permit(actor, "runs:fork", thing(record))
    if wish.policy:
        policy.Again(world, actor.workspace, wish.policy)  # compiles, or says what is wrong
    model, about = "", str(span.attributes.get("enduser.id") or span.attributes.get("tenure.on_behalf_of") or "")
    if wish.asks_model:
        if record.state not in STARTS:
            raise Refused(
                "agent_not_running",
                f"{name} is {record.state}: its model answers nobody now.",
                fix="Name another agent that may call this model with `agent` (--agent).",
                status=409,
            )
        model = _sayable(agent_fact(record), told, wish).asked
    now, ident = world.clock(), new_id()
    changes = {"model": wish.model, "system": wish.texts.system, "prompt": wish.texts.prompt, "agent": wish.agent}
    item = Fork(
        id=ident,
        workspace=actor.workspace,
        trace_id=new_id(),
        of=trace_id,
        step=wish.step,
        agent=name,
        model=model,
        changed=tuple(
            [what for what, value in changes.items() if value is not None] + (["policy"] if wish.policy else [])
        ),
        policy=wish.policy,
        go_on=wish.go_on,
        state=State.RUNNING,
        detail="",
        turns=0,
        by=actor.name,
        asked_at=now,
        at=now,
    )
    with world.begin() as tx:
        if len(store.running(tx, actor.workspace)) >= MOST_RUNNING:
            raise Refused(
                "too_many_forks", f"{MOST_RUNNING} forks run already.", fix="Wait until one has ended.", status=429
            )
        store.add(tx, item)
        events.append(tx, [event_of(item, "fork.started", now, _begun(item, wish.texts), about=about)])
    return item


def _begun(item: Fork, texts: Texts) -> dict[str, object]:
    said = {"system": texts.system, "prompt": texts.prompt, "stand_in": texts.stand_in}
    facts: dict[str, object] = {"tenure.fork.of": item.of, "tenure.fork.step": item.step}
    facts |= {"tenure.fork.changed": list(item.changed), "agent": item.agent}
    if item.model:
        facts["gen_ai.request.model"] = item.model
    return facts | {f"tenure.fork.{name}": text for name, text in said.items() if text is not None}


def _sayable(agent: AgentFact, told: Told, wish: Wish) -> ModelFact:
    """The model that is to be called, when what it is to be asked can be said to it. Raises Refused."""
    course = changed(course_of(told, wish.step), wish.texts.system, wish.texts.prompt)
    fact = model_of(agent, wish.model or course.model)
    if fact is None and wish.model is None and agent.models:
        fact = agent.models[0]
    if fact is None:
        known = ", ".join(one.asked for one in agent.models) or "none"
        raise Refused(
            "unknown_model",
            f"Agent {agent.name} may not call {wish.model}.",
            fix=f"Its release has: {known}. Name another agent with `agent` to call another model.",
            status=404,
        )
    wires.request(
        wire(fact), asked_of(course, fact, course.messages, [wires.Tool(name, "", {}) for name in course.tools])
    )
    return fact


def asked_of(
    course: Course, fact: ModelFact, messages: Sequence[JsonObject], tools: Sequence[wires.Tool]
) -> wires.Asked:
    """What a model is asked in a fork."""
    return wires.Asked(fact.asked, course.instructions, messages, tools, course.max_tokens, course.api)


def model_of(agent: AgentFact, name: str) -> ModelFact | None:
    """The model that an agent asks for by that name, or that has it."""
    named = [one for one in agent.models if one.asked == name]
    return next(iter([*named, *(one for one in agent.models if one.name == name)]), None)


def wire(fact: ModelFact) -> str:
    """The API that a model is called over."""
    return fact.wire or wire_of(fact.provider)


def find(world: World, actor: Actor, *, of: str | None = None, limit: int = 50) -> list[Fork]:
    """Forks of the workspace, the newest first; ``of``: of that run, and the one that has that trace itself."""
    permit(actor, "events:read")
    with world.read() as connection:
        return store.find(connection, actor.workspace, of, limit)


def get(world: World, actor: Actor, ident: str) -> Fork:
    """One. Raises Refused (404)."""
    permit(actor, "events:read")
    with world.read() as connection:
        found = store.get(connection, ident, actor.workspace)
    if found is None:
        raise Refused("unknown_fork", f"There is no fork {ident}.", fix="`tenure runs forks` lists them.", status=404)
    return found


def due(connection: Connection, _now: object) -> Sequence[str]:
    """Those that run."""
    return store.running(connection)
