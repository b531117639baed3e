"""Amounts as people read them."""

from __future__ import annotations

import pytest

from tenure.kernel.money import dollars


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        ("0", "$0.00"),
        ("1234.5", "$1,234.50"),
        ("0.129", "$0.13"),
        ("0.0412", "$0.041"),
        ("0.0000045", "$0.0000045"),
        ("0.00000451", "$0.0000045"),
    ],
)
def test_an_amount_shows_cents_or_as_many_digits_as_it_needs(amount: str, shown: str) -> None:
    assert dollars(amount) == shown
