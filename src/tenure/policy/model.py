"""The decision: allow, deny or hold, from facts alone. No I/O; the gateway imports this module.

First the system rules, which no policy file can override; then Cedar. Everything that is not a clean answer is a
denial: Cedar skips a forbid that errors, so any error in its diagnostics denies, and so does NoDecision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from tenure.kernel.demands import HIGHEST_TIER
from tenure.kernel.errors import Refused
from tenure.kernel.json import digest
from tenure.kernel.scopes import uncovered
from tenure.kernel.snapshot import AgentFact, ToolFact, WorkspaceFact
from tenure.kernel.values import Call, CallKind, Decision, Effect, LifecycleState, Principal
from tenure.policy.arguments import carry, leaves, lookup
from tenure.policy.asking import Question, answer, ask, deny, unjustified
from tenure.policy.cedar import ORIGIN, RISK, Rule, Template, compile_rules
from tenure.policy.context import SPENT, Found, Seen, attempt_of, memo_key
from tenure.policy.endings import NEVER, ends_of, passed
from tenure.policy.facts import changes_at
from tenure.policy.grounds import grounds_of, marks_of
from tenure.policy.known import ACTIONS, Known, learn
from tenure.policy.oversight import in_mode, level_for, stricter, unsure
from tenure.policy.scopes import Index
from tenure.policy.sequel import after, sequences_of
from tenure.policy.slices import Slice, bags_json, build_slice, mismatch
from tenure.policy.system import (
    ARGUMENTS,
    BREAKER,
    CREDENTIAL,
    DEFAULT_DENY,
    DELEGATION,
    DELEGATION_ENDED,
    DEPENDENCY,
    GRANT,
    HISTORY,
    HUMAN_ONLY,
    JUSTIFICATION,
    LIFECYCLE,
    LIMIT,
    NO_POLICY,
    NOT_VIOLATIONS,
    PERSON,
    POLICY_ERROR,
    SET_ASIDE,
    STALE,
    SYSTEM_RULES,
    UNKNOWN_AGENT,
)
from tenure.policy.withheld import redactions, withheld
from tenure.policy.words import SCHEMA, Words, words_of
from tenure.sequences.model import Sequences, is_sequence

__all__ = ["ARGUMENTS", "BREAKER", "CREDENTIAL", "DEFAULT_DENY", "DELEGATION", "DELEGATION_ENDED", "GRANT", "LIMIT"]
__all__ += ["NOT_VIOLATIONS", "ORIGIN", "PERSON", "SCHEMA", "SET_ASIDE", "SPENT", "SYSTEM_RULES", "Bundle"]
__all__ += ["Found", "Rule", "bundle_version", "compile_bundle", "decide", "facts_read", "in_force", "is_violation"]
__all__ += ["DEPENDENCY", "HISTORY", "HUMAN_ONLY", "JUSTIFICATION", "RISK", "after", "changes_at", "grounds_of"]
__all__ += ["leaves"]
__all__ += ["redactions", "withheld"]

_ACTIVE = frozenset({LifecycleState.STAGING, LifecycleState.PRODUCTION, LifecycleState.DRAINING})
_LOST = "The gateway has lost the control plane for longer than allowed, so it acts as told to stop."


def is_violation(decision: Decision) -> bool:
    """Whether a refusal counts toward the breaker: true for denials by policy, grant or argument type only."""
    return decision.effect is Effect.DENY and not NOT_VIOLATIONS.intersection(decision.policies)


def bundle_version(files: Sequence[tuple[str, str]], schema: str = SCHEMA) -> str:
    """``sha256:...`` over the schema and the files in order: the version that every Decision carries (R075)."""
    return digest([schema, [[name, text] for name, text in files]])


@dataclass(frozen=True, slots=True)
class Bundle:
    """The compiled policies of one workspace. Immutable but for its caches, which never change an answer. ``sequences``
    are those over more than one call, None where there are none; ``decide`` does not ask them.

    ``ends``: Unix seconds at which a policy of it ends by itself, in order; what is left then is ``in_force``.
    ``zone``: by whose clock any of them looks at the time, empty where none does.
    ``words`` are those that its files are written in; ``templates`` decide nothing but by the rules that links made of
    them, which are among ``rules``.
    ``marks``: by id, what changes when that policy does (``grounds``).
    ``fail_open``: the ids of the policies whose calls go on when the control plane cannot be reached.
    ``memoise=False`` asks Cedar afresh each time and for everything, ``sliced=False`` the whole set: both exist to be
    held against.
    """

    version: str
    files: tuple[tuple[str, str], ...]
    rules: tuple[Rule, ...]
    words: Words = field(repr=False)
    index: Index[Rule] = field(repr=False, compare=False)
    reads: frozenset[str] = field(repr=False, compare=False)  # facts of the context that any of them looks at
    fail_open: frozenset[str] = frozenset()
    ends: tuple[float, ...] = ()
    sequences: Sequences | None = None
    zone: str = ""
    templates: tuple[Template, ...] = ()
    marks: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    memoise: bool = True
    sliced: bool = True
    _known: dict[str, Known] = field(default_factory=dict, repr=False, compare=False)
    _slices: dict[tuple[str, ...], Slice] = field(default_factory=dict, repr=False, compare=False)
    _later: dict[int, Bundle] = field(default_factory=dict, repr=False, compare=False)


def compile_bundle(files: Sequence[tuple[str, str]], schema: str = SCHEMA) -> Bundle:
    """Compiles (file name, text) pairs: Cedar, links of its templates, and sequence rules; ``schema``: the words that
    they are written in. Raises Refused ``policy_invalid`` with every fault in ``details["faults"]`` as {file, line,
    problem}; nothing is half compiled."""
    words = words_of(schema)
    compiled = compile_rules([file for file in files if not is_sequence(file[0])], words)
    sequences, more_faults = sequences_of(files, compiled.taken)
    faults = (*compiled.faults, *more_faults)
    if faults:
        first = faults[0]
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise Refused(
            "policy_invalid",
            f"{first.file} line {first.line}: {first.problem}{more}",
            fix="Mend the file; `tenure policy validate PATH` checks it without loading it.",
            status=422,
            details={"faults": [asdict(fault) for fault in faults]},
        )
    rules = tuple(compiled.rules)
    return Bundle(
        version=bundle_version(files, schema),
        files=tuple((name, text) for name, text in files),
        rules=rules,
        words=words,
        index=Index(rules),
        reads=frozenset(fact for rule in rules for fact in rule.reads.facts),
        fail_open=frozenset(rule.id for rule in rules if rule.fail_open),
        ends=ends_of(rules),
        sequences=sequences,
        zone=next((rule.zone for rule in rules if rule.zone), ""),
        templates=tuple(compiled.templates.values()),
        marks=marks_of(rules, sequences),
    )


def in_force(bundle: Bundle, at: float) -> Bundle:
    """What holds of ``bundle`` at a moment (Unix seconds): the same version, without the policies that have ended."""
    over = passed(bundle.ends, at)
    if not over:
        return bundle
    later = bundle._later.get(over)
    if later is None:
        rules = tuple(rule for rule in bundle.rules if rule.ends == NEVER or rule.ends > at)
        fresh: dict[str, Any] = {"_known": {}, "_slices": {}, "_later": {}}
        later = replace(bundle, rules=rules, index=Index(rules), ends=bundle.ends[over:], **fresh)
        bundle._later[over] = later
    return later


def decide(
    call: Call,
    principal: Principal,
    agent: AgentFact | None,
    workspace: WorkspaceFact | None,
    bundle: Bundle | None,
    *,
    approved: bool = False,
    by_person: bool = False,
    breaker_tripped: bool | None = None,
    stopped: str = "",
    stale: bool = False,
    found: Found | None = None,
    at: float = NEVER,
) -> Decision:
    """Decides one Call. ``approved``: a claimed approval covers exactly this call. ``by_person``: a person
    makes it in the agent's place, so that neither its mode nor ``human_only`` stands against it. ``breaker_tripped``:
    the caller's own knowledge when newer than the fact; ``stopped``: why a breaker of more than this agent stops the
    call. ``stale``: the Snapshot is older than allowed; only what a policy with ``@fail_mode("open")`` permits goes on,
    with the obligation ``fail_open`` to record it. ``found``: what was found in
    a call of the past, in place of looking into it. ``at``: the moment, in Unix seconds; left out, it is after the end
    of every policy that ends, and a policy that looks at the time denies. Never raises."""
    version = bundle.version if bundle else workspace.policy_version if workspace else ""
    if bundle is not None and bundle.ends:
        bundle = in_force(bundle, at)
    if stale and not (bundle and bundle.fail_open):
        return deny(STALE, _LOST, version)
    tripped = breaker_tripped if breaker_tripped is not None else agent is not None and agent.breaker.tripped
    refusal = _standing(principal, agent, tripped, version) or (deny(BREAKER, stopped, version) if stopped else None)
    if refusal is not None:
        return refusal
    assert agent is not None  # noqa: S101 (_standing refuses an unknown agent)
    if bundle is None:
        return deny(
            NO_POLICY, f"Workspace {principal.workspace} has no valid policies, so nothing is permitted.", version
        )
    try:
        decision = _judge(call, principal, agent, bundle, approved=approved, by_person=by_person, found=found, at=at)
    except Exception as error:  # noqa: BLE001 (fail closed: whatever goes wrong while deciding is a denial)
        decision = deny(POLICY_ERROR, f"The policies could not be asked: {error}", version)
    if not stale:
        return decision
    if decision.effect is Effect.ALLOW and may_fail_open(decision, bundle):
        return replace(decision, obligations=(*decision.obligations, "fail_open"))
    return deny(STALE, _LOST, version)


def may_fail_open(decision: Decision, bundle: Bundle | None) -> bool:
    """Whether a policy with ``@fail_mode("open")`` is among those that determined it: then the same call goes on when
    the control plane cannot be reached (D1)."""
    return bundle is not None and not bundle.fail_open.isdisjoint(decision.policies)


def _standing(principal: Principal, agent: AgentFact | None, tripped: bool, version: str) -> Decision | None:
    """The rules about who asks, whatever is asked."""
    if agent is None or (agent.workspace, agent.name) != (principal.workspace, principal.agent):
        return deny(
            UNKNOWN_AGENT, f"No agent {principal.agent} is registered in workspace {principal.workspace}.", version
        )
    if agent.state not in _ACTIVE:
        return deny(
            LIFECYCLE,
            f"Agent {agent.name} is {agent.state}; it may act only in staging, production or draining.",
            version,
        )
    if principal.credential_epoch != agent.credential_epoch:
        return deny(CREDENTIAL, f"This credential of agent {agent.name} was revoked.", version)
    if tripped:
        why = f" ({agent.breaker.reason})" if agent.breaker.reason else ""
        return deny(BREAKER, f"The breaker of agent {agent.name} is tripped{why}; an operator must reset it.", version)
    return None


def _judge(
    call: Call,
    principal: Principal,
    agent: AgentFact,
    bundle: Bundle,
    *,
    approved: bool,
    by_person: bool,
    found: Found | None,
    at: float,
) -> Decision:
    known = _known(bundle, agent)
    place = (call.kind, call.resource)
    grant = known.grants.get(place)
    if grant is None:
        what = "tool" if call.kind is CallKind.TOOL else "model" if call.kind is CallKind.LLM else call.kind.value
        return deny(GRANT, f"Agent {agent.name} was not granted the {what} {call.resource}.", bundle.version)
    refusal = withheld(grant, call.definition)
    if refusal is not None:
        return deny(*refusal, bundle.version)
    if principal.bounds and (refused := _beyond(call, principal, agent)):
        return deny(DELEGATION, refused, bundle.version)
    level = level_for(grant.autonomy, by_person=by_person)
    part = _part(bundle, known, call)
    given = {path: value for path, keys, _ in part.paths if (value := lookup(call.arguments, keys)) is not None}
    attempt = attempt_of(Seen(call, principal, grant.autonomy.value, agent.state, found, at, part.zone), part)
    gives = () if part.precedents is None else tuple(sorted(path for path, _ in leaves(call.arguments)))
    unsure_at = call.confidence if call.confidence is not None and call.confidence < grant.ask_below else None
    where = known.where(place, grant, part)
    key = memo_key((where, gives, unsure_at), approved, attempt, given) if bundle.memoise and not by_person else None
    if key is not None and (kept := known.recall(place, key)) is not None:
        return kept
    for path, _, bags in part.paths:
        if bags and path in given and not bags.intersection(carry(given[path])):
            return deny(ARGUMENTS, mismatch(part, path, given[path], bags), bundle.version)
    entities = known.base.with_added_json_str(bags_json(given, part.bags)) if given else known.plain
    action, kind = ACTIONS[call.kind]
    four_eyes = agent.risk_tier >= HIGHEST_TIER
    question = Question(agent.name, action, (kind, call.resource), part, entities, attempt, gives, four_eyes)
    decision = ask(question, bundle.version, approved, level)
    if decision.effect is Effect.DENY and "justified" in part.reads.facts and not call.justification:
        said = replace(question, attempt={**attempt, "justified": True})
        if ask(said, bundle.version, approved, level).effect is not Effect.DENY:
            decision = unjustified(decision)
    if call.confidence is not None:
        decision = _stated(call.confidence, grant, question, decision, approved=approved)
    decision = in_mode(decision, "" if by_person else grant.mode)
    if key is not None:
        known.keep(place, key, decision)
    return decision


def _stated(confidence: int, grant: ToolFact, question: Question, decision: Decision, *, approved: bool) -> Decision:
    """``decision``, which was made with the agent's statement of its confidence, held against the one without."""
    if "confidence" in question.attempt:
        silent = {name: value for name, value in question.attempt.items() if name != "confidence"}
        without = ask(replace(question, attempt=silent), decision.policy_version, approved, grant.autonomy)
        decision = stricter(without, decision)
    return unsure(decision, confidence, grant.ask_below, approved=approved)


def _beyond(call: Call, principal: Principal, agent: AgentFact) -> str:
    """Why the bounds of what the agent works on do not cover a call; empty when they do."""
    missing = uncovered(principal.bounds, call.kind, call.resource, agent.data_classes)
    if not missing:
        return ""
    what = call.resource if missing.partition(":")[2] == call.resource else missing
    if not principal.chain:
        return f"Agent {agent.name} works on a task here that does not cover {what}."
    asked = " by way of ".join(reversed(principal.chain))
    return f"Agent {agent.name} works for {asked} here, and that does not cover {what}."


def facts_read(call: Call, agent: AgentFact | None, bundle: Bundle | None) -> frozenset[str]:
    """The facts of the context that the policies in scope of a Call look at: what none of them reads need not be found
    out, and what came back need not wait for a decision on it."""
    if agent is None or bundle is None or call.kind not in ACTIONS:
        return frozenset()
    return _part(bundle, _known(bundle, agent), call).reads.facts


def in_scope(
    call: Call,
    principal: Principal,
    agent: AgentFact,
    bundle: Bundle,
    *,
    approved: bool,
    found: Found | None = None,
    at: float = NEVER,
) -> list[tuple[Rule, bool]]:
    """The rules in scope of a Call, each with whether its conditions hold: what an explanation is made of. Empty for a
    Call that is not granted, or that gives an argument in a type no policy reads it as. ``at`` as of ``decide``."""
    bundle = in_force(bundle, at)
    known = _known(bundle, agent)
    grant = known.grants.get((call.kind, call.resource))
    if grant is None or call.kind not in ACTIONS:
        return []
    part = _part(bundle, known, call)
    given = {path: value for path, keys, _ in part.paths if (value := lookup(call.arguments, keys)) is not None}
    if any(bags and path in given and not bags.intersection(carry(given[path])) for path, _, bags in part.paths):
        return []
    entities = known.base.with_added_json_str(bags_json(given)) if given else known.plain
    action, kind = ACTIONS[call.kind]
    out = []
    for rule in part.rules.values():
        alone = build_slice([rule])
        attempt = attempt_of(Seen(call, principal, grant.autonomy.value, agent.state, found, at, alone.zone), alone)
        question = Question(agent.name, action, (kind, call.resource), alone, entities, attempt)
        out.append((rule, bool(answer(question, approved, alone.precedents or alone.policies).rules)))
    return out


def in_reach(call: Call, agent: AgentFact, bundle: Bundle) -> tuple[Rule, ...]:
    """Every rule in scope of a Call, whatever its conditions."""
    return tuple(_part(bundle, _known(bundle, agent), call).rules.values())


def part_of(bundle: Bundle, rules: Sequence[Rule]) -> Bundle:
    """A Bundle of some of the rules only: for asking what these alone come to."""
    fresh: dict[str, Any] = {"_known": {}, "_slices": {}, "_later": {}}
    return replace(bundle, rules=tuple(rules), index=Index(rules), ends=ends_of(rules), **fresh)


def _part(bundle: Bundle, known: Known, call: Call) -> Slice:
    place = (call.kind, call.resource)
    part = known.slices.get(place)
    if part is None:
        part = known.slices[place] = _slice(bundle, known.fact, call)
    return part


def _known(bundle: Bundle, agent: AgentFact) -> Known:
    name = f"{agent.workspace}/{agent.name}"
    known = bundle._known.get(name)
    if known is not None and known.fact is agent:
        return known
    if known is None or known.fact != agent:
        known = bundle._known[name] = learn(agent, bundle.words)
    known.fact = agent  # an equal fact out of a newer Snapshot: the next call finds the same object
    return known


def _slice(bundle: Bundle, agent: AgentFact, call: Call) -> Slice:
    action, kind = ACTIONS[call.kind]
    parents = frozenset({("Server", call.resource.split("/", 1)[0])} if call.kind is CallKind.TOOL else set())
    rules: Sequence[Rule] = bundle.rules
    if bundle.sliced:
        rules = bundle.index.of(("Agent", agent.name), action, (kind, call.resource), parents)
    ids = tuple(rule.id for rule in rules)
    part = bundle._slices.get(ids)
    if part is None:
        part = replace(build_slice(rules), number=len(bundle._slices))
        part = bundle._slices[ids] = part if bundle.memoise else replace(part, foreseen=False)
    return part
