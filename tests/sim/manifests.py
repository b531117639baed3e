"""Manifests for tests."""

from __future__ import annotations

from typing import Any


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
            "risk": {"data_sensitivity": 1, "decision_authority": 1, "blast_radius": 1, "regulatory_exposure": 1},
            **spec,
        },
    }
