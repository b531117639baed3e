"""Rows that are made when they are looked at: of a trace of 10,000 spans a page shows 200. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar, overload

T = TypeVar("T")


class Lazily(Sequence[T], Generic[T]):
    """A sequence of values, some of which are still to be made; each is made once."""

    def __init__(self, parts: Sequence[T | Callable[[], T]], known: Callable[[object], bool]) -> None:
        """``known`` says of a part that it is the value itself."""
        self._parts = list(parts)
        self._known = known

    @property
    def made(self) -> list[T]:
        """Those that are made by now."""
        return [part for part in self._parts if self._known(part)]  # type: ignore[misc]  # (as it says)

    def __len__(self) -> int:
        return len(self._parts)

    def __iter__(self) -> Iterator[T]:
        return (self._at(place) for place in range(len(self._parts)))

    @overload
    def __getitem__(self, place: int) -> T: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[T, ...]: ...

    def __getitem__(self, place: int | slice) -> T | tuple[T, ...]:
        if isinstance(place, slice):
            return tuple(self._at(one) for one in range(*place.indices(len(self._parts))))
        return self._at(place)

    def _at(self, place: int) -> T:
        part = self._parts[place]
        if not self._known(part):
            part = self._parts[place] = part()  # type: ignore[operator]  # (what is not the value makes it)
        return part  # type: ignore[return-value]  # (made above)
