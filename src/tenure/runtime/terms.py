"""What who runs an instance and the control plane agree on. Not in ``model``, which only the control plane loads."""

from __future__ import annotations

HEARTBEAT_S = 5.0
"""How often whoever runs an instance says that it lives, in seconds."""

MUST_BE_CONFINED = "must_be_confined"
"""Code of the refusal of an instance that would not be confined."""
