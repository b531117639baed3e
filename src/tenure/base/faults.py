"""What is wrong with a file or a value, told so that it can be mended: where, what, and what would be right."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from typing import Any

from tenure.kernel.errors import Refused

_PLAIN_KEY = re.compile(r"[A-Za-z_][\w-]*\Z")


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong. ``path`` as ``spec.tools[1].autonomy``; ``document`` counts documents sent together
    from 0; ``file`` and ``line`` (from 1) are known to whoever read the file."""

    path: str
    problem: str
    hint: str = ""
    document: int = 0
    file: str = ""
    line: int | None = None


@dataclass(frozen=True, slots=True)
class FileFault:
    """What is wrong with a file of policies, rules or tests, and where. ``line`` counts from 1."""

    file: str
    line: int
    problem: str


def in_file(refused: Refused, file: str) -> list[FileFault]:
    """The faults of a file that was refused as a document (``refuse``), each in one line of words."""
    return [
        FileFault(file, item["line"] or 1, " ".join(filter(None, (item["path"], item["problem"], item["hint"]))))
        for item in refused.details["faults"]
    ]


def path_of(parts: Sequence[str | int]) -> str:
    """``("spec", "tools", 1)`` as ``spec.tools[1]``. Keys that are no plain words are quoted: ``env["a b"]``."""
    path = ""
    for part in parts:
        if isinstance(part, int):
            path += f"[{part}]"
        elif _PLAIN_KEY.match(part):
            path += f".{part}" if path else part
        else:
            path += f"[{json.dumps(part)}]"
    return path


def nearest(word: object, known: Iterable[str]) -> str:
    """A hint: the known word that was probably meant, or all of them."""
    words = list(known)
    close = get_close_matches(str(word), words, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]}?"
    return f"known here: {', '.join(words)}" if words else ""


def refuse(faults: Sequence[Fault], *, code: str, what: str, fix: str = "Mend what is listed.") -> Refused:
    """The refusal that carries every fault. ``what`` is wrong as a whole: nothing of it was taken."""
    count = "1 thing is" if len(faults) == 1 else f"{len(faults)} things are"
    listed: list[dict[str, Any]] = [asdict(fault) for fault in faults]
    return Refused(
        code,
        f"{count} wrong with the {what}; nothing was applied. First: {faults[0].path}: {faults[0].problem}",
        fix=fix,
        status=422,
        details={"faults": listed},
    )
