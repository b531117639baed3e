"""Steps of two runs laid against each other, and what is different between two of them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tenure.kernel.difference import Difference, differences
from tenure.kernel.json import Json

MOST_CELLS = 1_000_000
"""Two runs are laid against each other in a table of at most so many cells, what they begin and end alike left out;
beyond it, steps are paired one by one."""
_SAME, _ALIKE, _GAP = 3, 2, -1


@dataclass(frozen=True, slots=True)
class Step:
    """One call, message or refusal of a run. ``kind`` is chat, tool, agent or message; ``name`` the tool, the agent
    that was called or who spoke, empty for a model. ``asked`` is what it was given, ``key`` what tells it from others
    of its name, ``answered`` what came back. ``facts``: under what it ran (release, model, policy version)."""

    span_id: str
    kind: str
    name: str
    agent: str
    asked: Json
    key: Json
    answered: Json
    effect: str = ""
    reason: str = ""
    error: str = ""
    duration_us: int = 0
    facts: tuple[tuple[str, str], ...] = ()

    @property
    def label(self) -> str:
        """What it is, for people."""
        return f"{self.kind} {self.name}".strip()


@dataclass(frozen=True, slots=True)
class Change:
    """One respect in which two steps differ: ``what`` is asked, decision, error, answer or the name of a fact."""

    what: str
    left: str
    right: str
    places: tuple[Difference, ...] = ()


@dataclass(frozen=True, slots=True)
class Pair:
    """Two steps that stand for the same, or one that the other run does not have."""

    left: Step | None
    right: Step | None
    changes: tuple[Change, ...] = ()

    @property
    def same(self) -> bool:
        """Whether both did the same and got the same. Under what they ran may differ."""
        told = {"asked", "decision", "error", "answer"}
        return self.left is not None and self.right is not None and not any(one.what in told for one in self.changes)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs, pair by pair. ``parting``: the place of the first pair that is not the same, None where none is.
    ``context``: what is different of the whole runs. ``whole`` is False where steps were only paired one by one."""

    pairs: tuple[Pair, ...]
    parting: int | None
    because: tuple[str, ...] = ()
    context: tuple[Change, ...] = field(default=())
    whole: bool = True


def align(left: Sequence[Step], right: Sequence[Step]) -> tuple[list[tuple[int | None, int | None]], bool]:
    """Which step of one run stands for which of the other, in order (Needleman and Wunsch 1970): steps of one kind and
    name, the same arguments before others. The second value is False when the runs were too long for it."""
    start = 0
    while start < min(len(left), len(right)) and _score(left[start], right[start]) == _SAME:
        start += 1
    tail = 0
    while tail < min(len(left), len(right)) - start and _score(left[-1 - tail], right[-1 - tail]) == _SAME:
        tail += 1
    rows, columns = len(left) - start - tail, len(right) - start - tail
    whole = rows * columns <= MOST_CELLS
    middle = _table(left[start : start + rows], right[start : start + columns]) if whole else _one_by_one(rows, columns)
    pairs: list[tuple[int | None, int | None]] = [(place, place) for place in range(start)]
    pairs += [(None if i is None else i + start, None if j is None else j + start) for i, j in middle]
    pairs += [(len(left) - back, len(right) - back) for back in range(tail, 0, -1)]
    return pairs, whole


def _score(left: Step, right: Step) -> int | None:
    """How well two steps stand for each other; None: not at all."""
    if (left.kind, left.name) != (right.kind, right.name):
        return None
    return _SAME if left.key == right.key else _ALIKE


def _table(left: Sequence[Step], right: Sequence[Step]) -> list[tuple[int | None, int | None]]:
    width = len(right) + 1
    best = [[_GAP * column for column in range(width)]]
    for row, step in enumerate(left, 1):
        above, line = best[-1], [_GAP * row]
        for column, other in enumerate(right, 1):
            score = _score(step, other)
            gap = max(above[column], line[column - 1]) + _GAP
            line.append(gap if score is None else max(gap, above[column - 1] + score))
        best.append(line)
    pairs: list[tuple[int | None, int | None]] = []
    row, column = len(left), len(right)
    while row or column:
        score = _score(left[row - 1], right[column - 1]) if row and column else None
        if score is not None and best[row][column] == best[row - 1][column - 1] + score:
            row, column = row - 1, column - 1
            pairs.append((row, column))
        elif row and best[row][column] == best[row - 1][column] + _GAP:
            row -= 1
            pairs.append((row, None))
        else:
            column -= 1
            pairs.append((None, column))
    return pairs[::-1]


def _one_by_one(rows: int, columns: int) -> list[tuple[int | None, int | None]]:
    return [(i if i < rows else None, i if i < columns else None) for i in range(max(rows, columns))]


def changes(left: Step, right: Step) -> tuple[Change, ...]:
    """In what two steps differ: what they were given first, then what was decided, then what came of it."""
    found = []
    if left.label != right.label:
        found.append(Change("asked", left.label, right.label))
    elif places := differences(left.asked, right.asked):
        found.append(Change("asked", "", "", places))
    if left.effect != right.effect:
        found.append(Change("decision", _decided(left), _decided(right)))
    if left.error != right.error:
        found.append(Change("error", left.error or "none", right.error or "none"))
    if places := differences(left.answered, right.answered):
        found.append(Change("answer", "", "", places))
    return (*found, *of_facts(dict(left.facts), dict(right.facts)))


def of_facts(left: dict[str, str], right: dict[str, str]) -> tuple[Change, ...]:
    """In which facts two steps or two runs differ."""
    names = dict.fromkeys([*left, *right])
    return tuple(
        Change(name, left.get(name, "none"), right.get(name, "none"))
        for name in names
        if left.get(name) != right.get(name)
    )


def _decided(step: Step) -> str:
    return f"{step.effect or 'none'}: {step.reason}" if step.reason else step.effect or "none"


def compare(left: Sequence[Step], right: Sequence[Step]) -> Comparison:
    """Two runs side by side, the first place where they part, and why."""
    places, whole = align(left, right)
    pairs = []
    for i, j in places:
        one, other = None if i is None else left[i], None if j is None else right[j]
        pairs.append(Pair(one, other, changes(one, other) if one and other else ()))
    parting = next((place for place, pair in enumerate(pairs) if not pair.same), None)
    context = of_facts(_of_run(left), _of_run(right))
    because = () if parting is None else why(pairs, parting)
    return Comparison(tuple(pairs), parting, because, context, whole)


def _of_run(steps: Sequence[Step]) -> dict[str, str]:
    found: dict[str, dict[str, None]] = {}
    for step in steps:
        for name, value in step.facts:
            found.setdefault(name, {})[value] = None
    return {name: ", ".join(values) for name, values in found.items()}


def why(pairs: Sequence[Pair], parting: int) -> tuple[str, ...]:
    """What explains that two runs part at a pair, in sentences, the nearest cause first."""
    pair = pairs[parting]
    if pair.left is None or pair.right is None:
        there = pair.left or pair.right
        assert there is not None  # noqa: S101 (a pair has at least one step)
        side = "first" if pair.left else "second"
        previous = pairs[parting - 1].left if parting else None
        before = f" after {previous.label}" if previous else ""
        told = [f"Only the {side} run has {there.label}{before}."]
        known = _models(pairs[:parting])
        return (*told, *known)
    said = {change.what: change for change in pair.changes}
    facts = [change for change in pair.changes if change.what not in ("asked", "decision", "error", "answer")]
    told = []
    if "asked" in said:
        where = ", ".join(place.path or "the whole" for place in said["asked"].places[:3])
        told.append(f"It was given something else ({where})." if where else "It is another call.")
    if change := said.get("decision"):
        told.append(f"It was decided otherwise ({change.left}, then {change.right}).")
    if change := said.get("error"):
        told.append(f"It ended otherwise (error {change.left}, then {change.right}).")
    if "answer" in said:
        who = "The model" if pair.left.kind == "chat" else pair.left.name or "It"
        given = "another question" if "asked" in said else "the same question"
        told.append(f"{who} answered {given} otherwise.")
    told += [f"It ran under another {change.what} ({change.left}, then {change.right})." for change in facts]
    if not facts and "asked" not in said:
        told.append("Nothing that is recorded of how it ran is different.")
    return tuple(told)


def _models(before: Sequence[Pair]) -> list[str]:
    """Of the last step that both have: under what it ran otherwise, which may explain what came next."""
    both = next((pair for pair in reversed(before) if pair.left and pair.right), None)
    if both is None:
        return []
    facts = [change for change in both.changes if change.what not in ("asked", "decision", "error", "answer")]
    return [f"The step before it ran under another {one.what} ({one.left}, then {one.right})." for one in facts]
