"""Bubblewrap: whether it works here, and the words on its command line that every sandbox has in common.

What is in such a sandbox sees the machine's files as they are, read-only, and a ``/tmp`` of its own; other processes do
not exist there, what is below ``/run`` is out of reach, it has no capabilities, and it ends with whoever started it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

BASE = (
    *("--die-with-parent", "--cap-drop", "ALL"),
    *("--unshare-user-try", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"),
    *("--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", "--tmpfs", "/run"),  # noqa: S108 (the sandbox's own)
)
"""What every sandbox begins with. Later words cover earlier ones."""

TRIAL_S = 10.0
"""Seconds that a trial may take."""

_COVERED = (Path("/tmp"), Path("/run"))  # noqa: S108 (as above)


@lru_cache(maxsize=1)
def trouble() -> str:
    """Why bubblewrap cannot be used here; empty when it can. Tries it, once."""
    program = shutil.which("bwrap")
    if program is None:
        return "bubblewrap (bwrap) is not installed"
    try:
        done = subprocess.run(
            [program, *BASE, "--unshare-net", "--", "true"], capture_output=True, timeout=TRIAL_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"bubblewrap cannot be run: {error}"
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        return f"bubblewrap does not work here: {said[-1] if said else f'exit code {done.returncode}'}"
    return ""


def needed(command: Sequence[str], here: Path, path: str | None = None) -> Iterator[Path]:
    """What ``command`` is started with: the folder it starts in, the paths among its words, and the installation
    (``PREFIX/bin/PROGRAM``) that its program is of, which may be a link out of it. ``path``: the PATH to find it by."""
    yield here
    program = shutil.which(command[0], path=path)
    if program is not None:
        found = here / program
        for at in (found, found.resolve()):
            yield at.parent.parent if at.parent.name == "bin" else at
    yield from (here / word for word in command if "/" in word)


def shown(paths: Iterable[Path]) -> Iterator[str]:
    """Words that make ``paths`` visible where the sandbox has a folder of its own; elsewhere they are so already."""
    done: list[Path] = []
    for path in sorted(set(paths)):  # a folder before what is in it
        covered = path not in _COVERED and any(path.is_relative_to(at) for at in _COVERED) and _exists(path)
        if covered and not any(path.is_relative_to(at) for at in done):
            done.append(path)
            yield from ("--ro-bind", str(path), str(path))


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a word that is no path at all, as a program's text may be
        return False


def hidden(paths: Iterable[Path]) -> Iterator[str]:
    """Words that make folders empty and files empty; they come last, so that nothing shows them again."""
    secrets = [path.resolve() for path in paths]
    for secret in secrets:
        if any(secret != other and secret.is_relative_to(other) for other in secrets):
            continue  # gone with the folder
        if secret.is_dir():
            yield from ("--tmpfs", str(secret), "--remount-ro", str(secret))
        elif secret.exists():
            yield from ("--ro-bind", os.devnull, str(secret))
