"""Alike held calls, one below the other. Pure.

Alike are calls of the same agent under the same release, to the same resource, held by the same policies as they
were: what differs between them is their arguments, and that is what a person has to look at. A batch only groups;
each call keeps its own approval, bound to its own digest.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tenure.approvals.model import Approval
from tenure.kernel.ids import stable_id
from tenure.kernel.json import Json

MAX_DEPTH = 32
ABSENT = ""
"""What stands for an argument that a call does not give; no JSON text is empty."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Alike calls, the oldest first. ``same``: (path, JSON text) of the arguments that all give alike; ``differs``: the
    paths of those that they do not, and ``rows`` for each of ``calls`` its JSON texts of them (``ABSENT`` for an
    argument that is not given). A path joins keys and list positions by dots, with dots in keys as ``\\.``."""

    id: str
    calls: tuple[Approval, ...]
    same: tuple[tuple[str, str], ...]
    differs: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def batch_id(item: Approval) -> str:
    """The same for alike calls, and for no others."""
    return stable_id(
        "batch",
        item.workspace,
        item.agent,
        item.release,
        item.resource,
        item.grounds,
        *item.demands,
        *sorted(item.policies),
        *([item.covers] if item.edited is not None else []),  # looked at by itself
    )


def batches(items: Iterable[Approval]) -> list[Batch]:
    """``items`` in batches of one or more: the batch with the oldest call first."""
    found: dict[str, list[Approval]] = {}
    for item in sorted(items, key=lambda one: (one.requested_at, one.id)):
        found.setdefault(batch_id(item), []).append(item)
    return [_batch(ident, calls) for ident, calls in found.items()]


def _batch(ident: str, calls: Sequence[Approval]) -> Batch:
    given = [dict(_leaves(call.now)) for call in calls]
    paths = list(dict.fromkeys(path for one in given for path in one))
    differs = tuple(path for path in paths if len({one.get(path, ABSENT) for one in given}) > 1)
    same = tuple((path, given[0][path]) for path in paths if path not in differs)
    rows = tuple(tuple(one.get(path, ABSENT) for path in differs) for one in given)
    return Batch(ident, tuple(calls), same, differs, rows)


def _leaves(value: Json, path: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    """(path, JSON text) of everything in ``value`` that holds nothing further, or lies deeper than is looked."""
    prefix = f"{path}." if depth else ""
    if isinstance(value, dict) and value and depth < MAX_DEPTH:
        for key, item in value.items():
            name = str(key).replace("\\", "\\\\").replace(".", "\\.")
            yield from _leaves(item, prefix + name, depth + 1)
    elif isinstance(value, list | tuple) and value and depth < MAX_DEPTH:
        for index, item in enumerate(value):
            yield from _leaves(item, f"{prefix}{index}", depth + 1)
    elif depth:
        yield path, json.dumps(value, ensure_ascii=False, sort_keys=True)
