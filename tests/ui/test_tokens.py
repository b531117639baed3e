"""Contrast of the design tokens, computed as WCAG 2.2 defines it, in both themes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import tenure.ui

SHEET = (Path(tenure.ui.__file__).parent / "static" / "tokens.css").read_text()
GROUNDS = ("ground", "surface", "sunk", "rail")
STATUSES = ("allowed", "flagged", "violation", "anomaly")
TEXT = [
    *((ink, ground) for ink in ("ink", "ink-2", "ink-3") for ground in GROUNDS),
    *(("ink", f"{name}-soft") for name in ("accent", "violation", "allowed")),
    *(("accent", ground) for ground in (*GROUNDS, "accent-soft", "violation-soft")),
    *((name, ground) for name in STATUSES for ground in ("ground", "surface", "sunk", f"{name}-soft")),
    ("accent-ink", "accent"),
    ("surface", "violation"),
    ("badge-ink", "flagged-fill"),
]
"""What is written on what: see console.css."""
SHAPES = [("focus", ground) for ground in (*GROUNDS, "accent-soft")]


def _block(start: str) -> dict[str, str]:
    body = SHEET[SHEET.index(start) :]
    return dict(re.findall(r"--([a-z0-9-]+):\s*(#[0-9a-f]{6})", body[: body.index("}")]))


LIGHT = _block("\n:root {")
DARK = LIGHT | _block(':root[data-theme="dark"]')


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """From 1 to 21."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize(("theme", "tokens"), [("light", LIGHT), ("dark", DARK)])
def test_text_is_readable_on_its_ground(theme: str, tokens: dict[str, str]) -> None:
    ratios = {f"{ink} on {ground}": contrast(tokens[ink], tokens[ground]) for ink, ground in TEXT}
    assert {pair: round(ratio, 2) for pair, ratio in ratios.items() if ratio < 4.5} == {}, theme
    shapes = {f"{shape} on {ground}": contrast(tokens[shape], tokens[ground]) for shape, ground in SHAPES}
    assert {pair: round(ratio, 2) for pair, ratio in shapes.items() if ratio < 3} == {}, theme


def test_the_dark_theme_is_the_same_whether_chosen_or_preferred() -> None:
    assert _block(':root:not([data-theme="light"])') == _block(':root[data-theme="dark"]')


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def test_the_sheet_names_no_colour_but_by_its_token() -> None:
    console = (Path(tenure.ui.__file__).parent / "static" / "console.css").read_text()
    assert re.findall(r":[^;{}]*#[0-9a-fA-F]{3,8}\b[^{}]*[;}]", console.partition("@media print")[0]) == []
