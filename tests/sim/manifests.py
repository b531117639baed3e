"""Manifests for tests."""

from __future__ import annotations

from typing import Any

RISK = ("data_sensitivity", "decision_authority", "blast_radius", "regulatory_exposure")
"""The dimensions of risk, each from 1 to 4."""


def manifest(name: str, model_url: str, **spec: Any) -> dict[str, Any]:
    """A whole manifest of an agent with one model and no tools; ``spec`` adds to it."""
    return {
        "apiVersion": "tenure/v1",
        "kind": "Agent",
        "metadata": {"name": name},
        "spec": {
            "purpose": "Is governed by a test",
            "owner": "dana@example.com",
            "sponsor": "finance@example.com",
            "framework": "openai",
            "model": {"provider": "openai", "name": "scripted-clerk", "base_url": model_url},
            "instructions": "Do what the test says.",
            "data_classes": ["internal"],
            "risk": dict.fromkeys(RISK, 1),
            **spec,
        },
    }
