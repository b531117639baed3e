"""The sliding window is exact: held against counting by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenure.breaker.model import Place, Scope, Window, observe, trip_id

times = st.lists(st.integers(0, 60), max_size=40)


def _by_hand(seen: list[int], threshold: int, window_s: int) -> bool:
    """Whether some ``threshold`` of the times seen, the last one among them, lie within the window."""
    at = seen[-1]
    starts = range(at - window_s, at + 1)
    return any(sum(start <= time <= start + window_s for time in seen) >= threshold for start in starts)


def _run(order: list[int], threshold: int, window_s: int) -> None:
    window = Window()
    for number, at in enumerate(order):
        window, tripped = observe(window, float(at), threshold, float(window_s))
        assert tripped == _by_hand(order[: number + 1], threshold, window_s), (order[: number + 1], window)


@pytest.mark.req("R055")
@given(times, st.integers(1, 6), st.integers(0, 20))
def test_violations_in_order_are_counted_exactly(seen: list[int], threshold: int, window_s: int) -> None:
    _run(sorted(seen), threshold, window_s)


@given(times, st.integers(1, 6), st.integers(0, 20), st.data())
def test_violations_that_come_late_within_the_window_are_counted_exactly(
    seen: list[int], threshold: int, window_s: int, data: st.DataObject
) -> None:
    delays = [data.draw(st.integers(0, window_s)) for _ in seen]
    arrival = [at for _, at in sorted((at + late, at) for at, late in zip(seen, delays, strict=True))]
    newest = 0
    kept = []
    for at in arrival:
        if at >= newest - window_s:
            kept.append(at)
            newest = max(newest, at)
    _run(kept, threshold, window_s)


@given(st.lists(st.floats(0, 1e6), max_size=200))
def test_the_window_forgets_what_cannot_matter(seen: list[float]) -> None:
    window = Window()
    for at in seen:
        window, _ = observe(window, at, 1000, 10.0)
        assert window.times == tuple(sorted(window.times))
        assert window.times[-1] - window.times[0] <= 20.0 + 1e-9


def test_both_ends_of_the_window_count() -> None:
    assert observe(Window((0.0,)), 10.0, 2, 10.0)[1] is True
    assert observe(Window((0.0,)), 10.000001, 2, 10.0)[1] is False


@pytest.mark.parametrize(("threshold", "window_s"), [(0, 1.0), (-1, 1.0), (1, -1.0)])
def test_limits_that_mean_nothing_are_refused(threshold: int, window_s: float) -> None:
    with pytest.raises(ValueError, match="not a breaker"):
        observe(Window(), 0.0, threshold, window_s)


def test_a_trip_has_one_name_per_breaker_and_epoch() -> None:
    places = [Place(where, scope, name) for where in "ab" for scope in (Scope.AGENT, Scope.CHAIN) for name in "cd"]
    names = {trip_id(place, epoch) for place in places for epoch in (0, 1)}
    assert len(names) == 16
    assert trip_id(Place("a", Scope.AGENT, "c"), 0) in names
