"""Where two JSON values differ, by path. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from tenure.kernel.json import Json

MOST = 20


@dataclass(frozen=True, slots=True)
class Difference:
    """``path`` as in ``items[2].name``, empty for the whole value. A side that has nothing there is None and has
    ``left_there`` or ``right_there`` False."""

    path: str
    left: Json
    right: Json
    left_there: bool = True
    right_there: bool = True


def differences(left: Json, right: Json, most: int = MOST) -> tuple[Difference, ...]:
    """The first ``most`` places at which two values differ; none where they are the same."""
    return tuple(islice(_parting(left, right, ""), most))


def _parting(left: Json, right: Json, path: str) -> Iterator[Difference]:
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        for key in dict.fromkeys([*left, *right]):
            under = f"{path}.{key}" if path else str(key)
            if key not in left or key not in right:
                yield Difference(under, left.get(key), right.get(key), key in left, key in right)
            else:
                yield from _parting(left[key], right[key], under)
    elif isinstance(left, list | tuple) and isinstance(right, list | tuple):
        for place in range(max(len(left), len(right))):
            under = f"{path}[{place}]"
            if place >= len(left):
                yield Difference(under, None, right[place], left_there=False)
            elif place >= len(right):
                yield Difference(under, left[place], None, right_there=False)
            else:
                yield from _parting(left[place], right[place], under)
    elif left != right or isinstance(left, bool) != isinstance(right, bool):
        yield Difference(path, left, right)
