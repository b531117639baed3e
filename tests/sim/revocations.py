"""An installation with three gateways, and agents that never stop calling a model."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from tests.sim.gateway import GatewayProcess, ProviderProcess
from tests.sim.installation import Installation
from tests.sim.manifests import manifest

_BODY = {"model": "echo", "messages": [{"role": "user", "content": "hello"}]}


@dataclass
class House:
    """The installation, its gateways (the first belongs to it) and where the agents' model is."""

    folder: Path
    tenure: Installation
    provider: ProviderProcess
    settings: dict[str, Any]
    further: dict[str, GatewayProcess] = field(default_factory=dict)

    @property
    def urls(self) -> list[str]:
        """Every gateway's address."""
        return [self.tenure.gateway, *(one.url for one in self.further.values())]

    def employ(self, name: str, **spec: Any) -> None:
        """An agent in staging that may ask the model ``echo`` and ``slow``."""
        named = [{"provider": "openai", "name": name, "base_url": self.provider.url} for name in ("slow", "wait-200")]
        declared = manifest(name, self.provider.url, models=named, **spec)
        declared["spec"]["model"]["name"] = "echo"
        self.tenure.employ(declared)

    def revoke(self, kind: str, subject: str) -> dict[str, Any]:
        """Revokes, and returns the answer."""
        with self.tenure.client() as client:
            wish = {"kind": kind, "subject": subject, "reason": "a test"}
            return client.post("/v1/revocations", dict[str, Any], wish)

    def signs(self) -> str:
        """The key that signs tokens now."""
        with self.tenure.client() as client:
            keys = client.get("/v1/keys", dict[str, Any])["keys"]
        return next(str(key["kid"]) for key in keys if key["signs_at"] and not key["retires_at"])

    def gateway(self, name: str) -> GatewayProcess:
        """Another gateway, on a folder of its own (again)."""
        place = self.folder / name
        place.mkdir(exist_ok=True)
        shutil.copy(self.tenure.folder / "gateway.token", place / "gateway.token")
        port: dict[str, Any] = (
            {"gateway_port": int(self.further[name].url.rpartition(":")[2])} if name in self.further else {}
        )
        self.further[name] = GatewayProcess(place, self.tenure.control_port, **self.settings, **port)
        return self.further[name]


@contextmanager
def house(
    folder: Path, *, gateways: int = 3, variables: Mapping[str, str] | None = None, **settings: Any
) -> Iterator[House]:
    """``settings`` are of the gateways and, by their variables, of the installation: ``snapshot_max_age_s``;
    ``variables`` are the installation's."""
    variables = dict(variables or {})
    if "snapshot_max_age_s" in settings:
        variables["TENURE_SNAPSHOT_MAX_AGE"] = str(settings["snapshot_max_age_s"])
    with ExitStack() as stack:
        provider = stack.enter_context(ProviderProcess())
        tenure = stack.enter_context(Installation(folder / "first", variables))
        found = House(folder, tenure, provider, settings)
        stack.callback(lambda: [one.stop() for one in found.further.values()])
        for number in range(1, gateways):
            found.gateway(f"gateway-{number}")
        yield found


@dataclass(frozen=True, slots=True)
class Answered:
    """One call: at which gateway, when it was begun and answered (monotonic seconds), with which status; 0 when the
    connection broke."""

    gateway: int
    begun: float
    ended: float
    status: int


class Load:
    """Calls at all gateways without a pause, ``each`` at once at every one, until ``stop``."""

    def __init__(self, urls: list[str], token: str, each: int = 2) -> None:
        self._urls, self._each = urls, each
        self.headers = {"authorization": f"Bearer {token}"}
        self.answers: list[Answered] = []
        self._going = True
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Returns when no call is on its way any more."""
        self._going = False
        self._thread.join(30)

    async def _run(self) -> None:
        await asyncio.gather(*(self._work(gateway) for gateway in range(len(self._urls)) for _ in range(self._each)))

    async def _work(self, gateway: int) -> None:
        async with httpx2.AsyncClient(timeout=30, trust_env=False) as http:
            while self._going:
                begun = time.monotonic()
                try:
                    answer = await http.post(
                        f"{self._urls[gateway]}/v1/chat/completions", json=_BODY, headers=self.headers
                    )
                    status = answer.status_code
                except httpx2.TransportError:
                    status = 0
                    await asyncio.sleep(0.01)
                self.answers.append(Answered(gateway, begun, time.monotonic(), status))

    def begun_after(self, moment: float) -> list[Answered]:
        """The calls that were begun after a moment."""
        return [one for one in self.answers if one.begun > moment]

    def seen(self, status: int) -> set[int]:
        """The gateways that have answered with a status."""
        return {one.gateway for one in self.answers if one.status == status}
