"""Forgets histories in which nothing happened for long."""

from __future__ import annotations

from tenure.base.room import Flow
from tenure.sequences import service

FORGETTING = Flow("sequences.forgetting", service.overdue, service.forget, every=600.0)
