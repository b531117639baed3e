"""Sends what is due."""

from __future__ import annotations

from tenure.base.room import Flow
from tenure.exports import service

SENDING = Flow("exports.sending", service.due, service.send)
