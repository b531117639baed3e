"""Forgets sums that count nowhere any more."""

from __future__ import annotations

from tenure.base.room import Flow
from tenure.limits import service

FORGETTING = Flow("limits.forgetting", service.overdue, service.forget, every=60.0)
