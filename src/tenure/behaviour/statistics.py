"""The statistics that baselines are held with. Deterministic, pure; each says where it is from."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from statistics import median
from typing import TypeVar

K = TypeVar("K", bound=Hashable)

OUTLYING = 3.5
"""A modified z-score above it is an outlier (Iglewicz and Hoaglin, How to Detect and Handle Outliers, 1993)."""
_LEAST_SPREAD = 0.1
"""The least spread that sizes are taken to have, in natural logarithms: a tenth more or less is nothing to speak of."""
_BEYOND = 2.0
"""And it is beyond anything there was by so much, as a factor."""
_LEAST_CELL = 2.0
"""Kinds of which fewer are expected on either side are counted as one."""
_TRIALS = 1999
_PLAIN = 20


def shannon(expected: Mapping[K, int], seen: Mapping[K, int]) -> float:
    """The Jensen-Shannon distance of two counts as shares, with base 2: 0 when they are the same, 1 when they have
    nothing in common (Endres and Schindelin, IEEE Transactions on Information Theory 49, 2003)."""
    n, m = sum(expected.values()), sum(seen.values())
    if not n or not m:
        return 0.0
    total = 0.0
    for key in expected.keys() | seen.keys():
        p, q = expected.get(key, 0) / n, seen.get(key, 0) / m
        middle = (p + q) / 2
        total += sum(share * math.log2(share / middle) for share in (p, q) if share) / 2
    return math.sqrt(max(total, 0.0))


def apart(expected: Sequence[Mapping[K, int]], seen: Sequence[Mapping[K, int]]) -> float:
    """How likely chance alone makes the counts of ``seen`` as unlike those of ``expected``, each by run: a permutation
    test of whole runs, by the G statistic (Sokal and Rohlf, Biometry, 17.4). Calls of one run are alike, so that
    they must not count as if each was on its own; runs are exchanged, and nothing is assumed of how they are spread.
    At most ``_TRIALS`` orders are tried, fewer where it is plain early that chance does as much (Besag and Clifford,
    Biometrika 78, 1991); the same each time. Kinds of which hardly any are to be expected count as one."""
    rows = _vectors(expected, seen)
    if not rows or len(rows[0]) < 2 or not seen or not expected:
        return 1.0
    whole = [sum(column) for column in zip(*rows, strict=True)]
    own = _g(whole, rows[len(expected) :])
    chance, hits = random.Random(0), 0  # noqa: S311 (the same each time, no secret)
    for trial in range(1, _TRIALS + 1):
        hits += _g(whole, chance.sample(rows, len(seen))) >= own - 1e-9
        if hits >= _PLAIN:
            return hits / trial
    return (hits + 1) / (_TRIALS + 1)


def _vectors(expected: Sequence[Mapping[K, int]], seen: Sequence[Mapping[K, int]]) -> list[list[int]]:
    """Every run as counts of the kinds that there are enough of, and of the rest."""
    groups = [*expected, *seen]
    whole: Counter[K] = Counter()
    for group in groups:
        whole.update(group)
    size = whole.total()
    now = sum(sum(group.values()) for group in seen)
    least = _LEAST_CELL * size / max(1, min(now, size - now))
    kinds = [key for key, count in whole.items() if count >= least]
    rows = [[group.get(key, 0) for key in kinds] for group in groups]
    for row, group in zip(rows, groups, strict=True):
        row.append(sum(group.values()) - sum(row))
    return rows


def _g(whole: Sequence[int], rows: Sequence[Sequence[int]]) -> float:
    """The G statistic of some rows against the others."""
    part = [sum(column) for column in zip(*rows, strict=True)]
    size, m = sum(whole), sum(part)
    n = size - m
    if not n or not m:
        return 0.0
    g = 0.0
    for total, one in zip(whole, part, strict=True):
        for count, of in ((one, m), (total - one, n)):
            if count:
                g += 2 * count * math.log(count * size / (of * total))
    return g


def ranked(expected: Sequence[float], seen: Sequence[float]) -> float:
    """How likely chance alone makes two sets of values as unlike: the rank test of Mann and Whitney (Annals of
    Mathematical Statistics 18, 1947), two-sided, by the normal approximation with ties corrected."""
    n, m = len(expected), len(seen)
    if not n or not m:
        return 1.0
    ranks: dict[float, float] = {}
    counts = Counter([*expected, *seen])
    place, ties = 0, 0
    for value in sorted(counts):
        count = counts[value]
        ranks[value] = place + (count + 1) / 2
        place += count
        ties += count**3 - count
    u = sum(ranks[value] for value in seen) - m * (m + 1) / 2
    size = n + m
    variance = n * m / 12 * (size + 1 - ties / (size * (size - 1)))
    if variance <= 0:
        return 1.0
    z = max(abs(u - n * m / 2) - 0.5, 0.0) / math.sqrt(variance)
    return math.erfc(z / math.sqrt(2))


def usual(values: Sequence[float]) -> tuple[float, float]:
    """Between what values lie: outside is what is both an outlier by median and median absolute deviation of logarithms
    (``OUTLYING``) and far beyond anything there was (``_BEYOND``)."""
    logs = [math.log1p(max(value, 0.0)) for value in values]
    middle = median(logs)
    spread = max(median([abs(log - middle) for log in logs]), _LEAST_SPREAD) * OUTLYING / 0.6745
    return min(math.expm1(middle - spread), min(values) / _BEYOND), max(
        math.expm1(middle + spread), max(values) * _BEYOND
    )


def unseen(counts: Mapping[K, int]) -> float:
    """The share of what comes that will be of a kind that never came: singletons by number (Good, Biometrika 40, 1953,
    after Turing), one added to each so that little is never taken for certain."""
    singles = sum(1 for count in counts.values() if count == 1)
    return (singles + 1) / (sum(counts.values()) + 1)


def at_least(k: int, mean: float) -> float:
    """The chance of ``k`` or more where ``mean`` are expected (Poisson)."""
    term = total = math.exp(-mean)
    for i in range(1, k):
        term *= mean / i
        total += term
    return max(0.0, 1.0 - total) if k > 0 else 1.0
