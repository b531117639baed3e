"""The policies that Tenure ships."""

from __future__ import annotations

from importlib import resources

import pytest

from tenure.policy.model import Bundle, compile_bundle


@pytest.fixture
def shipped() -> Bundle:
    """The shipped policies, compiled."""
    folder = resources.files("tenure.policy").joinpath("defaults")
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".cedar")), key=lambda file: file.name)
    return compile_bundle([(file.name, file.read_text()) for file in files])
