"""Sequence rules as people write them: files of YAML in the policies folder, whose names end in ``.sequence.yaml``.

``refunds.sequence.yaml``::

    rules:
      - id: three-refunds-per-case
        reason: A case has three refunds at most.
        deny: {tool: shop/refund}
        per: case
        count: {tool: shop/refund}
        reached: 3
        within: 24h

A rule reads: deny (or hold) such a call, when this is true of the calls before it. Pure: text in, rules out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from tenure.base.documents import Document, read_documents
from tenure.base.faults import FileFault, in_file, path_of
from tenure.base.scan.rules import NAMES
from tenure.kernel.errors import Refused
from tenure.kernel.json import digest
from tenure.kernel.values import CallKind, Effect
from tenure.sequences.patterns import Pattern, Test, like

SUFFIX = ".sequence.yaml"
MAX_REACHED = 100
MAX_KEYS = 1_000
KEYS = 200
"""Values of the key that a rule tells apart in one history, unless it says otherwise."""
MAX_RULES = 200
_BYTES_PER_MARK, _BYTES_PER_KEY = 66, 25
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = r"^[1-9]\d{0,5}[smhd]$"
_PATH = r"^[^.\s]+(\.[^.\s]+)*$"
_ID = r"^[A-Za-z0-9][\w.-]{0,99}$"

Name = Annotated[str, Field(min_length=1, max_length=1_000)]
Names = Name | Annotated[list[Name], Field(min_length=1, max_length=100)]
Scalar = str | int | float | bool
Path = Annotated[str, Field(pattern=_PATH, max_length=200)]
Duration = Annotated[str, Field(pattern=_DURATION)]


class _Part(BaseModel):
    # Built when the first rule is read: it takes ten megabytes, and most installations and gateways read none.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)


class _Test(_Part):
    like: Name | None = None
    unlike: Name | None = None
    over: int | float | None = None
    under: int | float | None = None
    among: Annotated[list[Scalar], Field(min_length=1, max_length=100)] | None = None

    @model_validator(mode="after")
    def _one(self) -> _Test:
        if not self.model_fields_set:
            raise PydanticCustomError("test", "says like, unlike, over, under or among")
        return self


class _Pattern(_Part):
    tool: Names | None = None
    model: Names | None = None
    peer: Names | None = None
    where: dict[Path, Scalar | _Test] = Field(default_factory=dict)
    found: list[Name] = Field(default_factory=list)

    @model_validator(mode="after")
    def _whole(self) -> _Pattern:
        if sum(what is not None for what in (self.tool, self.model, self.peer)) != 1:
            raise PydanticCustomError("pattern", "names either tools, models or peers that are called")
        tools = (self.tool,) if isinstance(self.tool, str) else self.tool or ()
        for name in tools:
            if "/" not in name and name != "*":
                raise PydanticCustomError("tool", "{name} is no tool: it is SERVER/TOOL, or a pattern", {"name": name})
        for name in (*self.found, *getattr(self, "returned", ())):
            if name not in NAMES:
                raise PydanticCustomError("finding", "{name} is nothing that is found", {"name": name})
        return self


class _Past(_Pattern):
    returned: list[Name] = Field(default_factory=list)
    per: Path | None = None
    failed: Literal["counts", "ignored"] | None = None


class _Condition(_Part):
    once: _Past | None = None
    never: _Past | None = None
    count: _Past | None = None
    reached: Annotated[int, Field(ge=1, le=MAX_REACHED)] | None = None
    since: _Past | None = None
    within: Duration | None = None

    @model_validator(mode="after")
    def _shape(self) -> _Condition:
        if sum(what is not None for what in (self.once, self.never, self.count)) != 1:
            raise PydanticCustomError("condition", "says once, never or count of the calls before")
        if (self.count is None) != (self.reached is None):
            raise PydanticCustomError("condition", "count and reached belong together")
        if self.since is not None and (self.since.returned or self.since.failed is not None):
            raise PydanticCustomError("condition", "since takes no returned and no failed")
        return self


class _Rule(_Condition):
    id: Annotated[str, Field(pattern=_ID)]
    reason: Annotated[str, Field(min_length=1, max_length=1_000)] = ""
    deny: _Pattern | None = None
    hold: _Pattern | None = None
    per: Path | None = None
    over: Literal["session", "agent"] = "session"
    agents: Names = "*"
    keys: Annotated[int, Field(ge=1, le=MAX_KEYS)] = KEYS
    also: Annotated[list[_Condition], Field(max_length=5)] = Field(default_factory=list)

    @model_validator(mode="after")
    def _effect(self) -> _Rule:
        if (self.deny is None) == (self.hold is None):
            raise PydanticCustomError("rule", "says either deny or hold")
        return self


class _File(_Part):
    rules: list[_Rule] = Field(min_length=1, max_length=MAX_RULES)


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition on the past. ``mode`` is once, never or count; of ``pattern`` so many must have been (``reached``),
    in the last ``within_s`` seconds (0: ever), after the last call that ``since`` matches. ``id`` names what is kept of
    it, and changes when something else is to be kept."""

    id: str
    mode: str
    pattern: Pattern
    since: Pattern | None
    within_s: int
    reached: int

    @property
    def raising(self) -> bool:
        """Whether calls that match ``pattern`` make it true; else they make it false."""
        return self.mode != "never"


@dataclass(frozen=True, slots=True)
class SequenceRule:
    """One rule. ``effect`` is what becomes of a call that ``trigger`` matches while all ``conditions`` hold of the
    calls before it: those of its session, or all of its agent (``over``), and if it has a key (``per``) those with the
    same. ``keys`` values of it are told apart."""

    id: str
    file: str
    line: int
    effect: Effect
    trigger: Pattern
    conditions: tuple[Condition, ...]
    reason: str
    over: str
    per: str
    agents: tuple[str, ...]
    keys: int

    def concerns(self, agent: str) -> bool:
        """Whether it is about that agent."""
        return any(like(agent, name) for name in self.agents)

    @property
    def state_bytes(self) -> int:
        """The most that is kept for it of one history, calls under way aside."""
        keys = self.keys + 1 if self.per else 1
        marks = sum(one.reached for one in self.conditions)
        return keys * (marks * _BYTES_PER_MARK + len(self.conditions) * _BYTES_PER_KEY)


@dataclass(frozen=True, slots=True)
class Read:
    """What came of reading files."""

    rules: tuple[SequenceRule, ...] = ()
    faults: tuple[FileFault, ...] = field(default=())


def is_sequence(name: str) -> bool:
    """Whether a file of that name holds sequence rules."""
    return name.endswith(SUFFIX)


def read_rules(files: Sequence[tuple[str, str]]) -> Read:
    """The rules of those of ``files`` ((name, text) each) that hold some, and every fault in them."""
    rules: list[SequenceRule] = []
    faults: list[FileFault] = []
    for name, text in files:
        if not is_sequence(name):
            continue
        try:
            documents = read_documents(text, name)
        except Refused as refused:
            faults += in_file(refused, name)
            continue
        for document in documents:
            _read(document, rules, faults)
    if len(rules) > MAX_RULES:
        faults.append(FileFault(rules[MAX_RULES].file, rules[MAX_RULES].line, f"more than {MAX_RULES} sequence rules"))
    return Read(tuple(rules), tuple(faults))


def _read(document: Document, rules: list[SequenceRule], faults: list[FileFault]) -> None:
    try:
        file = _File.model_validate(document.value)
    except ValidationError as error:
        for item in error.errors(include_url=False):
            path = path_of([part for part in item["loc"] if isinstance(part, int) or not _is_shape(part)])
            faults.append(FileFault(document.file, document.line_of(path), f"{path or 'the file'}: {item['msg']}"))
        return
    known = {rule.id for rule in rules}
    for index, rule in enumerate(file.rules):
        line = document.line_of(f"rules[{index}]")
        if rule.id in known:
            faults.append(FileFault(document.file, line, f"there are two rules {rule.id}"))
            continue
        known.add(rule.id)
        rules.append(_rule(document.file, line, rule))


def _is_shape(part: str) -> bool:
    """Whether a part of a path names one of several shapes that a value may have, and nothing in the file."""
    return part.startswith(("_Test", "constrained-", "list[")) or part in {"str", "int", "float", "bool"}


def _rule(file: str, line: int, rule: _Rule) -> SequenceRule:
    trigger = rule.deny or rule.hold
    assert trigger is not None  # noqa: S101 (_Rule has exactly one of the two)
    per = rule.per or ""
    return SequenceRule(
        id=rule.id,
        file=file,
        line=line,
        effect=Effect.DENY if rule.deny is not None else Effect.HOLD,
        trigger=_pattern(trigger, per),
        conditions=tuple(_condition(rule.id, rule.over, one, per) for one in (rule, *rule.also)),
        reason=rule.reason,
        over=rule.over,
        per=per,
        agents=(rule.agents,) if isinstance(rule.agents, str) else tuple(rule.agents),
        keys=rule.keys,
    )


def _condition(rule: str, over: str, given: _Condition, per: str) -> Condition:
    mode = "once" if given.once else "never" if given.never else "count"
    past = given.once or given.never or given.count
    assert past is not None  # noqa: S101 (_Condition has exactly one of the three)
    pattern = _pattern(past, per)
    since = _pattern(given.since, per) if given.since is not None else None
    within_s = int(given.within[:-1]) * _UNITS[given.within[-1]] if given.within else 0
    kept = [rule, over, mode, _as_json(pattern), _as_json(since) if since else None]
    ident = re.sub(r"^sha256:", "", digest(kept))[:16]
    return Condition(ident, mode, pattern, since, within_s, given.reached or 1)


def _as_json(pattern: Pattern) -> dict[str, Any]:
    return {**asdict(pattern), "found": sorted(pattern.found), "returned": sorted(pattern.returned)}


def _pattern(given: _Pattern, per: str) -> Pattern:
    names = given.tool or given.model or given.peer
    assert names is not None  # noqa: S101 (_Pattern has exactly one of the three)
    kind = CallKind.TOOL if given.tool else CallKind.LLM if given.model else CallKind.AGENT
    own = given.per if isinstance(given, _Past) else None
    failed = given.failed if isinstance(given, _Past) else None
    return Pattern(
        kind=kind,
        names=(names,) if isinstance(names, str) else tuple(names),
        tests=tuple(test for path, value in sorted(given.where.items()) for test in _tests(path, value)),
        found=frozenset(given.found),
        returned=frozenset(given.returned) if isinstance(given, _Past) else frozenset(),
        per=(own or per) if per else "",
        failed=None if failed is None else failed == "counts",
    )


def _tests(path: str, given: Scalar | _Test) -> list[Test]:
    if not isinstance(given, _Test):
        return [Test(path, "is", (given,))]
    out = [Test(path, "is", tuple(given.among))] if given.among is not None else []
    single = (("like", given.like), ("unlike", given.unlike), ("over", given.over), ("under", given.under))
    return out + [Test(path, op, (value,)) for op, value in single if value is not None]
