"""The verb that looks ahead: what agents gain and lose when one set of policies takes another's place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from tenure.base.room import World
from tenure.kernel.snapshot import AgentFact
from tenure.policy import service
from tenure.policy.diff.changes import Comparison, compare
from tenure.policy.diff.sequels import RuleChange, changed_rules
from tenure.policy.model import Bundle, Rule, compile_bundle
from tenure.policy.words import lost
from tenure.registry import service as registry

What = Literal["added", "removed", "rewritten", ""]


@dataclass(frozen=True, slots=True)
class Side:
    """One set of policies: those of a version that ran, or these files; with neither, what runs now."""

    version: str | None = None
    files: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class LinkChange:
    """A policy that a link makes of a template: it is there, gone, or about somebody or something else. ``before`` and
    ``after``: what stands in each gap, empty where there is no such link."""

    id: str
    what: What
    before: tuple[tuple[str, str], ...]
    after: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class TemplateChange:
    """A template that is there, gone or written otherwise (``what``; "" for none of it), or of which other policies are
    made. ``made``: how many are made of it, after; where it is gone, before."""

    id: str
    what: What
    file: str
    line: int
    made: int
    links: tuple[LinkChange, ...]


@dataclass(frozen=True, slots=True)
class Compared:
    """Two versions ("" for no policies at all), what is written otherwise in which, and what is decided otherwise.
    ``rewritten`` have the same id in both and say something else; that may change a decision or none."""

    before: str
    after: str
    added: tuple[Rule, ...]
    removed: tuple[Rule, ...]
    rewritten: tuple[Rule, ...]
    found: Comparison
    templates: tuple[TemplateChange, ...] = ()
    sequences: tuple[RuleChange, ...] = ()


def diff(world: World, workspace: str, before: Side, after: Side) -> Compared:
    """Compares two sets of policies over the agents of the workspace as they are registered now. Raises Refused 404 for
    a version that never ran here, ``policy_invalid`` for files that do not compile."""
    old, new = _bundle(world, workspace, before), _bundle(world, workspace, after)
    with world.read() as connection:
        agents = [fact for fact in registry.agent_facts(connection).values() if fact.workspace == workspace]
    return compared(old, new, agents, world.clock().timestamp())


def compared(old: Bundle, new: Bundle, agents: Sequence[AgentFact], at: float) -> Compared:
    """Compares two sets of policies over ``agents``, at a moment (Unix seconds)."""
    was, now = ({rule.id: rule for rule in bundle.rules} for bundle in (old, new))
    return Compared(
        before=old.version if old.rules else "",
        after=new.version if new.rules else "",
        added=tuple(rule for ident, rule in now.items() if ident not in was),
        removed=tuple(rule for ident, rule in was.items() if ident not in now),
        rewritten=tuple(rule for ident, rule in now.items() if ident in was and was[ident].node != rule.node),
        found=compare(old, new, agents, at),
        templates=tuple(_templates(old, new)),
        sequences=changed_rules(old, new),
    )


def _templates(old: Bundle, new: Bundle) -> Iterator[TemplateChange]:
    was, now = ({one.rule.id: one for one in bundle.templates} for bundle in (old, new))
    for ident in dict.fromkeys((*was, *now)):
        made = [{rule.id: rule.filled for rule in bundle.rules if rule.template == ident} for bundle in (old, new)]
        links = tuple(
            LinkChange(name, _what(before, after), before, after)
            for name in dict.fromkeys((*made[0], *made[1]))
            if (before := made[0].get(name, ())) != (after := made[1].get(name, ()))
        )
        what = _what(was.get(ident), now.get(ident))
        if what == "rewritten" and was[ident].rule.node == now[ident].rule.node:
            what = ""
        if what or links:
            one = now.get(ident, was.get(ident))
            assert one is not None  # noqa: S101 (it is in one of the two)
            yield TemplateChange(ident, what, one.rule.file, one.rule.line, len(made[ident in now]), links)


def _what(before: object, after: object) -> What:
    return "added" if not before else "removed" if not after else "rewritten"


def _bundle(world: World, workspace: str, side: Side) -> Bundle:
    if side.version is not None:
        bundle = service.version_bundle(world, workspace, side.version)
        if not lost(bundle.words, bundle.rules):
            return bundle
        files = bundle.files  # then in today's words, as it would run if it were taken back
    else:
        files = side.files or service.show(world, workspace).files
    return compile_bundle(service.policies_of(files))
