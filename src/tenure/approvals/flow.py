"""Ends waiting that has lasted too long."""

from __future__ import annotations

from tenure.approvals import service
from tenure.base.room import Flow

EXPIRY = Flow("approvals.expiry", service.overdue, service.expire, every=1.0)
