"""How a child process of the gateway is kept in: by bubblewrap where the system has it, else on a leash.

In the sandbox a server sees the machine's files as they are, read-only, and writes where its manifest says and in a
``/tmp`` of its own. The gateway's data folder is empty there, other processes do not exist, sockets under ``/run`` are
out of reach, it has no capabilities, and it ends with the gateway, whatever it started. It reaches the network unless
its manifest says otherwise.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tenure.kernel.errors import Failed
from tenure.kernel.snapshot import ServerFact

_LEASH = str(Path(__file__).with_name("leash.py"))
_BASE = (
    *("--die-with-parent", "--cap-drop", "ALL"),
    *("--unshare-user-try", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"),
    *("--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", "--tmpfs", "/run"),  # noqa: S108 (the sandbox's own)
)
_COVERED = (Path("/tmp"), Path("/run"))  # noqa: S108 (as above)
_TRIAL_S = 10.0


@lru_cache(maxsize=1)
def trouble() -> str:
    """Why bubblewrap cannot be used here; empty when it can. Tries it, once."""
    program = shutil.which("bwrap")
    if program is None:
        return "bubblewrap (bwrap) is not installed"
    try:
        done = subprocess.run(
            [program, *_BASE, "--unshare-net", "--", "true"], capture_output=True, timeout=_TRIAL_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"bubblewrap cannot be run: {error}"
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        return f"bubblewrap does not work here: {said[-1] if said else f'exit code {done.returncode}'}"
    return ""


@dataclass(frozen=True, slots=True)
class Sandbox:
    """``mode``: ``auto`` uses the sandbox where it works, ``required`` starts nothing without it, ``off`` does not use
    it. ``hidden`` are files and folders that no server sees."""

    mode: str = "off"
    hidden: tuple[Path, ...] = ()

    @property
    def on(self) -> bool:
        """Whether servers are started in it. Raises Failed where it is required and does not work."""
        if self.mode == "off":
            return False
        problem = trouble()
        if problem and self.mode == "required":
            raise Failed("upstream_unavailable", f"TENURE_SANDBOX is required, but {problem}.")
        return not problem

    def command(self, fact: ServerFact) -> tuple[str, list[str]]:
        """How ``fact``'s server is kept in (``sandbox``, ``leash`` or ``nothing``), and the command line that starts it
        so. Blocks for a moment the first time. Raises Failed."""
        if self.on:
            return "sandbox", [str(shutil.which("bwrap")), *_BASE, *self._mounts(fact), "--", *fact.command]
        if sys.platform == "linux":
            return "leash", [sys.executable, "-I", "-S", _LEASH, *fact.command]
        return "nothing", list(fact.command)

    @staticmethod
    def _needed(fact: ServerFact, here: Path) -> Iterator[Path]:
        """What a server is started with: its folder, the paths on its command line and in its settings, and the
        installation (``PREFIX/bin/PROGRAM``) that its program is of, which may be a link out of it."""
        yield Path("/etc/resolv.conf").resolve()  # often below /run
        yield here
        program = shutil.which(fact.command[0], path=fact.env.get("PATH"))
        if program is not None:
            found = here / program
            for at in (found, found.resolve()):
                yield at.parent.parent if at.parent.name == "bin" else at
        yield from (here / word for word in fact.command if "/" in word)
        yield from (Path(part) for value in fact.env.values() for part in value.split(os.pathsep) if part[:1] == "/")

    def _mounts(self, fact: ServerFact) -> Iterator[str]:
        if not fact.network:
            yield "--unshare-net"
        here = Path(fact.cwd or Path.cwd()).resolve()
        shown: list[Path] = []
        for path in sorted(set(self._needed(fact, here))):  # a folder before what is in it
            # what it is started with is there even where the sandbox has a folder of its own
            covered = path.exists() and any(path.is_relative_to(at) for at in _COVERED) and path not in _COVERED
            if covered and not any(path.is_relative_to(at) for at in shown):
                shown.append(path)
                yield from ("--ro-bind", str(path), str(path))
        hidden = [path.resolve() for path in self.hidden]
        for word in fact.write:
            path = (here / word).resolve()
            if not path.exists():
                raise Failed("upstream_unavailable", f"{path}, which it may write to, does not exist.")
            if any(path.is_relative_to(secret) for secret in hidden):
                raise Failed("upstream_unavailable", f"{path} is the gateway's own; no server may write there.")
            yield from ("--bind", str(path), str(path))
        for secret in hidden:  # last: nothing that was mounted before shows it again
            if any(secret != other and secret.is_relative_to(other) for other in hidden):
                continue  # gone with the folder
            if secret.is_dir():
                yield from ("--tmpfs", str(secret), "--remount-ro", str(secret))
            elif secret.exists():
                yield from ("--ro-bind", os.devnull, str(secret))
        yield from ("--chdir", str(here))
