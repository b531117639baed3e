"""Cedar text to compiled rules, with the file and line of every fault: each statement is parsed and validated by
itself, and so is each policy that a link makes of a template.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import cedarpy
from cedarpy import pst

from tenure.base.faults import FileFault, nearest
from tenure.base.scan.rules import NAMES
from tenure.kernel.demands import demand_of
from tenure.kernel.drafts import OBLIGATION
from tenure.kernel.json import digest
from tenure.kernel.values import SOURCES, Autonomy
from tenure.policy.arguments import BAGS, TAG_TYPE
from tenure.policy.endings import NEVER, PRECEDENT, end_of, known, lifts, problems_of
from tenure.policy.facts import ENVIRONMENTS, TIERS, TIME, zone_of
from tenure.policy.layers import Layer, final_problems, is_final, layer_of
from tenure.policy.lifting import lifted
from tenure.policy.links import Link, fill, is_links, read_links
from tenure.policy.scopes import GRANTED, Scope, scope_of, sees
from tenure.policy.statements import Statement, clean, named_line, statements, syntax_line
from tenure.policy.words import Words, children

OBLIGATIONS = frozenset({"approve", "notify", "redact", PRECEDENT, *OBLIGATION.values()})
"""Beside these: ``redact:<finding>``, and ``approve`` with a role, a number of people or both (``kernel.demands``)."""
REDACT = "redact:"
"""Begins an obligation that redacts one class or rule only; ``redact`` alone takes out all that is found."""
ORIGIN = frozenset({"tainted", "provenance", "arguments_from_untrusted", "untrusted_arguments"})
"""What is known of where a call came from (``kernel.values.Origin``)."""
RISK = frozenset({"risk", "uncertainty"})
"""How risky a call looks, and how unsure that is (``kernel.values.Risk``)."""
_NAMED = {"findings": frozenset(NAMES), "returned": frozenset(NAMES), "provenance": frozenset(SOURCES)}
"""The sets of which it is known what can be in them: what was found in what goes out and in what came back; sources."""
_ONE_OF = {
    "tier": frozenset(TIERS),
    "environment": frozenset(ENVIRONMENTS),
    "autonomy": frozenset(level.value for level in Autonomy),
}
"""The texts of which it is known what they can be."""
SYSTEM_PREFIX = "system/"
_RESERVED = f"ids that begin with {SYSTEM_PREFIX} belong to the rules that cannot be changed"


@dataclass(frozen=True, slots=True)
class Reads:
    """What a policy looks at beside its scope: context attributes by name and arguments by (bag, path). ``opaque``: it
    looks at the context or a bag in a way that cannot be told beforehand, which is refused at load: whether a call
    gives an argument in the type that a policy expects could not be checked, and a limit could be dodged."""

    facts: frozenset[str] = frozenset()
    arguments: frozenset[tuple[str, str]] = frozenset()
    opaque: bool = False

    def __or__(self, other: Reads) -> Reads:
        return Reads(self.facts | other.facts, self.arguments | other.arguments, self.opaque or other.opaque)


@dataclass(frozen=True, slots=True)
class Rule:
    """One compiled policy. ``id`` is its ``@id``, or ``<file>:<line>`` for one without. ``fail_open``: what it permits
    goes on when the control plane cannot be reached (D1). ``ends``: Unix seconds from which on it is as if it were not
    there. ``lifts``: of a precedent, the policies whose hold it stands in for, and ``knows``: the
    arguments that a call may give (``endings``). ``layer`` and ``final`` say what it goes before (``layers``).
    ``zone``: by whose clock it looks at the time, empty where it does not. ``mark``: the digest of its text and of the
    schema: the same for as long as it says the same. ``template``: the id of the template that a link made it of, and
    ``filled`` what it put into each gap; ``file`` and ``line`` are then those of the link. ``lifted``: it is a forbid
    that no approved call meets (``lifting``). ``sees``: the actions for which its conditions look at the resource."""

    id: str
    file: str
    line: int
    node: pst.Template
    scope: Scope
    reads: Reads
    reason: str
    obligation: str
    fail_open: bool
    ends: float = NEVER
    lifts: frozenset[str] = frozenset()
    knows: frozenset[str] = frozenset()
    layer: Layer = Layer.WORKSPACE
    final: bool = False
    zone: str = ""
    mark: str = ""
    template: str = ""
    filled: tuple[tuple[str, str], ...] = ()
    lifted: bool = False
    sees: frozenset[str] = frozenset(GRANTED)

    @property
    def permits(self) -> bool:
        """Whether it is a permit."""
        return str(self.node.effect) == "permit"

    @property
    def takes(self) -> int:
        """How many people's approval lifts what it holds; 0 for one that asks nobody."""
        demand = demand_of(self.obligation)
        return demand.people if demand is not None else 0


@dataclass(frozen=True, slots=True)
class Template:
    """A policy with a gap (``links``). ``rule`` is as any other, but of everybody and everything at the gaps;
    ``text`` is how it is written."""

    rule: Rule
    text: str

    @property
    def gaps(self) -> tuple[str, ...]:
        """Which gaps it has: ``?principal``, ``?resource`` or both."""
        ends = (self.rule.node.principal, self.rule.node.resource)
        return tuple(f"?{slot.name}" for end in ends if isinstance(slot := getattr(end, "entity", None), pst.Slot))


@dataclass(slots=True)
class Compiled:
    """What came of compiling: the rules, those of links among them, the templates, and every fault. Of use only
    without faults."""

    rules: list[Rule] = field(default_factory=list)
    templates: dict[str, Template] = field(default_factory=dict)
    faults: list[FileFault] = field(default_factory=list)
    taken: dict[str, Rule] = field(default_factory=dict)

    def take(self, rule: Rule, line: int) -> bool:
        """Whether the id of ``rule`` was free; a fault at ``line`` of its file if not."""
        first = self.taken.setdefault(rule.id, rule)
        if first is not rule:
            problem = f'@id("{rule.id}") is taken by {first.file} line {first.line}; ids must be unique'
            self.faults.append(FileFault(rule.file, line, problem))
        return first is rule


def compile_rules(files: Sequence[tuple[str, str]], words: Words) -> Compiled:
    """Every rule and template of ``files`` ((name, text) each: Cedar, and links of templates) and every fault."""
    out = Compiled()
    broken: set[str] = set()
    for name, text in files:
        if is_links(name):
            continue
        for statement in statements(text):
            rule, found = _compile(name, statement, words)
            out.faults.extend(found)
            if rule is None:
                continue
            out.take(rule, named_line(statement, f"`{rule.id}`"))
            template = Template(rule, statement.text)
            if not template.gaps:
                out.rules.append(rule)
                continue
            out.templates.setdefault(rule.id, template)
            if found:
                broken.add(rule.id)
            if "id" not in rule.node.annotations:
                out.faults.append(FileFault(name, rule.line, 'a template needs an @id("..."), by which links name it'))
    links, faults = read_links(files)
    out.faults.extend(faults)
    for link in links:
        if link.template not in broken:
            _fill(link, out, words)
    out.faults.extend(_other_zones(out.rules))
    return out


def _fill(link: Link, out: Compiled, words: Words) -> None:
    """The policy that a link makes, compiled as any other."""
    template = out.templates.get(link.template)
    if template is None:
        rule = out.taken.get(link.template)
        hint = nearest(link.template, out.templates) or "there is no template here"
        why = f"{rule.file} line {rule.line} has no ?principal and no ?resource" if rule is not None else hint
        out.faults.append(FileFault(link.file, link.line, f"{link.id}: no template {link.template}: {why}"))
        return
    try:
        text = fill(template.text, link)
    except ValueError as error:
        out.faults.append(FileFault(link.file, link.line, f"{link.id}: {error}"))
        return
    rule, found = _compile(link.file, Statement(text, link.line, ()), words)
    assert rule is not None  # noqa: S101 (Cedar reads what it has written)
    problems = dict.fromkeys(fault.problem for fault in found)
    out.faults.extend(FileFault(link.file, link.line, f"{link.id}: {problem}") for problem in problems)
    mark = digest([words.schema, template.text, [list(pair) for pair in link.filled]])
    rule = replace(rule, id=link.id, node=replace(rule.node, id=link.id), mark=mark)
    rule = replace(rule, template=link.template, filled=link.filled)
    if link.id.startswith(SYSTEM_PREFIX):
        out.faults.append(FileFault(link.file, link.line, f"{link.id}: {_RESERVED}"))
    if out.take(rule, link.line):
        out.rules.append(rule)


def _other_zones(rules: Sequence[Rule]) -> list[FileFault]:
    zones = [rule for rule in rules if rule.zone]
    return [
        FileFault(
            rule.file,
            rule.line,
            f"its zone is {rule.zone}, that of {zones[0].id} is {zones[0].zone}: a workspace has one clock",
        )
        for rule in zones
        if rule.zone != zones[0].zone
    ]


def _compile(name: str, statement: Statement, words: Words) -> tuple[Rule | None, list[FileFault]]:
    try:
        parsed = cedarpy.policies_to_pst(statement.text)
    except ValueError as error:
        return None, [FileFault(name, syntax_line(statement, str(error)), str(error))]
    result = cedarpy.validate_policies(statement.text, words.handle)
    problems = dict.fromkeys(clean(fault.error) for fault in result.errors)
    if not result.validation_passed and not problems:
        problems = {"does not fit the schema": None}
    faults = [FileFault(name, named_line(statement, problem), problem) for problem in problems]
    node = next(iter((*parsed.static_policies.values(), *parsed.templates.values())))
    rule = replace(_rule(name, statement.line, node), mark=digest([words.schema, statement.text]))
    faults.extend(FileFault(name, statement.line, problem) for problem in _annotation_problems(rule))
    return rule, faults


def _rule(name: str, line: int, node: pst.Template) -> Rule:
    ident = node.annotations.get("id") or f"{name}:{line}"
    reads = Reads()
    for clause in node.clauses:
        reads |= _reads(clause.expr)
    return Rule(
        id=ident,
        file=name,
        line=line,
        node=replace(node, id=ident),
        scope=scope_of(node),
        reads=reads,
        reason=node.annotations.get("reason", ""),
        obligation=node.annotations.get("obligation", ""),
        fail_open=node.annotations.get("fail_mode") == "open",
        ends=NEVER if (end := end_of(node.annotations)) is None else end,
        lifts=lifts(node.annotations),
        knows=known(node.annotations),
        layer=layer_of(node),
        final=is_final(node),
        zone=node.annotations.get("zone", ""),
        lifted=lifted(node),
        sees=sees(node),
    )


def _annotation_problems(rule: Rule) -> list[str]:
    problems = []
    if rule.reads.opaque:
        problems.append(
            "reads the context as a whole, or an argument whose name is not written out; "
            'say context.longs.hasTag("path") and context.longs.getTag("path") with the path as a text'
        )
    if rule.id.startswith(SYSTEM_PREFIX):
        problems.append(f'@id("{rule.id}"): {_RESERVED}')
    redacted = rule.obligation.removeprefix(REDACT) if rule.obligation.startswith(REDACT) else ""
    if rule.obligation and rule.obligation not in OBLIGATIONS and redacted not in NAMES and not rule.takes:
        known = f"{', '.join(sorted(OBLIGATIONS))}, redact:<finding>, and approve:ROLE:PEOPLE"
        problems.append(f'@obligation("{rule.obligation}") is not known; there are {known} (approver or operator, 2-5)')
    if rule.obligation.startswith("redact") and str(rule.node.effect) != "permit":
        problems.append(f'@obligation("{rule.obligation}") on a forbid: what is forbidden is not sent, redacted or not')
    if rule.obligation in OBLIGATION.values() and str(rule.node.effect) != "permit":
        problems.append(f'@obligation("{rule.obligation}") on a forbid: what is forbidden is not drafted')
    looked_for = [found for clause in rule.node.clauses for found in _looked_for(clause.expr)]
    unknown = sorted(name for fact, name in looked_for if fact != "provenance" and name not in _NAMED[fact])
    if unknown:
        problems.append(f"looks for {', '.join(unknown)}, which is no class of findings and no rule (docs/findings.md)")
    if (mode := rule.node.annotations.get("fail_mode")) is not None and (
        mode != "open"
        or str(rule.node.effect) != "permit"
        or rule.node.clauses
        or rule.scope.resource.inside
        or rule.scope.resource.entity is None
    ):
        problems.append(
            f'@fail_mode("{mode}"): only "open" is known, on a permit that names one resource and has no conditions'
        )
    unknown = sorted(name for fact, name in looked_for if fact == "provenance" and name not in SOURCES)
    if unknown:
        problems.append(f"looks for {', '.join(unknown)}, which is no source; there are {', '.join(SOURCES)}")
    problems += [
        f"compares context.{fact} with {name!r}, which it never is; there are {', '.join(sorted(_ONE_OF[fact]))}"
        for clause in rule.node.clauses
        for fact, name in _compared(clause.expr)
        if name not in _ONE_OF[fact]
    ]
    problems += (*problems_of(rule), *final_problems(rule.node), *_zone_problems(rule))
    if rule.takes and "approved" not in rule.reads.facts:
        problems.append(
            f'@obligation("{rule.obligation}") on a policy that never reads context.approved: no approval could lift it'
        )
    return problems


def _zone_problems(rule: Rule) -> list[str]:
    read = sorted(TIME & rule.reads.facts)
    if not read:
        return ["@zone on a policy that does not look at the time"] if "zone" in rule.node.annotations else []
    if not rule.zone:
        return [f'looks at context.{read[0]} and does not say by whose clock: @zone("Europe/Berlin")']
    try:
        zone_of(rule.zone)
    except ValueError:
        return [f'@zone("{rule.zone}"): no such zone; it is written as in Europe/Berlin, or UTC']
    return []


def _reads(node: Any) -> Reads:
    """What an expression looks at. Anything that cannot be told exactly makes the answer ``opaque``."""
    if isinstance(node, pst.BinaryOp) and node.op in ("has_tag", "get_tag") and (bag := _bag(node.left)):
        if isinstance(node.right, pst.StringLit):
            return Reads(arguments=frozenset({(bag, node.right.value)}))
        return Reads(opaque=True)
    if isinstance(node, pst.GetAttr) and _is_context(node.base):
        return Reads(opaque=True) if node.attr in BAGS else Reads(frozenset({node.attr}))
    if isinstance(node, pst.HasAttr) and _is_context(node.base):
        return Reads(frozenset({node.attrs[0]}))
    if _is_context(node) or (isinstance(node, pst.EntityLit) and str(node.value.type) in TAG_TYPE.values()):
        return Reads(opaque=True)
    reads = Reads()
    for child in children(node):
        reads |= _reads(child)
    return reads


def _looked_for(node: Any) -> list[tuple[str, str]]:
    """(fact, name) of the names that an expression looks for in ``_NAMED``, as far as they are written out."""
    found: list[tuple[str, str]] = []
    if isinstance(node, pst.BinaryOp) and node.op in ("contains", "contains_all", "contains_any"):
        left = node.left
        if isinstance(left, pst.GetAttr) and _is_context(left.base) and left.attr in _NAMED:
            texts = node.right.elements if isinstance(node.right, pst.Set) else (node.right,)
            found = [(left.attr, text.value) for text in texts if isinstance(text, pst.StringLit)]
    return found + [name for child in children(node) for name in _looked_for(child)]


def _compared(node: Any) -> list[tuple[str, str]]:
    """(fact, text) of the texts that an expression compares one of ``_ONE_OF`` with, as far as they are written out."""
    found: list[tuple[str, str]] = []
    if isinstance(node, pst.BinaryOp) and node.op in ("eq", "not_eq", "contains"):
        for one, other in ((node.left, node.right), (node.right, node.left)):
            if isinstance(one, pst.GetAttr) and _is_context(one.base) and one.attr in _ONE_OF:
                texts = other.elements if isinstance(other, pst.Set) else (other,)
                found += [(one.attr, text.value) for text in texts if isinstance(text, pst.StringLit)]
    return found + [name for child in children(node) for name in _compared(child)]


def _is_context(node: Any) -> bool:
    return isinstance(node, pst.Var) and node.name == "context"


def _bag(node: Any) -> str | None:
    return node.attr if isinstance(node, pst.GetAttr) and _is_context(node.base) and node.attr in BAGS else None
