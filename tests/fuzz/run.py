"""Fuzzes every codec: ``python -m tests.fuzz.run [TARGET ...] [--seconds N] [--keep]``.

Each target runs alone, from its kept corpus (``tests/fuzz/corpus``), the recorded answers of ``tests/gateway`` and what
earlier runs found (``.fuzz/``, not kept). An input that breaks a property is left in ``.fuzz/`` and named. ``--keep``
replaces the kept corpus by the least that reaches the same. Results go to ``bench/results/<date>-fuzz.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).resolve().parents[2]
CORPUS = Path(__file__).parent / "corpus"
WORK = ROOT / ".fuzz"
KEPT_BYTES = 8000  # of each target's corpus
MAX_INPUT = 2048
_RECORDED = {"openai": "openai_[ce]*", "responses": "openai_r*", "anthropic": "anthropic_*", "gemini": "gemini_*"}
_PROGRESS = re.compile(r"cov: (\d+) ft: (\d+) corp: (\d+)")
_RUNS = re.compile(r"stat::number_of_executed_units: (\d+)")
_BROKEN = re.compile(r"Test unit written to (\S+)")


def fuzz(name: str, seconds: int) -> dict[str, Any]:
    """One run of one target: executions, covered edges, and the inputs that broke it."""
    work, seeds = WORK / name, WORK / "seeds" / name
    for folder in (work, seeds):
        folder.mkdir(parents=True, exist_ok=True)
    for path in (ROOT / "tests" / "gateway" / "fixtures").glob(_RECORDED.get(name, "-")):
        mode = 2 | 128 if path.suffix == ".json" else 3 | 128
        (seeds / path.name).write_bytes(bytes([mode]) + (b"" if path.suffix == ".json" else b"\0") + path.read_bytes())
    kept = CORPUS / name
    options = [f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=1024", f"-max_len={MAX_INPUT}"]
    options += ["-print_final_stats=1", "-reduce_inputs=1", f"-artifact_prefix={WORK}/{name}-"]
    command = [sys.executable, "-m", "tests.fuzz.engine", name, *options, str(work), str(seeds)]
    begun = time.monotonic()
    done = subprocess.run(
        [*command, *([str(kept)] if kept.is_dir() else [])],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        check=False,
    )
    (WORK / f"{name}.log").write_text(done.stderr + done.stdout)
    progress, runs = _PROGRESS.findall(done.stderr), _RUNS.findall(done.stderr)
    if not progress:
        raise SystemExit(f"{name} did not run: {done.stderr[-2000:]}")
    return {
        "seconds": round(time.monotonic() - begun),
        "executions": int(runs[-1]) if runs else 0,
        "edges": int(progress[-1][0]),
        "features": int(progress[-1][1]),
        "broke": [Path(path).name for path in _BROKEN.findall(done.stderr)],
    }


def minimised(name: str) -> list[bytes]:
    """The smallest inputs of a target's corpora that together take every step between two lines of Tenure's own code
    that any of them takes, as far as ``KEPT_BYTES`` reach."""
    folders = (WORK / name, WORK / "seeds" / name, CORPUS / name)
    inputs = {path.read_bytes() for folder in folders if folder.is_dir() for path in folder.iterdir()}
    target, seen, out, size = TARGETS[name], set[tuple[str, int, int]](), list[bytes](), 0
    for data in sorted(inputs, key=lambda data: (len(data), data)):
        steps = set(_steps(target, data))
        if len(data) + size <= KEPT_BYTES and not steps <= seen:
            seen |= steps
            out.append(data)
            size += len(data)
    return out


def _steps(target: Callable[[bytes], None], data: bytes) -> Iterator[tuple[str, int, int]]:
    steps: set[tuple[str, int, int]] = set()

    def trace(frame: FrameType, _event: str, _arg: object) -> Any:
        file, last = frame.f_code.co_filename, 0
        if "/tenure/" not in file:
            return None

        def line(frame: FrameType, event: str, _arg: object) -> Any:
            nonlocal last
            if event == "line":
                steps.add((file, last, frame.f_lineno))
                last = frame.f_lineno
            return line

        return line

    sys.settrace(trace)
    try:
        target(data)
    finally:
        sys.settrace(None)
    yield from steps


def keep(name: str) -> int:
    """Replaces the kept corpus of a target; returns its size in bytes."""
    chosen = minimised(name)
    folder = CORPUS / name
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if not path.name.startswith("broke-"):  # an input that once broke it stays, whatever it reaches
            path.unlink()
    for number, data in enumerate(chosen):
        (folder / f"{number:03d}").write_bytes(data)
    return sum(map(len, chosen))


def main() -> int:
    """The command line; exit status 1 when a property broke."""
    parser = argparse.ArgumentParser(description="Fuzzes the codecs.")
    parser.add_argument("targets", nargs="*", default=list(TARGETS), metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=600, help="for each target")
    parser.add_argument("--keep", action="store_true", help="replace the kept corpus")
    given = parser.parse_args()
    date = datetime.now(UTC).date().isoformat()
    report = ROOT / "bench" / "results" / f"{date}-fuzz.json"
    results: dict[str, Any] = json.loads(report.read_text())["results"] if report.exists() else {}
    broke = False
    for name in given.targets:
        result = fuzz(name, given.seconds)
        earlier = results.get(name, {})  # of the same day; what they found is where this one began
        for figure in ("seconds", "executions", "broke"):
            result[figure] = (earlier.get(figure) or type(result[figure])()) + result[figure]
        results[name] = result
        if given.keep:
            result["kept_bytes"] = keep(name)
        broke = broke or bool(result["broke"])
        print(
            f"{name:10} {result['executions']:>10} executions {result['edges']:>6} edges", *result["broke"], flush=True
        )
        report.write_text(json.dumps({"date": date, "engine": "atheris 3.0.0", "results": results}, indent=2) + "\n")
    return int(broke)


if __name__ == "__main__":
    sys.exit(main())
