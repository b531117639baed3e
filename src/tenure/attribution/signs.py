"""What speaks for a step being the one that a run failed by. Pure.

A sign is a plain fact of the record (what it asked a tool for failed, a figure in it stands nowhere before), never a
judgement of what is true: the same record gives the same signs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from difflib import SequenceMatcher

from tenure.attribution.model import Run, Sign

ALIKE = 0.6
ENOUGH_NEW = 2  # figures that stand nowhere before: one alone is often only a count
MOST_NEW = 10
_LOOKED_AT = 800  # characters of two steps that are compared
_SHORT = 60
_LONG = 4000
_TOLD = 90

_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")
_CODE = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
_BOLD = re.compile(r"\*\*([^*\n]{1,80})\*\*")
_ASSUMES = re.compile(
    r"\bassum(?:e|es|ed|ing|ption)|\bsimulat|\bhypothetical|\bplaceholder|\bmock|\bsample (?:data|numbers|values)"
    r"|\bfor (?:demonstration|illustration)|\bexample (?:data|values)|\blet's say\b|your_api_key|your[ _]api|path/to",
    re.IGNORECASE,
)
_CHECKS = re.compile(r"\bverif(?:y|ied|ication)|\bconfirm|\bdouble-check|\bvalidat", re.IGNORECASE)
_ASKS = re.compile(
    r"\b(?:could|can|would) (?:you|someone|anyone)|\bplease (?:provide|share)|\?\s*$",
    re.IGNORECASE,
)
_TURNS = re.compile(
    r"\binstead\b|\balternative|\bunable to\b|\bmanual(?:ly)?\b|\banother (?:way|approach|source)", re.IGNORECASE
)
_DOUBTS = re.compile(
    r"\bincorrect|\bmistake|\bwrong\b|\berror\b|\bissue\b|\bdid not\b|\bfailed\b|it (?:seems|appears|looks)",
    re.IGNORECASE,
)
_ENDS = re.compile(r"\bterminate\b|\bfinal answer\b", re.IGNORECASE)
_SEARCHES = re.compile(r"web_search|search_results|\bbing\b|requests\.get|search query|scrap", re.IGNORECASE)
_VERIFIER = re.compile(r"verif|valid", re.IGNORECASE)
_NOTHING = re.compile(r"(?:\[\]|\{\}|none|null|no )", re.IGNORECASE)
_OUTPUT = re.compile(r"exitcode.*?\nCode output:", re.DOTALL)


class _Reader:
    """Reads a run from its first step on; knows at each step only what stood before it, and how the run ended."""

    def __init__(self, run: Run) -> None:
        steps = run.steps
        self.steps = steps
        self.ended = any(_ENDS.search(step.text[-200:]) for step in steps)
        last = [step for step in steps if len(step.text) > 20][-2:]
        self.answer = {each for step in last for each in _claims(step.text)}
        self.before = run.asked
        self.failures = 0
        self.done: set[str] = set()
        self.latest: dict[str, str] = {}

    def first(self, name: str, here: bool) -> bool:
        """Whether this is the first step of which ``name`` is true."""
        fresh = here and name not in self.done
        if here:
            self.done.add(name)
        return fresh

    def signs(self, place: int) -> Iterator[Sign]:
        step = self.steps[place]
        prose, code = _CODE.sub("", step.text), "".join(_CODE.findall(step.text))
        yield from self._place(place)
        yield from self._outcome(place, bool(code))
        yield from self._said(place, prose, code)
        yield from self._figures(place, prose, code)
        yield from self._others(place)
        self.failures += step.failed
        self.latest[step.agent] = step.text
        self.before += f"\n{step.text}\n{step.outcome}"

    def _place(self, place: int) -> Iterator[Sign]:
        count, step = len(self.steps), self.steps[place]
        late = (place + 1) / count
        yield from _flags(("first", place == 0), ("second", place == 1), ("third", place == 2))
        yield from _flags(("last", place == count - 1), ("last_but_one", place == count - 2))
        yield Sign("late", late)
        yield Sign("late_unfinished", late * (not self.ended))
        yield Sign("last_unfinished", float(place == count - 1 and not self.ended))
        yield Sign("new_agent", float(place > 0 and step.agent not in self.latest))
        yield Sign("same_agent", float(place > 0 and self.steps[place - 1].agent == step.agent))

    def _outcome(self, place: int, code: bool) -> Iterator[Sign]:
        step, first = self.steps[place], self.failures == 0
        output = _OUTPUT.sub("", step.outcome).strip()
        went = bool(step.outcome) and not step.failed and not step.idle
        empty = went and (len(output) < 6 or bool(_NOTHING.match(output)))
        error = _last_line(step.outcome) if step.failed else ""
        yield Sign("failed", float(step.failed), error)
        yield Sign("first_failure", float(step.failed and first), error)
        yield Sign("first_failure_unfinished", float(step.failed and first and not self.ended), error)
        yield Sign("failed_again", float(step.failed and not first), error)
        yield from _flags(("went_well", went), ("asked_nothing", step.idle))
        yield Sign("empty_result", float(empty), _short(output) if empty else "")
        before = self.steps[place - 1] if place else None
        direct = before is not None and before.outcome
        yield Sign("after_failure", float(bool(direct and before and before.failed)))
        yield Sign("after_result", float(bool(direct and before and not before.failed and not before.idle)))
        yield Sign("after_nothing", float(bool(direct and before and before.idle)))
        yield Sign("code", float(code))
        yield Sign("first_code", float(place > 0 and self.first("code", code and place > 0)))

    def _said(self, place: int, prose: str, code: str) -> Iterator[Sign]:
        text = self.steps[place].text
        assumes = _ASSUMES.search(text)
        seen = _around(text, assumes)
        yield Sign("assumes", float(bool(assumes)), seen)
        yield Sign("first_assumption", float(self.first("assumes", bool(assumes) and place > 0)), seen)
        checks = _CHECKS.search(prose)
        yield Sign("checks", float(bool(checks)))
        yield Sign("checks_by_word", float(bool(checks) and not code), _around(prose, checks))
        turns = _TURNS.search(prose)
        yield Sign("asks", float(bool(_ASKS.search(prose))))
        yield Sign("changes_way", float(bool(turns)), _around(prose, turns))
        yield Sign("searches", float(bool(_SEARCHES.search(text))))
        ends = bool(_ENDS.search(text))
        yield Sign("ends", float(ends))
        yield Sign("ends_first", float(self.first("ends", ends)))
        yield Sign("short", float(len(text) < _SHORT))
        yield Sign("length", min(len(text), _LONG) / (_LONG / 2))
        yield Sign("copied_page", float(text.startswith("Address:")))
        yield Sign("brief_with_code", float(place == 0 and bool(code)))
        yield Sign("brief_with_results", float(place == 0 and "esult" in text and "last response" in text))

    def _figures(self, place: int, prose: str, code: str) -> Iterator[Sign]:
        step = self.steps[place]
        new = _new(prose, self.before)
        seen = ", ".join(each.rstrip(",") for each in new[:5])
        yield Sign("new_figures", min(len(new), MOST_NEW) / 5, seen)
        yield Sign("any_new_figure", float(bool(new)), seen)
        yield Sign("unsupported_figures", float(bool(new) and not code), seen)
        first = self.first("figures", place > 0 and len(new) >= ENOUGH_NEW)
        yield Sign("first_new_figures", float(first), seen)
        yield Sign("new_figures_in_code", min(len(_new(code, self.before)), MOST_NEW) / 5)
        fresh = [each for each in self.answer if each not in self.before]
        said = [each for each in fresh if place > 0 and each in step.text]
        made = [each for each in fresh if each in step.outcome and each not in step.text]
        open_still = "answer" not in self.done and self.ended
        yield Sign("answer_first_said", float(bool(said) and open_still), _short(", ".join(sorted(said))))
        yield Sign("answer_first_made", float(bool(made) and open_still), _short(", ".join(sorted(made))))
        self.first("answer", bool(said or made))

    def _others(self, place: int) -> Iterator[Sign]:
        step = self.steps[place]
        following = self.steps[place + 1].text[:200] if place + 1 < len(self.steps) else ""
        doubted = _DOUBTS.search(following)
        yield Sign("doubted_next", float(bool(doubted)), _around(following, doubted))
        yield Sign("by_verifier", float(bool(_VERIFIER.search(step.agent))))
        own = self.latest.get(step.agent)
        yield Sign("repeats", float(own is not None and _alike(own, step.text)))


def signs_of(run: Run) -> list[tuple[Sign, ...]]:
    """The signs of each step of a run, in its order."""
    reader = _Reader(run)
    return [tuple(reader.signs(place)) for place in range(len(run.steps))]


def _flags(*named: tuple[str, bool]) -> Iterable[Sign]:
    return (Sign(name, float(there)) for name, there in named)


def _claims(text: str) -> set[str]:
    """What a closing message may give as the answer: figures of two digits and more, and what it sets in bold."""
    prose = _CODE.sub("", text)
    bold = (found.strip(" .:") for found in _BOLD.findall(prose))
    return {each for each in _NUMBER.findall(prose) if len(each) > 1} | {each for each in bold if len(each) > 2}


def _new(text: str, before: str) -> list[str]:
    """Figures of two digits and more that stand nowhere before, in their order."""
    found = dict.fromkeys(each for each in _NUMBER.findall(text) if len(each) > 1)
    return [each for each in found if each not in before]


def _alike(one: str, other: str) -> bool:
    return SequenceMatcher(None, one[:_LOOKED_AT], other[:_LOOKED_AT], autojunk=False).ratio() > ALIKE


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _TOLD else f"{text[: _TOLD - 1]}…"


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return _short(lines[-1]) if lines else ""


def _around(text: str, found: re.Match[str] | None) -> str:
    if found is None:
        return ""
    start, end = max(0, found.start() - 35), min(len(text), found.end() + 45)
    return ("…" if start else "") + " ".join(text[start:end].split()) + ("…" if end < len(text) else "")
