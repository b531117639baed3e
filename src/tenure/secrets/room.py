"""What the wiring needs to know of secrets."""

from __future__ import annotations

from tenure.base import keys
from tenure.base.room import Room, World
from tenure.secrets import service
from tenure.secrets.api import router
from tenure.secrets.flow import OUTDATE, REFRESH, REVOKE, REWRAP
from tenure.secrets.react import CONSUMER


def _start(world: World) -> None:
    keys.ensure(world.config)
    keys.keys_of(world.config)  # a variable that holds no key is refused now and not with the first secret


ROOM = Room(
    name="secrets",
    events={
        "secret.put": "A secret was kept; data: secret, version, hosts, programs",
        "secret.bounded": "Where a secret may go was changed; data: secret, hosts, programs",
        "secret.rotated": "A secret has a new value; data: secret, version, until (when the one before is forgotten)",
        "secret.outdated": "A version that was replaced is forgotten; data: secret, version",
        "secret.removed": "A secret was forgotten; data: secret, agents (that still named it)",
        "connector.put": "It was set up how people let agents in at an upstream; data: connector",
        "connector.removed": "A connector was forgotten, with every token that was got by it; data: connector",
        "connector.connected": "A person lets agents in that work for them; data: connector, person",
        "connector.disconnected": "A person lets them in no longer; data: connector, person",
        "connector.revoked": "The upstream has revoked the tokens of a person who lets agents in no longer; data: "
        "connector, person, attempts",
        "connector.not_revoked": "The upstream could not be had to revoke them: they are good there until they expire; "
        "data: connector, person, problem, attempts",
        "connector.refreshed": "A person's token was refreshed; data: connector, person",
        "connector.lost": "An upstream does not take a person's refresh token any more; data: connector, person",
        "secret.key.rotated": "There is a new key that data keys are wrapped by; data: key (its name)",
    },
    router=router,
    consumers=(CONSUMER,),
    flows=(REWRAP, OUTDATE, REFRESH, REVOKE),
    vet=service.vet,
    start=_start,
)
