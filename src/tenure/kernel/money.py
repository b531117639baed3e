"""Amounts of money as people read them."""

from __future__ import annotations

from decimal import Decimal


def dollars(amount: str | Decimal) -> str:
    """US dollars: cents, or as many digits as a smaller amount needs to have two. ``amount`` is a decimal number."""
    value = Decimal(amount)
    if value == 0 or value >= 1:
        return f"${value:,.2f}"
    return f"${value:.{max(2, 1 - value.adjusted())}f}"
