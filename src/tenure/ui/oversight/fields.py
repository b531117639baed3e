"""What forms of held and prepared calls have in common."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tenure.kernel.errors import Refused


def changed_arguments(fields: Mapping[str, str]) -> Any:
    """The arguments as the person left them; None where they are as they were shown. Raises Refused (422)."""
    try:
        given, shown = json.loads(fields.get("arguments", "{}")), json.loads(fields.get("shown", "{}"))
    except ValueError as error:
        raise Refused("bad_arguments", f"These arguments are no JSON: {error}", status=422) from error
    if not isinstance(given, dict):
        raise Refused("bad_arguments", "Arguments are a JSON object.", status=422)
    return given if given != shown else None
