"""What the gateways hear of histories: which of them keeps what a session did before."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HistoryFact:
    """A history that a gateway keeps (``sequences``). Keyed by ``lease``, which that gateway gave it.

    It holds for ``ttl_s`` seconds from when request number ``serial`` was made. ``state`` is what was before, until the
    keeper has asked again; ``late`` what others told of since, in order. ``wanted``: another gateway waits for it.
    ``lost`` names gateways that kept it and were not heard of again."""

    lease: str
    workspace: str
    history: str
    serial: int
    ttl_s: float
    state: str = ""
    late: tuple[str, ...] = ()
    wanted: bool = False
    lost: tuple[str, ...] = ()
