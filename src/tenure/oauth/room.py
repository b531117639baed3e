"""The authorization server, as the wiring sees it."""

from __future__ import annotations

from tenure.base.room import Room
from tenure.oauth.api import router
from tenure.oauth.flow import FORGET

ROOM = Room(
    name="oauth",
    events={
        "agent_key.added": "A public key was registered that an agent proves itself with. Data: key (its thumbprint), "
        "kid, name, expires_at.",
        "agent_key.revoked": "A key of an agent ended, with every token that it was shown for. Data: key.",
        "token.refused": "The token endpoint gave no token. Data: error (as in RFC 6749), why, client (as it calls "
        "itself), grant_type, client.address.",
    },
    router=router,
    flows=(FORGET,),
)
