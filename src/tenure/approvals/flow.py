"""Ends waiting that has lasted too long."""

from __future__ import annotations

from tenure.approvals import escalation, service, standing
from tenure.base.room import Flow

EXPIRY = Flow("approvals.expiry", service.overdue, service.expire, every=1.0)
ESCALATION = Flow("approvals.escalation", escalation.due, escalation.climb, every=1.0)
STAND_INS = Flow("approvals.stand_ins", standing.over, standing.note_over, every=5.0)
