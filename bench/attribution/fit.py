"""The weights of the signs: maximum of the conditional log-likelihood of the labelled steps, with an L2 penalty, by
Newton's method. The function is strictly concave, so there is one maximum wherever the search begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tenure.attribution.model import Run, Sign, shares

PENALTY = 3.0
"""Half of this times the square of each weight is taken off. Chosen once between 1 and 10 and not tuned."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """A run with what people said: ``step`` is the index in the recording, ``agent`` the one they blamed."""

    run: Run
    signs: Sequence[Sequence[Sign]]
    step: int
    agent: str


Row = tuple[tuple[int, float], ...]


def rows_of(example: Labelled, columns: Mapping[str, int]) -> list[Row]:
    """The signs of each step that are there, by column."""
    return [tuple((columns[sign.name], sign.value) for sign in signs if sign.value) for signs in example.signs]


def columns_of(examples: Sequence[Labelled]) -> dict[str, int]:
    """A column for each sign, in alphabetical order."""
    return {name: number for number, name in enumerate(sorted({sign.name for sign in examples[0].signs[0]}))}


def gradient(examples: Sequence[Labelled], columns: Mapping[str, int], weights: Sequence[float]) -> list[float]:
    """How the log-likelihood, less the penalty, changes with each weight."""
    return _slope([(rows_of(one, columns), _label(one)) for one in examples], weights)[0]


def fit(examples: Sequence[Labelled], columns: Mapping[str, int], start: Sequence[float] = ()) -> list[float]:
    """The weights of the columns."""
    data = [(rows_of(one, columns), _label(one)) for one in examples]
    weights = list(start) or [0.0] * len(columns)
    for _ in range(30):
        slope, curve = _slope(data, weights)
        step = _solve(curve, slope)
        weights = [weight + move for weight, move in zip(weights, step, strict=True)]
        if max(map(abs, step)) < 1e-9:
            break
    return weights


def _label(example: Labelled) -> int | None:
    return next((place for place, step in enumerate(example.run.steps) if step.index == example.step), None)


def _slope(
    data: Sequence[tuple[list[Row], int | None]], weights: Sequence[float]
) -> tuple[list[float], list[list[float]]]:
    """The gradient, and the negated matrix of second derivatives."""
    size = len(weights)
    slope = [-PENALTY * weight for weight in weights]
    curve = [[PENALTY * (row == column) for column in range(size)] for row in range(size)]
    for rows, label in data:
        if label is None:  # people blamed a step that only reports what another asked for
            continue
        each = shares([sum(weights[column] * value for column, value in row) for row in rows])
        mean = [0.0] * size
        for share, row in zip(each, rows, strict=True):
            for column, value in row:
                mean[column] += share * value
                for other, further in row:
                    curve[column][other] += share * value * further
        for column, value in rows[label]:
            slope[column] += value
        there = [column for column in range(size) if mean[column]]
        for column in there:
            slope[column] -= mean[column]
            for other in there:
                curve[column][other] -= mean[column] * mean[other]
    return slope, curve


def _solve(matrix: Sequence[Sequence[float]], vector: Sequence[float]) -> list[float]:
    """Gauss: the matrix is symmetric and positive definite, so no pivot is 0."""
    size = len(vector)
    rows = [[*row, value] for row, value in zip(matrix, vector, strict=True)]
    for pivot in range(size):
        for below in range(pivot + 1, size):
            factor = rows[below][pivot] / rows[pivot][pivot]
            if factor:
                upper, lower = rows[pivot], rows[below]
                for column in range(pivot, size + 1):
                    lower[column] -= factor * upper[column]
    found = [0.0] * size
    for row in range(size - 1, -1, -1):
        known = sum(rows[row][column] * found[column] for column in range(row + 1, size))
        found[row] = (rows[row][size] - known) / rows[row][row]
    return found
