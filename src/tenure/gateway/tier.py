"""Who stands behind a call, as far as its caller can say: a header, on every wire, that takes the person away. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from tenure.kernel.values import Principal, tier_of

HEADER = "x-tenure-tier"


def tier(principal: Principal, headers: Mapping[str, str]) -> str:
    """The tier of a call (``kernel.values.tier_of``)."""
    return tier_of(principal, headers.get(HEADER, ""))
