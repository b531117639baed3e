"""How a child process of the gateway is kept in: by bubblewrap where the system has it, else on a leash.

In the sandbox a server sees the machine's files as they are, read-only, and writes where its manifest says and in a
``/tmp`` of its own. The gateway's data folder is empty there, other processes do not exist, sockets under ``/run`` are
out of reach, it has no capabilities, and it ends with the gateway, whatever it started. It reaches the network unless
its manifest says otherwise.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tenure.base.box import bubblewrap
from tenure.kernel.errors import Failed
from tenure.kernel.snapshot import ServerFact

_LEASH = str(Path(__file__).with_name("leash.py"))


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
        problem = bubblewrap.trouble()
        if problem and self.mode == "required":
            raise Failed("upstream_unavailable", f"TENURE_SANDBOX is required, but {problem}.")
        return not problem

    def command(self, fact: ServerFact) -> tuple[str, list[str]]:
        """How ``fact``'s server is kept in (``sandbox``, ``leash`` or ``nothing``), and the command line that starts it
        so. Blocks for a moment the first time. Raises Failed."""
        if self.on:
            return "sandbox", [str(shutil.which("bwrap")), *bubblewrap.BASE, *self._mounts(fact), "--", *fact.command]
        if sys.platform == "linux":
            return "leash", [sys.executable, "-I", "-S", _LEASH, *fact.command]
        return "nothing", list(fact.command)

    def _mounts(self, fact: ServerFact) -> Iterator[str]:
        if not fact.network:
            yield "--unshare-net"
        here = Path(fact.cwd or Path.cwd()).resolve()
        named = (Path(part) for value in fact.env.values() for part in value.split(os.pathsep) if part[:1] == "/")
        names = Path("/etc/resolv.conf").resolve()  # often below /run
        yield from bubblewrap.shown([names, *bubblewrap.needed(fact.command, here, fact.env.get("PATH")), *named])
        hidden = [path.resolve() for path in self.hidden]
        for word in fact.write:
            path = (here / word).resolve()
            if not path.exists():
                raise Failed("upstream_unavailable", f"{path}, which it may write to, does not exist.")
            if any(path.is_relative_to(secret) for secret in hidden):
                raise Failed("upstream_unavailable", f"{path} is the gateway's own; no server may write there.")
            yield from ("--bind", str(path), str(path))
        yield from bubblewrap.hidden(hidden)
        yield from ("--chdir", str(here))
