"""What each sign says, for people. ``{seen}`` is what it was seen in. A sign without words counts, untold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tenure.attribution.model import SIGNS_TOLD, Evidence, Sign

WORDS: Mapping[str, str] = {
    "after_failure": "It answers a failure of the step before",
    "answer_first_made": "What the run ends with comes out of this step first: {seen}",
    "answer_first_said": "What the run ends with is said here first: {seen}",
    "any_new_figure": "It has figures that stand nowhere before: {seen}",
    "assumes": "It assumes or makes up what it does not know: “{seen}”",
    "brief_with_code": "The brief that the others work from brings code with it",
    "changes_way": "It leaves the way that was taken: “{seen}”",
    "checks_by_word": "It says that it checks, and runs nothing: “{seen}”",
    "code": "It has something carried out",
    "doubted_next": "The next step doubts it: “{seen}”",
    "empty_result": "What it asked for gave nothing: {seen}",
    "ends_first": "It is the first to call the task done",
    "failed": "What it asked for failed: {seen}",
    "failed_again": "What it asked for failed, after an earlier failure: {seen}",
    "first_assumption": "It is the first to assume what nobody told it: “{seen}”",
    "first_code": "The first thing that the run had carried out",
    "first_failure": "The first failure of the run: {seen}",
    "first_failure_unfinished": "The first failure of a run that never came to an answer: {seen}",
    "first_new_figures": "It is the first to bring in figures that nothing before it gives: {seen}",
    "last_unfinished": "The run broke off after it without an answer",
    "late_unfinished": "The run never came to an answer, and this is where it got to",
    "length": "It does much at once",
    "new_figures": "Figures that stand nowhere before: {seen}",
    "new_figures_in_code": "What it has carried out holds figures that stand nowhere before",
    "repeats": "It does nearly the same as its agent's step before",
    "unsupported_figures": "It gives figures that nothing before it gives, and nothing that would compute them: {seen}",
}


def told(signs: Sequence[Sign], weights: Mapping[str, float]) -> tuple[Evidence, ...]:
    """What speaks for a step, the strongest first."""
    found = [
        Evidence(sign.name, WORDS[sign.name].format(seen=sign.seen or "–"), round(weight * sign.value, 3))
        for sign in signs
        if sign.value and sign.name in WORDS and (weight := weights.get(sign.name, 0.0)) * sign.value > 0.05
    ]
    return tuple(sorted(found, key=lambda each: -each.weight)[:SIGNS_TOLD])
