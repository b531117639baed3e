"""Versions of the policies that ever ran: their files, and what they decide."""

from __future__ import annotations

from tenure.base.room import World
from tenure.kernel.errors import Refused
from tenure.policy import store
from tenure.policy.cases import policies_of
from tenure.policy.model import Bundle, compile_bundle
from tenure.policy.words import SCHEMA


def version_files(world: World, workspace: str, version: str) -> tuple[tuple[str, str], ...]:
    """The files of any version that ever ran (Events carry its name). Raises Refused 404 for an unknown one."""
    return _version(world, workspace, version).files


def version_schema(world: World, workspace: str, version: str) -> str:
    """The Cedar schema that a version was written in. Raises Refused 404 for an unknown one."""
    return _version(world, workspace, version).schema or SCHEMA


def version_bundle(world: World, workspace: str, version: str) -> Bundle:
    """A version that ran, compiled in the words that it was written in: it has the same name, and decides as it did.
    Raises Refused 404 for an unknown one, ``policy_invalid`` for one that does not compile."""
    kept = _version(world, workspace, version)
    return compile_bundle(policies_of(kept.files), kept.schema or SCHEMA)


def _version(world: World, workspace: str, version: str) -> store.Version:
    with world.read() as connection:
        kept = store.version(connection, workspace, version)
    if kept is None:
        raise Refused("unknown_policy_version", f"No policies of version {version} ever ran here.", status=404)
    return kept
