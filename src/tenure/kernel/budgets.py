"""What the gateways hear of limits: the limits themselves, what models cost, and the leases on what is left."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PriceFact:
    """What a model's tokens cost: nano-dollars (1e-9 US dollars) for a thousand of each kind. ``cached`` are those read
    from the provider's cache and ``written`` those put into it, both parts of the input."""

    input: int
    output: int
    cached: int
    written: int


@dataclass(frozen=True, slots=True)
class LimitFact:
    """At most ``amount`` of ``of`` in each ``per``: calls, tokens, input_tokens, output_tokens, or usd in nano-dollars.

    ``each`` says whose account a call is charged to: that of the ``agent``, the ``person`` it is made for, the
    ``chain`` (whoever is at its root), the ``tool`` or ``model`` that is called, or the one of the ``workspace``.
    ``only`` is a pattern that limits it to some of them; empty: each has an account of its own. The window is that of
    the calendar in time zone ``zone``, or else ``sliding``."""

    id: str
    of: str
    amount: int
    per: str
    each: str
    only: str = ""
    sliding: bool = False
    zone: str = "UTC"


@dataclass(frozen=True, slots=True)
class LeaseFact:
    """What a gateway may use up of one account. Keyed by ``id``, which the gateway gave it.

    ``granted`` is the sum of all it was ever granted under this id, after its request number ``serial``; it holds for
    ``ttl_s`` seconds from when that request was made. ``others`` is what was used of the account beside this lease.
    ``short``: there is less left than somebody wants, so what is not needed should be given back; ``retry_s`` is when
    more can be hoped for."""

    id: str
    workspace: str
    account: str
    serial: int
    granted: int
    ttl_s: float
    others: int = 0
    short: bool = False
    retry_s: float = 0.0
