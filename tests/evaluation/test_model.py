"""pass^k: the published figures' arithmetic, its interval, and the wrong formula told apart."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenure.base.scan.texts import clean
from tenure.evaluation.model import (
    Step,
    bare_tool,
    first_difference,
    normal_form,
    pass_hat,
    reliability,
    result_text,
    wilson_of_means,
)
from tenure.telemetry.model import Outcome

COUNTS = st.integers(1, 8).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n)))


@pytest.mark.req("R114")
@given(st.lists(COUNTS, min_size=1, max_size=12), st.integers(1, 8))
def test_pass_hat_is_the_chance_that_k_trials_drawn_from_the_recorded_ones_all_succeed(
    counts: list[tuple[int, int]], k: int
) -> None:
    enough = [(n, c) for n, c in counts if n >= k]
    if not enough:
        with pytest.raises(ValueError, match=f"{k} trials"):
            pass_hat(counts, k)
        return
    drawn = []
    for n, c in enough:
        subsets = list(itertools.combinations([True] * c + [False] * (n - c), k))
        drawn.append(sum(map(all, subsets)) / len(subsets))
    estimate = pass_hat(counts, k)
    assert estimate.value == pytest.approx(sum(drawn) / len(drawn))
    assert 0 <= estimate.low <= estimate.value + 1e-12
    assert estimate.value - 1e-12 <= estimate.high <= 1
    assert estimate.tasks == len(enough)
    assert estimate.sessions == sum(n for n, _ in enough)


@pytest.mark.req("R114")
def test_simulated_agents_have_the_pass_hat_of_the_closed_form_and_the_pooled_rate_to_the_k_does_not() -> None:
    # A task's chance of success is Beta(a, b): E[p^k] = B(a+k, b) / B(a, b), exactly.
    a, b, tasks, trials, runs = 0.6, 0.9, 50, 4, 1500
    rng = random.Random(20260101)  # noqa: S311 (a simulation, not a secret)
    exact = {k: math.prod((a + i) / (a + b + i) for i in range(k)) for k in range(1, trials + 1)}
    sums = dict.fromkeys(exact, 0.0)
    pooled = dict.fromkeys(exact, 0.0)
    covered = dict.fromkeys(exact, 0)
    for _ in range(runs):
        chances = [rng.betavariate(a, b) for _ in range(tasks)]
        counts = [(trials, sum(rng.random() < p for _ in range(trials))) for p in chances]
        rate = sum(c for _, c in counts) / (tasks * trials)
        for k, truth in exact.items():
            estimate = pass_hat(counts, k)
            sums[k] += estimate.value
            pooled[k] += rate**k
            covered[k] += estimate.low <= truth <= estimate.high
    for k, truth in exact.items():
        # standard error of the mean over the runs: a task's value has a deviation of at most 1/2
        error = 0.5 / math.sqrt(tasks * runs)
        assert abs(sums[k] / runs - truth) < 4 * error
        assert covered[k] / runs > 0.93
        if k > 1:
            assert abs(pooled[k] / runs - truth) > 20 * error  # the wrong answer is far off


def test_trials_of_one_task_do_not_count_as_independent() -> None:
    same = pass_hat([(4, 4)] * 10 + [(4, 0)] * 10, 1)
    apart = pass_hat([(1, 1)] * 40 + [(1, 0)] * 40, 1)
    assert same.value == apart.value == 0.5
    assert same.high - same.low > 1.8 * (apart.high - apart.low)


def test_an_interval_is_never_a_point_when_all_values_agree() -> None:
    low, high = wilson_of_means([0.0] * 50)
    assert low == 0.0
    assert high == pytest.approx(1.96**2 / (50 + 1.96**2), rel=1e-3)
    assert wilson_of_means([1.0])[0] < 0.25
    with pytest.raises(ValueError, match="no values"):
        wilson_of_means([])


def test_for_plain_successes_the_interval_is_wilsons() -> None:
    # Newcombe 1998, table I: 15 of 148 gives 0.0624 to 0.1605; Student's t widens it a little
    low, high = wilson_of_means([1.0] * 15 + [0.0] * 133)
    assert (low, high) == pytest.approx((0.0624, 0.1605), abs=2e-3)


def _outcome(task: str, trial: int, success: bool, dataset: str = "d") -> Outcome:
    return Outcome("tau-bench", task, trial, float(success), success, detail={"dataset": dataset, "label": "m"})


def test_files_are_not_pooled_and_a_trial_told_twice_counts_once() -> None:
    told = [_outcome("0", 0, True), _outcome("0", 0, True), _outcome("0", 1, False), _outcome("0", 0, False, "e")]
    first, second = reliability(told)
    assert (first.dataset, first.tasks, first.sessions, first.successes) == ("d", 1, 2, 1)
    assert [round(estimate.value, 3) for estimate in first.estimates] == [0.5, 0.0]
    assert (second.dataset, second.sessions, second.label) == ("e", 1, "m")
    assert reliability([]) == ()


def _tool(result: object, arguments: object = None, name: str = "think") -> Step:
    data = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": name,
        "gen_ai.tool.call.arguments": {"a": 1} if arguments is None else arguments,
        "gen_ai.tool.call.result": result,
    }
    step = normal_form(data)
    assert step
    return step


@pytest.mark.req("R084")
def test_two_honest_recordings_of_one_call_are_one_step() -> None:
    plain = _tool("done")
    assert plain == _tool({"content": [{"type": "text", "text": "done"}], "isError": False}, '{"a": 1}', "desk/think")
    assert plain == _tool([{"type": "text", "text": "do"}, {"type": "text", "text": "ne"}], name="desk__think")
    assert normal_form({"gen_ai.operation.name": "embeddings"}) is None


def test_a_result_that_merely_looks_like_blocks_stays_what_it_is() -> None:
    assert result_text('{"content": 3}') == '{"content": 3}'
    assert result_text([{"type": "image"}]) == [{"type": "image"}]
    text = '{"content": [{"type": "text", "text": "done"}]}'
    assert result_text(text) == result_text({"content": [{"type": "text", "text": text}]}) == text
    assert result_text("") == ""
    assert result_text(None) is None
    assert bare_tool("a__b") == "b"


@pytest.mark.req("R084")
def test_the_first_difference_is_named_with_its_place_and_both_sides() -> None:
    steps = [_tool("one"), _tool("two")]
    assert first_difference(steps, steps) is None
    changed = first_difference(steps, [steps[0], _tool("two", {"a": 2})])
    assert changed
    assert (changed.step, changed.path, changed.expected, changed.actual) == (1, "given.a", 1, 2)
    missing = first_difference(steps, steps[:1])
    assert missing
    assert (missing.step, missing.path, missing.expected, missing.actual) == (1, "steps", 2, 1)
    swapped = first_difference(steps, steps[::-1])
    assert swapped
    assert (swapped.step, swapped.path) == (0, "got")


def test_messages_differ_down_to_one_part() -> None:
    def chat(text: str, **rest: str) -> Step:
        message = {"role": "user", "parts": [{"type": "text", "content": text}], **rest}
        data = {
            "gen_ai.operation.name": "chat",
            "gen_ai.input.messages": [message],
            "gen_ai.output.messages": [message],
        }
        step = normal_form(data)
        assert step
        return step

    assert first_difference([chat("a")], [chat("a", finish_reason="stop")]) is None
    difference = first_difference([chat("a")], [chat("b")])
    assert difference
    assert difference.path == "given[0].parts[0].content"
    assert first_difference([chat("a")], [chat("a", name="x")])


def test_what_was_taken_out_of_one_side_is_no_difference_and_the_rest_is() -> None:
    told = Step("chat", "", "", [], "date of birth: 1970-01-02, order 7")
    kept = Step("chat", "", "", [], clean(told.got, {"personal"}))
    assert kept != told
    assert first_difference([told], [kept]) is None
    other = Step("chat", "", "", [], str(kept.got).replace("order 7", "order 8"))
    assert first_difference([told], [other]) is not None
