"""Ends precedents, and keeps what runs and what is in force one."""

from __future__ import annotations

from tenure.base.room import Flow
from tenure.precedents import service

KEEP = Flow("precedents.keep", service.adrift, service.settle, every=1.0)
