"""Tests of policies: files of YAML beside them that say a call and what must come of it.

``refunds.test.yaml``::

    agents:
      clerk: {tools: [shop/list, {name: shop/refund, autonomy: approve}], models: [gpt]}
    tests:
      - name: a large refund waits for a person
        agent: clerk
        tool: shop/refund
        arguments: {amount: 101}
        expect: hold
        policies: [large-refunds]

A test that names no agent is of one that was granted exactly what it calls. ``content`` is what goes out besides the
arguments (a prompt), ``returned`` what came back, for policies that read what is found in them. ``provenance`` lists
the sources of what its session has met, ``untrusted_arguments`` the paths of arguments that are taken from what is not
trusted, and ``tainted: true`` says that such was met; ``risk`` and ``uncertainty`` are points, and
``justification`` is what the agent says that the call is for. ``at`` is the moment of
the call, for policies that end by themselves (left out, it is before the end of any) and for those that look at the
time, which deny where it is left out. ``tier``, ``task``, ``release`` and ``chain`` are the facts of these names.

``before`` are the calls of the session that were made before, the oldest first, for sequence rules::

      - name: nothing goes out after customer data came in
        tool: mail/send
        before:
          - tool: crm/read
            ago: 5m
        expect: deny
        policies: [no-send-after-customer-data]

Each may say that it ``failed``, is still ``running``, what it ``returned``, how long ``ago`` it was and in which
``session``.

Pure: text in, verdicts out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from tenure.base.documents import Document, read_documents
from tenure.base.faults import FileFault, in_file, nearest, path_of
from tenure.base.scan.texts import look, words
from tenure.kernel.errors import Refused
from tenure.kernel.snapshot import AgentFact, ModelFact, PeerGrant, ToolFact, Upstream
from tenure.kernel.values import Autonomy, Call, CallKind, Decision, Effect, LifecycleState, Origin, Principal, Risk
from tenure.policy.followed import Followed
from tenure.policy.links import SUFFIX as LINKS
from tenure.policy.model import Bundle, decide
from tenure.sequences.model import SUFFIX as SEQUENCES
from tenure.sequences.model import Outcome

SUFFIX = ".test.yaml"
TAILS = (".cedar", LINKS, SEQUENCES, SUFFIX)
"""How the names of files end that are policies, or tests of them."""
MAX_TESTS = 10_000
_WORKSPACE = "test"
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

Name = Annotated[str, Field(min_length=1, max_length=200)]
Resource = Annotated[str, Field(pattern=r"^[^/\s]+/\S+$", max_length=1_000)]


_Source = Literal["agent", "document", "memory", "person", "system", "tool", "unknown", "web"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)


class _Tool(_Part):
    name: Resource
    autonomy: Annotated[Autonomy, Field(strict=False)] = Autonomy.AUTONOMOUS


class _Peer(_Part):
    name: Name
    autonomy: Annotated[Autonomy, Field(strict=False)] = Autonomy.AUTONOMOUS


class _Agent(_Part):
    """What policies see of an agent, and what it was granted."""

    owner: str = "owner@example.com"
    purpose: str = ""
    risk_tier: Annotated[int, Field(ge=1, le=4)] = 1
    state: Annotated[LifecycleState, Field(strict=False)] = LifecycleState.PRODUCTION
    data_classes: list[Name] = Field(default_factory=list)
    tools: list[Resource | _Tool] = Field(default_factory=list)
    models: list[Name] = Field(default_factory=list)
    agents: list[Name | _Peer] = Field(default_factory=list)


class _Before(_Part):
    tool: Resource | None = None
    model: Name | None = None
    peer: Name | None = None
    arguments: dict[str, Any] = Field(default_factory=dict)
    content: str | None = None
    returned: str | None = None
    failed: bool = False
    running: bool = False
    ago: Annotated[str, Field(pattern=r"^\d{1,6}[smhd]$")] = "0s"
    session: str | None = None

    @model_validator(mode="after")
    def _whole(self) -> _Before:
        if sum(what is not None for what in (self.tool, self.model, self.peer)) != 1:
            raise PydanticCustomError("resource", "names either a tool, a model or a peer that was called")
        return self


class _Test(_Part):
    name: Name
    agent: Name | None = None
    tool: Resource | None = None
    model: Name | None = None
    peer: Name | None = None
    arguments: dict[str, Any] = Field(default_factory=dict)
    content: str | None = None
    returned: str | None = None
    autonomy: Annotated[Autonomy, Field(strict=False)] | None = None
    session: str = "test"
    on_behalf_of: str | None = None
    tier: Literal["interactive", "subagent", "background", "api"] | None = None
    task: str | None = None
    release: str = ""
    chain: list[Name] = Field(default_factory=list, max_length=32)
    approved: bool = False
    at: Annotated[datetime, Field(strict=False)] | None = None
    tainted: bool = False
    provenance: list[_Source] = Field(default_factory=list)
    untrusted_arguments: list[Name] = Field(default_factory=list)
    justification: str = ""
    risk: Annotated[int, Field(ge=0, le=100)] = 0
    uncertainty: Annotated[int, Field(ge=0, le=100)] = 0
    before: list[_Before] = Field(default_factory=list, max_length=1_000)
    expect: Annotated[Effect, Field(strict=False)]
    policies: list[Name] = Field(default_factory=list)
    obligations: list[Name] = Field(default_factory=list)

    @model_validator(mode="after")
    def _whole(self) -> _Test:
        if sum(what is not None for what in (self.tool, self.model, self.peer)) != 1:
            raise PydanticCustomError("resource", "names either a tool, a model or a peer that is called")
        if self.autonomy is not None and (self.agent is not None or self.model is not None):
            raise PydanticCustomError(
                "autonomy", "gives an autonomy, which is for a tool or peer of a test without agent"
            )
        if self.at is not None and self.at.tzinfo is None:
            raise PydanticCustomError("at", "is a moment without its zone: write it as 2026-12-21T12:00:00Z")
        return self


class _File(_Part):
    agents: dict[Name, _Agent] = Field(default_factory=dict)
    tests: list[_Test] = Field(min_length=1, max_length=MAX_TESTS)


@dataclass(frozen=True, slots=True)
class Earlier:
    """A call of a session before the one that is decided on, ``ago_s`` seconds."""

    call: Call
    principal: Principal
    ago_s: float
    running: bool
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Case:
    """One test, and where it stands (``line`` counts from 1). Its policies and obligations must be among those of the
    decision; others may be there too, so that one policy more does not break the tests of all. ``before`` are the calls
    of before, the oldest first."""

    file: str
    line: int
    name: str
    call: Call
    principal: Principal
    agent: AgentFact
    approved: bool
    expect: Effect
    policies: frozenset[str]
    obligations: frozenset[str]
    at: float = 0.0
    before: tuple[Earlier, ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a test; ``problem`` is empty when it passed."""

    case: Case
    decision: Decision
    problem: str


@dataclass(frozen=True, slots=True)
class Report:
    """What came of all, and the ids of the policies that determined the decision of none that passed. Links of one
    template say the same: for all of them stands the template, and one link that is tested is enough."""

    results: tuple[Result, ...]
    untested: tuple[str, ...]

    @property
    def faults(self) -> list[FileFault]:
        """The tests that failed, each with its place."""
        return [FileFault(item.case.file, item.case.line, item.problem) for item in self.results if item.problem]


def is_test(name: str) -> bool:
    """Whether a file of that name holds tests."""
    return name.endswith(SUFFIX)


def policies_of(files: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """The files that hold policies: what a version is the digest of, and what gateways are sent."""
    return tuple((name, text) for name, text in files if not is_test(name))


def read_cases(files: Sequence[tuple[str, str]]) -> tuple[tuple[Case, ...], tuple[FileFault, ...]]:
    """The tests of those of ``files`` ((name, text) each) that hold tests, and every fault of such a file."""
    cases: list[Case] = []
    faults: list[FileFault] = []
    for name, text in files:
        if not is_test(name):
            continue
        try:
            documents = read_documents(text, name)
        except Refused as refused:
            faults += in_file(refused, name)
            continue
        for document in documents:
            found, wrong = _read(document)
            cases += found
            faults += wrong
    return tuple(cases), tuple(faults)


def run_cases(bundle: Bundle, cases: Sequence[Case]) -> Report:
    """Decides every case as the gateway would."""
    results = []
    tested: set[str] = set()
    for case in cases:
        decision = decide(case.call, case.principal, case.agent, None, bundle, approved=case.approved, at=case.at)
        if bundle.sequences is not None:
            decision = _after_all(bundle, case, decision)
        problem = _problem(case, decision)
        results.append(Result(case, decision, problem))
        if not problem:
            tested.update(decision.policies)
    sequences = bundle.sequences.rules if bundle.sequences is not None else ()
    tested.update(rule.template for rule in bundle.rules if rule.id in tested)
    names = [rule.template or rule.id for rule in bundle.rules]
    names += [template.rule.id for template in bundle.templates]  # those that no link fills among them
    names += [rule.id for rule in sequences]
    return Report(tuple(results), tuple(name for name in dict.fromkeys(names) if name not in tested))


def _after_all(bundle: Bundle, case: Case, decision: Decision) -> Decision:
    """The decision after the calls of before, each of which is over at once, or not yet."""
    followed, now = Followed(bundle), 1e9
    for one in case.before:
        at = now - one.ago_s
        followed.tell(one.call, one.principal, at, None if one.running else at, one.outcome)
    return followed.decide(case.call, case.principal, decision, now, approved=case.approved)


def _problem(case: Case, decision: Decision) -> str:
    missing = [
        f"{what} {', '.join(sorted(lacking))}"
        for what, wanted, found in (
            ("by", case.policies, decision.policies),
            ("with the obligation", case.obligations, decision.obligations),
        )
        if (lacking := wanted.difference(found))
    ]
    if decision.effect is case.expect and not missing:
        return ""
    wanted = " ".join([case.expect.value, *missing])
    got = f"{decision.effect.value} by {', '.join(decision.policies)}"
    return f"{case.name}: expected {wanted}, got {got} ({decision.reason})"


def _read(document: Document) -> tuple[list[Case], list[FileFault]]:
    try:
        file = _File.model_validate(document.value)
    except ValidationError as error:
        return [], [_fault(document, item) for item in error.errors(include_url=False)]
    cases, faults = [], []
    for index, test in enumerate(file.tests):
        line = document.line_of(f"tests[{index}]")
        if test.agent is not None and test.agent not in file.agents:
            hint = nearest(test.agent, file.agents) or "no agents are given in this file"
            faults.append(
                FileFault(document.file, document.line_of(f"tests[{index}].agent"), f"no agent {test.agent}: {hint}")
            )
            continue
        cases.append(_case(document.file, line, test, file.agents))
    return cases, faults


def _fault(document: Document, error: ErrorDetails) -> FileFault:
    # A value that may be one of several shapes is told once for each of them, with the shape's name in the path.
    parts = [
        part
        for part in error["loc"]
        if isinstance(part, int) or not part.startswith(("_Tool", "_Peer", "constrained-"))
    ]
    path = path_of(parts)
    return FileFault(document.file, document.line_of(path), f"{path or 'the file'}: {error['msg']}")


def _named(given: _Test | _Before) -> tuple[CallKind, str]:
    resource = given.tool or given.model or given.peer
    assert resource is not None  # noqa: S101 (it has exactly one of the three)
    return CallKind.TOOL if given.tool else CallKind.LLM if given.model else CallKind.AGENT, resource


def _earlier(index: int, given: _Before, principal: Principal) -> Earlier:
    kind, resource = _named(given)
    found = words(look(given.returned)) if given.returned is not None else frozenset[str]()
    return Earlier(
        call=Call(f"before-{index + 1}", kind, resource, given.arguments, content=given.content),
        principal=replace(principal, session=given.session or principal.session),
        ago_s=float(int(given.ago[:-1]) * _UNITS[given.ago[-1]]),
        running=given.running,
        outcome=Outcome(failed=given.failed, returned=lambda: found),
    )


def _case(file: str, line: int, test: _Test, agents: dict[str, _Agent]) -> Case:
    kind, resource = _named(test)
    level = test.autonomy or Autonomy.AUTONOMOUS
    if test.agent is not None:
        agent = _fact(test.agent, agents[test.agent])
    elif kind is CallKind.TOOL:
        agent = _fact("agent", _Agent(tools=[_Tool(name=resource, autonomy=level)]))
    elif kind is CallKind.LLM:
        agent = _fact("agent", _Agent(models=[resource]))
    else:
        agent = _fact("agent", _Agent(agents=[_Peer(name=resource, autonomy=level)]))
    principal = Principal(
        workspace=agent.workspace,
        agent=agent.name,
        release=test.release,
        instance="test",
        session=test.session,
        credential_epoch=agent.credential_epoch,
        on_behalf_of=test.on_behalf_of,
        chain=tuple(test.chain),
        task=test.task,
    )
    return Case(
        file=file,
        line=line,
        name=test.name,
        call=Call(
            "test",
            kind,
            resource,
            test.arguments,
            content=test.content,
            returned=test.returned,
            origin=_origin(test),
            risk=Risk(test.risk, test.uncertainty),
            justification=test.justification,
            tier=test.tier or "",
        ),
        principal=principal,
        agent=agent,
        approved=test.approved,
        expect=test.expect,
        policies=frozenset(test.policies),
        obligations=frozenset(test.obligations),
        at=test.at.timestamp() if test.at else 0.0,
        before=tuple(_earlier(index, one, principal) for index, one in enumerate(test.before)),
    )


def _origin(test: _Test) -> Origin:
    paths = tuple(sorted(test.untrusted_arguments))
    return Origin(test.tainted or bool(paths), tuple(sorted(test.provenance)), bool(paths), paths)


def _fact(name: str, given: _Agent) -> AgentFact:
    tools = [_Tool(name=tool) if isinstance(tool, str) else tool for tool in given.tools]
    peers = [_Peer(name=peer) if isinstance(peer, str) else peer for peer in given.agents]
    return AgentFact(
        workspace=_WORKSPACE,
        name=name,
        state=given.state,
        release="",
        credential_epoch=0,
        owner=given.owner,
        purpose=given.purpose,
        risk_tier=given.risk_tier,
        models=tuple(ModelFact(model, Upstream("")) for model in given.models),
        tools=tuple(_granted(tool) for tool in tools),
        data_classes=tuple(given.data_classes),
        agents=tuple(PeerGrant(peer.name, peer.autonomy) for peer in peers),
    )


def _granted(tool: _Tool) -> ToolFact:
    server, _, name = tool.name.partition("/")
    return ToolFact(server, name, tool.autonomy)
