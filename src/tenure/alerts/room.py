"""What the wiring needs to know of alerts."""

from __future__ import annotations

from tenure.alerts.api import router
from tenure.alerts.flow import FORGETTING, LOOK
from tenure.base.room import Room

ROOM = Room(
    name="alerts",
    events={
        "alert.raised": "A rule began to hold; data: alert, rule, severity, words (the figures), cause",
        "alert.over": "What an alert was about has not held for a while; data as alert.raised",
        "alert.seen": "Somebody looks after an alert; data: alert, rule, note, quiet_until",
        "alerts.rule_set": "Somebody set a rule; data: name, off",
        "alerts.rule_removed": "Somebody removed a rule of the workspace's own; data: name",
    },
    router=router,
    flows=(LOOK, FORGETTING),
)
