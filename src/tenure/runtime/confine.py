"""An agent's process that is confined to its wires: what leads out of there, and how its environment says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tenure.base.box import ways
from tenure.base.box.confined import Confinement, Files, environment
from tenure.runtime import telemetry_gate

# Of a loopback that has nothing else: any two would do.
GATEWAY_PORT, TELEMETRY_PORT = 7710, 7700


@dataclass(frozen=True, slots=True)
class Wires:
    """Where the gateway and the control plane are: scheme, host and port."""

    gateway: str
    control: str

    @classmethod
    def of(cls, gateway_url: str, telemetry_url: str) -> Wires:
        """From the addresses that an instance is started with. Raises ValueError for one that is no address."""
        for url in (gateway_url, telemetry_url):
            ways.address_of(url)
        return cls(_origin(gateway_url), _origin(telemetry_url))

    def inside(self, env: Mapping[str, str]) -> dict[str, str]:
        """``env`` as it is inside: the same paths, at the ports of the loopback there."""
        found = dict(env)
        for origin, port in ((self.gateway, GATEWAY_PORT), (self.control, TELEMETRY_PORT)):
            for name, value in env.items():
                if value == origin or value.startswith(f"{origin}/"):
                    found[name] = f"http://127.0.0.1:{port}{value.removeprefix(origin)}"
        return environment(found)


def confine(command: Sequence[str], write: Sequence[Path], hidden: Sequence[Path]) -> Confinement:
    """How ``command`` is started so that it reaches the gateway and where its spans go. It writes to ``write``, and to
    the folder that it starts in unless that holds the person's own. Raises Refused."""
    here, home = Path.cwd().resolve(), Path.home().resolve()
    own = () if home.is_relative_to(here) else (here,)
    return Confinement(command, (GATEWAY_PORT, TELEMETRY_PORT), Files((*own, *write), tuple(hidden)))


def open_ways(confinement: Confinement, wires: Wires) -> bool:
    """Call it when the command was started. False when it ended before its ways could be opened."""
    listeners = confinement.started()
    if not listeners:
        return False
    gateway, telemetry = listeners
    ways.carry(gateway, wires.gateway)
    telemetry_gate.serve(telemetry, wires.control)
    return True


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
