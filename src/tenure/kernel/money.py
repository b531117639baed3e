"""Amounts of money as people read them."""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal


def dollars(amount: str | Decimal) -> str:
    """US dollars: cents, or as many digits as a smaller amount needs to have two. ``amount`` is a decimal number."""
    value = Decimal(amount)
    if value == 0 or value >= 1:
        return f"${value:,.2f}"
    return f"${value:.{max(2, 1 - value.adjusted())}f}"


NANO = 10**9
"""Nano-dollars in a dollar: amounts that are added up are whole numbers of them, as a token may cost a few."""


def nano(amount: str | Decimal) -> int:
    """Whole nano-dollars, a fraction rounded up."""
    return int((Decimal(amount) * NANO).to_integral_value(ROUND_CEILING))


def of_nano(amount: int) -> Decimal:
    """US dollars."""
    return Decimal(amount) / NANO
