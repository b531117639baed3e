"""People who can answer for agents, and agents at work, on both databases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tenure.base.room import World
from tenure.identity import service as identity
from tenure.identity.people import add_person
from tenure.kernel.values import Actor, LifecycleState, Role
from tenure.registry import service as registry
from tests.sim.manifests import manifest

S = LifecycleState
URL = "http://127.0.0.1:9/v1"
DANA, ZOE, SAM = "dana@example.com", "zoe@example.com", "sam@example.com"
SYSTEM = Actor("default", "system:registry", frozenset({Role.SYSTEM}))


def person(email: str, *roles: Role) -> Actor:
    """Somebody who is logged in."""
    return Actor("default", f"person:{email}", frozenset(roles or {Role.OWNER}))


def clerk(name: str = "clerk", **spec: Any) -> dict[str, Any]:
    """Dana's agent, with a tool, a secret and a limit."""
    return manifest(name, URL, **{"sponsor": SAM, "budgets": {"usd_per_day": 5}, **spec})


@pytest.fixture
def house(world: World, operator: Actor) -> World:
    """Dana, Zoe and Sam can answer for agents; leo looks on; an operator is there."""
    add_person(world, operator, "op@example.com", ["operator", "owner"])
    for email in (DANA, ZOE, SAM):
        add_person(world, operator, email, ["owner"])
    add_person(world, operator, "leo@example.com", ["viewer"])
    return world


@pytest.fixture
def employ(house: World, operator: Actor) -> Callable[..., None]:
    """Takes an agent to staging, or wherever one says."""

    def work(name: str = "clerk", to: LifecycleState = S.STAGING, **spec: Any) -> None:
        registry.apply(house, operator, clerk(name, **spec))
        for state in (S.APPROVED, S.CREATED, S.PROVISIONED, S.STAGING, S.PRODUCTION):
            who = SYSTEM if state in (S.CREATED, S.PROVISIONED) else operator
            registry.transition(house, who, name, state, "a test asks")
            if state is to:
                return

    return work


def owner_of(world: World, name: str = "clerk", role: str = "owner") -> str:
    """Whose name stands beside it."""
    with world.read() as conn:
        return str(getattr(registry.the_agent(conn, "default", name), role))


def leave(world: World, operator: Actor, email: str) -> None:
    """Somebody goes."""
    with world.begin() as tx:
        identity.remove_person_in(world, tx, operator, email)
