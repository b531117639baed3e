"""Time as a trace draws it: to scale while something happens, folded to a fixed width while nothing does. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from tenure.ui.model import duration

WIDTH = 1000.0  # of the drawing's view box
FOLD_FROM = 0.05  # of the active time: a gap that is longer may be folded
IDLE_KEPT = 0.5  # of the active time: as much of the gaps may stay to scale
FOLD_WIDTH = 26.0
MOST_FOLDED = 0.4  # of the width, whatever the number of gaps

Interval = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True)
class Fold:
    """A gap in which nothing happened, drawn ``width`` wide at ``x`` whatever its length."""

    start: datetime
    end: datetime
    x: float
    width: float

    @property
    def length(self) -> str:
        """``1.20 s``."""
        return duration((self.end - self.start).total_seconds() * 1e6)


@dataclass(frozen=True, slots=True)
class Axis:
    """Offsets in seconds after ``zero`` (``knots``, ascending) and where each is drawn (``places``); to scale between
    two of them. ``active``: seconds in which something happened."""

    zero: datetime
    knots: tuple[float, ...]
    places: tuple[float, ...]
    folds: tuple[Fold, ...]
    active: float

    @property
    def length(self) -> float:
        """Seconds from the first to the last moment."""
        return self.knots[-1]

    def at(self, time: datetime) -> float:
        """Where a moment is drawn."""
        return round(_between((time - self.zero).total_seconds(), self.knots, self.places), 2)

    def ticks(self, count: int = 4) -> tuple[tuple[float, str], ...]:
        """(x, real offset in words) of ``count`` equal parts of the width; one that would be in a fold is where the
        fold ends. Offsets have as many digits as it takes to tell neighbours apart."""
        places = []
        for part in range(count + 1):
            x = WIDTH * part / count
            inside = next((fold for fold in self.folds if fold.x < x < fold.x + fold.width), None)
            places.append(min(inside.x + inside.width, WIDTH) if inside else x)
        # One that was moved too near to the next would be written over it.
        places = [x for x, following in pairwise([*places, 2 * WIDTH]) if following - x > 0.6 * WIDTH / count]
        offsets = [_between(x, self.places, self.knots) for x in places]
        step = min((after - before for before, after in pairwise(offsets)), default=0.0)
        return tuple((round(x, 2), _offset(offset, step)) for x, offset in zip(places, offsets, strict=True))


def _between(value: float, here: Sequence[float], there: Sequence[float]) -> float:
    """``value`` of one scale on the other, kept within both."""
    value = min(max(value, here[0]), here[-1])
    place = min(bisect_right(here, value), len(here) - 1)
    before, after = here[place - 1], here[place]
    share = (value - before) / (after - before) if after > before else 0.0
    return there[place - 1] + share * (there[place] - there[place - 1])


def _offset(seconds: float, step: float) -> str:
    if seconds <= 0:
        return "0"
    if seconds < 1 or step >= 0.1:
        return duration(seconds * 1e6)
    digits = 3 if step >= 0.02 else 4
    minutes, rest = divmod(seconds, 60)
    return f"{minutes:.0f} min {rest:.{digits}f} s" if minutes else f"{rest:.{digits}f} s"


def _busy(active: Iterable[Interval], start: datetime, end: datetime) -> list[Interval]:
    """The stretches in which something happens, apart from each other and in order, within ``start`` and ``end``."""
    merged: list[Interval] = []
    for begin, stop in sorted([(start, start), *active, (end, end)]):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], stop))
        else:
            merged.append((begin, stop))
    return merged


def _long(gaps: Sequence[Interval], total: float) -> list[Interval]:
    """The gaps to fold, in order."""
    lengths = sorted((((stop - begin).total_seconds(), begin, stop) for begin, stop in gaps), reverse=True)
    idle = sum(length for length, *_ in lengths)
    folded = []
    for length, begin, stop in lengths:
        if not total or idle <= IDLE_KEPT * total or length <= FOLD_FROM * total:
            break
        folded.append((begin, stop))
        idle -= length
    return sorted(folded)


def axis(active: Iterable[Interval], start: datetime, end: datetime) -> Axis:
    """The axis from ``start`` to ``end`` for what is ``active`` in between (moments are intervals without length).

    Gaps longer than ``FOLD_FROM`` of all active time are folded, the longest first, until at most ``IDLE_KEPT`` of the
    active time is left of them. Where nothing has a length there is no scale to save, and nothing is folded.
    """
    end = max(end, start + timedelta(milliseconds=1))
    busy = _busy(active, start, end)
    gaps = [(before[1], after[0]) for before, after in pairwise(busy)]
    total = sum((stop - begin).total_seconds() for begin, stop in busy)
    long = _long(gaps, total)
    width = min(FOLD_WIDTH, WIDTH * MOST_FOLDED / len(long)) if long else 0.0
    drawn = (end - start).total_seconds() - sum((stop - begin).total_seconds() for begin, stop in long)
    scale = (WIDTH - width * len(long)) / drawn
    knots, places, folds = [0.0], [0.0], []
    for begin, stop in long:
        x = places[-1] + ((begin - start).total_seconds() - knots[-1]) * scale
        folds.append(Fold(begin, stop, round(x, 2), round(width, 2)))
        knots += [(begin - start).total_seconds(), (stop - start).total_seconds()]
        places += [x, x + width]
    return Axis(start, (*knots, (end - start).total_seconds()), (*places, WIDTH), tuple(folds), total)
