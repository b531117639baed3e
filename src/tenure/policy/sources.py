"""Where a command finds policies: a file, a folder, or a folder as a git repository has it at a revision."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tenure.kernel.errors import Refused
from tenure.policy.cases import TAILS

_GIT_S = 60


@dataclass(frozen=True, slots=True)
class Source:
    """Files as the API wants them, and where they are from when that can be looked up again: a commit."""

    files: list[dict[str, str]]
    origin: str = ""


def read_source(place: str) -> Source:
    """``place``: a Cedar file, a folder of policies and their tests, or ``FOLDER@REVISION``: that folder as it is in a
    commit, a branch or a tag of the git repository it lies in, whatever is checked out. Raises Refused."""
    path = Path(place)
    if not path.exists() and "@" in place:
        folder, _, revision = place.rpartition("@")
        return _committed(Path(folder or "."), revision)
    paths = sorted(found for tail in TAILS for found in path.glob(f"*{tail}")) if path.is_dir() else [path]
    if not paths:
        raise Refused("no_policy_files", f"{path} holds no .cedar file.")
    try:
        return Source([{"name": file.name, "text": file.read_text(encoding="utf-8")} for file in paths])
    except (OSError, UnicodeDecodeError) as error:
        raise Refused("unreadable_policy_file", f"{path} cannot be read: {error}.") from error


def _committed(folder: Path, revision: str) -> Source:
    if not folder.is_dir():
        raise Refused("unreadable_policy_file", f"There is no file {folder}@{revision}, and no folder {folder}.")
    commit = _git(folder, "rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}").strip()
    listed = _git(folder, "ls-tree", "--name-only", "-z", commit).split("\0")
    names = sorted(name for name in listed if name.endswith(TAILS))
    if not names:
        raise Refused("no_policy_files", f"{folder} holds no .cedar file at {revision}.")
    inside = _git(folder, "rev-parse", "--show-prefix").strip()
    files = [{"name": name, "text": _git(folder, "show", f"{commit}:{inside}{name}")} for name in names]
    return Source(files, f"git {inside or './'}@{commit}")


def _git(folder: Path, *words: str) -> str:
    try:
        done = subprocess.run(("git", "-C", str(folder), *words), capture_output=True, check=True, timeout=_GIT_S)
        return done.stdout.decode("utf-8")
    except FileNotFoundError as error:
        raise Refused("no_git", "The program git is not installed here.", fix="Name a folder instead.") from error
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode("utf-8", "replace").strip()
        raise Refused("unreadable_revision", f"git cannot read that: {said}") from error
    except (subprocess.TimeoutExpired, UnicodeDecodeError) as error:
        raise Refused("unreadable_revision", f"{folder} cannot be read with git: {error}") from error
