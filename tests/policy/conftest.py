"""The policies that Tenure ships."""

from __future__ import annotations

from importlib import resources

import pytest

from tenure.policy.model import Bundle, compile_bundle


@pytest.fixture
def shipped() -> Bundle:
    """The shipped policies, compiled."""
    folder = resources.files("tenure.policy").joinpath("defaults")
    return compile_bundle([(file.name, file.read_text()) for file in sorted(folder.iterdir(), key=lambda f: f.name)])
