"""How often attribution names the agent and the step that people named: ``python -m bench.attribution``.

The 126 labelled sessions of Who&When's algorithm-generated part (Zhang et al. 2025, arXiv 2505.00212), read the way a
trace is read: file, Events, spans, run. Neither the true answer nor the labels are seen by what is measured. The
weights are fitted on all other sessions for each (leave one out), so no figure is of a session that the weights were
fitted on. 95% intervals are Wilson's. Beside it, what needs no thought, under the same protocol: chance, the last step,
the first, the step that is most often to blame (also left out), and the place of the step alone as the only sign.

``--fit`` writes the weights that Tenure uses, fitted on all sessions. Otherwise prints a table and writes
bench/results/<date>-attribution.json.

``--judge URL --model M`` (a model API as OpenAI's, up to /v1; ``--key VARIABLE`` holds its key) has a model asked about
each session as well, with the prompt that people have it asked with, and puts it into the same table. What is no
answer that names a step counts as wrong. It costs what 126 such requests cost.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.attribution.fit import PENALTY, Labelled, columns_of, fit
from bench.machine import machine
from tenure.attribution.judge import Endpoint, NoAnswerError, ask
from tenure.attribution.model import of_agents, score, shares
from tenure.attribution.prompt import PROMPT, Named, question, read
from tenure.attribution.reading import run_of
from tenure.attribution.signs import signs_of
from tenure.base.scan.kept import ALWAYS
from tenure.evaluation.formats import who_and_when
from tenure.evaluation.model import wilson_of_means
from tenure.telemetry.model import span_of

ROOT = Path(__file__).resolve().parents[2]
SESSIONS = ROOT.parent / "shared" / "data" / "who-and-when" / "algorithm-generated.jsonl.xz"
WEIGHTS = ROOT / "src" / "tenure" / "attribution" / "weights.py"
PLACE = ("first", "second", "third", "last", "last_but_one", "late")
PUBLISHED = (
    (
        "a model as judge, the best of the paper's methods for each figure",
        "53.5% of agents, 14.2% of steps",
        "Zhang et al. 2025, arXiv 2505.00212 (abstract): over all its sessions, not only these 126",
    ),
    (
        "dependency-guided search with models (FALAT, its best configuration)",
        "46.0% of steps",
        "arXiv 2606.00765 (abstract): the algorithm-generated part",
    ),
    (
        "abduct, act, predict with a model (A2P)",
        "47.46% of steps",
        "the authors' repository ResearAI/A2P: the algorithm-generated part",
    ),
)
Guess = tuple[int, str]


def labelled(path: Path = SESSIONS) -> list[Labelled]:
    """The sessions as attribution reads them, with what people said."""
    found = []
    for session in who_and_when.parse(path.read_bytes()):
        now = datetime(2026, 1, 1, tzinfo=UTC)
        events = [
            *who_and_when.trace_events(session, "default", now),
            who_and_when.outcome_event(session, "default", now),
        ]
        run = run_of(session.name, [span_of(event) for event in events])
        blamed = session.outcome
        found.append(Labelled(run, signs_of(run), int(blamed["mistake_step"]), str(blamed["mistake_agent"])))
    return found


def guess(example: Labelled, weights: dict[str, float]) -> Guess:
    """The step with the largest share, and the agent with the largest."""
    each = shares([score(signs, weights) for signs in example.signs])
    step = example.run.steps[max(range(len(each)), key=lambda place: each[place])]
    return step.index, of_agents([one.agent for one in example.run.steps], each)[0][0]


def left_out(examples: Sequence[Labelled], names: Sequence[str]) -> list[Guess]:
    """What weights that never saw a session guess of it."""
    columns = {name: number for number, name in enumerate(names)}
    kept = [
        Labelled(
            one.run, [[sign for sign in signs if sign.name in columns] for signs in one.signs], one.step, one.agent
        )
        for one in examples
    ]
    start = fit(kept, columns)  # only where the search begins: the maximum is the same wherever it does
    found = []
    for number, one in enumerate(kept):
        weights = fit([*kept[:number], *kept[number + 1 :]], columns, start)
        found.append(guess(one, dict(zip(columns, weights, strict=True))))
    return found


def rates(examples: Sequence[Labelled], guesses: Sequence[Guess]) -> dict[str, Any]:
    """How many were right, with Wilson's interval."""
    told: dict[str, Any] = {}
    for name, place in (("step", 0), ("agent", 1)):
        right = [
            float(one[place] == (label.step, label.agent)[place]) for one, label in zip(guesses, examples, strict=True)
        ]
        low, high = wilson_of_means(right)
        told[name] = {"right": int(sum(right)), "rate": sum(right) / len(right), "low": low, "high": high}
    return told


def simple(examples: Sequence[Labelled]) -> dict[str, dict[str, Any]]:
    """What needs no thought."""

    def at(place: Callable[[Labelled], int]) -> list[Guess]:
        steps = [one.run.steps[min(place(one), len(one.run.steps) - 1)] for one in examples]
        return [(step.index, step.agent) for step in steps]

    usual = []
    for number, one in enumerate(examples):
        others = Counter(other.step for other in [*examples[:number], *examples[number + 1 :]])
        most = others.most_common(1)[0][0]
        usual.append(next((step for step in one.run.steps if step.index == most), one.run.steps[-1]))
    last = at(lambda one: len(one.run.steps) - 1)
    return {
        "the first step": rates(examples, at(lambda _: 0)),
        "the second step": rates(examples, at(lambda _: 1)),
        "the last step": rates(examples, last),
        "the step most often to blame": rates(examples, [(step.index, step.agent) for step in usual]),
    }


def chance(examples: Sequence[Labelled]) -> dict[str, float]:
    """How often a guess at random is right: any step, any agent that said anything."""
    steps = [sum(step.index == one.step for step in one.run.steps) / len(one.run.steps) for one in examples]
    agents = [{step.agent for step in one.run.steps} for one in examples]
    named = [(one.agent in names) / len(names) for one, names in zip(examples, agents, strict=True)]
    return {"step": sum(steps) / len(steps), "agent": sum(named) / len(named)}


def write(examples: Sequence[Labelled]) -> None:
    """Writes the weights that Tenure uses."""
    columns = columns_of(examples)
    weights = fit(examples, columns)
    lines = [
        '"""How much each sign speaks for a step. Written by ``python -m bench.attribution --fit`` from the labelled',
        f"sessions of Who&When ({len(examples)}, algorithm-generated); not to be changed by hand: a test holds them to",
        'be the maximum of what is fitted."""',
        "",
        "from __future__ import annotations",
        "",
        "from collections.abc import Mapping",
        "",
        "WEIGHTS: Mapping[str, float] = {",
        *(f'    "{name}": {weights[column]:.4f},' for name, column in columns.items()),
        "}",
        "",
    ]
    WEIGHTS.write_text("\n".join(lines))


@dataclass(frozen=True, slots=True)
class Judged:
    """What a model named in each session, and what it took: ``unnamed`` are the sessions in which it named no step."""

    guesses: list[Guess]
    unnamed: list[str]
    input_tokens: int
    output_tokens: int


def judged(examples: Sequence[Labelled], endpoint: Endpoint) -> Judged:
    """Has a model asked about each session, one after the other."""
    guesses: list[Guess] = []
    unnamed: list[str] = []
    tokens = [0, 0]
    for one in examples:
        said: Named | str
        try:
            answer = ask(endpoint, question(one.run, ALWAYS))
            said = read(one.run, answer.text, ALWAYS)
            tokens = [tokens[0] + answer.input_tokens, tokens[1] + answer.output_tokens]
        except NoAnswerError as error:
            said = str(error)
        if isinstance(said, str):
            unnamed.append(f"{one.run.trace_id}: {said}")
        guesses.append((-1, "") if isinstance(said, str) else (said.step, said.agent))
    return Judged(guesses, unnamed, tokens[0], tokens[1])


def line(name: str, found: dict[str, Any]) -> str:
    """A row of the table."""
    cells = [
        f"{found[key]['rate']:6.1%} ({found[key]['low']:.1%} to {found[key]['high']:.1%})" for key in ("step", "agent")
    ]
    return f"{name:34} {cells[0]:>26} {cells[1]:>26}"


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.attribution", description=__doc__)
    parser.add_argument("--fit", action="store_true", help="write the weights and measure nothing")
    parser.add_argument("--dry", action="store_true", help="print and write nothing")
    parser.add_argument("--judge", default="", metavar="URL", help="have a model asked as well; needs --model")
    parser.add_argument("--model", default="", help="the model that is asked")
    parser.add_argument("--key", default="", metavar="VARIABLE", help="the variable that holds the key")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds that each answer may take")
    given = parser.parse_args(arguments)
    if bool(given.judge) != bool(given.model):
        parser.error("--judge and --model belong together")
    examples = labelled()
    if given.fit:
        write(examples)
        return
    report: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "sessions": len(examples),
        "penalty": PENALTY,
        "protocol": "leave one out; the true answer and the labels are not seen",
    }
    report["tenure"] = rates(examples, left_out(examples, tuple(columns_of(examples))))
    report["place of the step alone"] = rates(examples, left_out(examples, PLACE))
    report["simple"] = simple(examples)
    report["chance"] = chance(examples)
    if given.judge:
        asked = judged(examples, Endpoint(given.judge, given.model, given.key, given.timeout))
        report["judge"] = rates(examples, asked.guesses) | {
            "model": given.model,
            "prompt": PROMPT,
            "unnamed": asked.unnamed,
            "input_tokens": asked.input_tokens,
            "output_tokens": asked.output_tokens,
        }
    report["published"] = [{"what": what, "figures": figures, "source": source} for what, figures, source in PUBLISHED]
    print(f"{len(examples)} sessions, leave one out{'':8} {'exact step (95%)':>26} {'exact agent (95%)':>26}")
    print(line("tenure, signs of the record", report["tenure"]))
    print(line("the place of the step alone", report["place of the step alone"]))
    for name, found in report["simple"].items():
        print(line(name, found))
    if told := report.get("judge"):
        print(line(f"{told['model']} as judge ({told['prompt']})", told))
    print(f"{'chance':34} {report['chance']['step']:6.1%} {report['chance']['agent']:26.1%}")
    if told := report.get("judge"):
        print(f"\nThe judge took {told['input_tokens']:,} tokens in and {told['output_tokens']:,} out.")
        for each in told["unnamed"]:
            print(f"- named no step, counts as wrong: {each}")
    print("\nPublished by others, not measured here:")
    for what, figures, source in PUBLISHED:
        print(f"- {what}: {figures} ({source})")
    if not given.dry:
        path = ROOT / "bench" / "results" / f"{report['date']}-attribution.json"
        path.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
