"""``python -m bench.behaviour``: the recorded sessions, split again and again (200 times, the same each time)."""

from __future__ import annotations

import random
from collections import Counter

from bench.behaviour.recorded import PLANTED, found, runs_of, split

TIMES = 200
SIZES = ((100, 30), (60, 15), (20, 10))


def main() -> None:
    runs = runs_of()
    print(f"{len(runs)} recorded sessions of one agent, split {TIMES} times")
    for before, now in SIZES:
        chance = random.Random(f"{before} {now}")  # noqa: S311 (repeatable, no secret)
        wrong: Counter[str] = Counter()
        caught: Counter[str] = Counter()
        alarms = 0
        for _ in range(TIMES):
            expected, seen = split(runs, before, now, chance)
            said = found(expected, seen)
            alarms += bool(said)
            wrong.update({one.kind.value for one in said})
            known = {(one.kind, one.subject) for one in said}
            for name, plant in PLANTED.items():
                more = {(one.kind, one.subject) for one in found(expected, plant(seen, chance))}
                caught[name] += bool(more - known)
        print(f"\n{before} runs before, {now} now: {alarms / TIMES:.1%} false alarms ({dict(wrong)})")
        for name in PLANTED:
            print(f"  {caught[name] / TIMES:6.1%}  {name}")


if __name__ == "__main__":
    main()
