"""What the wiring needs to know of the registry."""

from __future__ import annotations

from tenure.base.room import Room
from tenure.registry.api import router
from tenure.registry.flow import PROVISION

ROOM = Room(
    name="registry",
    events={
        "agent.applied": "A manifest was applied and changed something; data: changed, release, pending_release",
        "agent.transitioned": "An agent moved along its life; data: from, to, reason, credential_epoch, forced",
        "agent.owner_changed": "Somebody else answers for an agent; data: role (owner or sponsor), before, now, reason",
        "agent.credentials_revoked": "Every credential of an agent was revoked; data: credential_epoch, reason",
        "release.created": "A release was recorded; data: digest",
        "release.approved": "A candidate release became current; data: digest, before, reason",
        "release.rejected": "A candidate release was dropped; data: digest, before, reason",
        "external_agent.imported": "The card of an agent elsewhere was taken; data: name, source, signature, kid, jku",
        "external_agent.removed": "An agent elsewhere was forgotten; data: name",
    },
    router=router,
    flows=(PROVISION,),
)
