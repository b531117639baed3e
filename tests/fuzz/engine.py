"""One target under atheris, in a process of its own: ``python -m tests.fuzz.engine TARGET [libFuzzer's options]``.

Only what this project wrote is instrumented; the libraries below it have fuzzers of their own.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["tenure"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Hands over to libFuzzer, which ends the process."""
    target = TARGETS[sys.argv[1]]
    atheris.Setup([sys.argv[0], *sys.argv[2:]], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
