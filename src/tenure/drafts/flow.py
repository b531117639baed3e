"""Ends the waiting for gateways."""

from __future__ import annotations

from tenure.base.room import Flow
from tenure.drafts import service

GIVE_UP = Flow("drafts.give_up", service.overdue, service.give_up, every=5.0)
