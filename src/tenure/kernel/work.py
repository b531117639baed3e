"""Work that is given to an agent: by whom, within which bounds, for what; and how it is handed on. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from tenure.kernel.errors import Refused
from tenure.kernel.ids import session_trace
from tenure.kernel.scopes import Bound, joined
from tenure.kernel.snapshot import PeerGrant
from tenure.kernel.values import Autonomy, Principal

FREE = frozenset({Autonomy.AUTONOMOUS, Autonomy.NOTIFY})
"""Oversight under which work is handed on without a person's word for the very call."""


@dataclass(frozen=True, slots=True)
class Work:
    """What an agent was given to do. ``chain`` are the agents that handed it on, the first first, ``epochs`` those of
    their credentials; ``bounds`` must all cover what is done for it; ``task`` names it. ``by`` is where it was
    handed on, as a W3C traceparent. All empty: the agent's own."""

    chain: tuple[str, ...] = ()
    epochs: tuple[int, ...] = ()
    bounds: tuple[Bound, ...] = ()
    task: str | None = None
    by: str | None = None


OWN = Work()


def work_of(principal: Principal) -> Work:
    """What ``principal`` works on."""
    return Work(principal.chain, principal.chain_epochs, principal.bounds, principal.task, principal.handed_by)


def handed_on(parent: Principal, grant: PeerGrant, depth: int) -> Work:
    """What the agent of ``grant`` may do for ``parent``: no more than ``parent`` may, within the bounds of the grant.
    Raises Refused (403) for a chain of more than ``depth`` agents before the one that acts, and for a grant that takes
    a person's word each time: no token says for which call it was given."""
    if grant.autonomy not in FREE:
        raise Refused(
            "delegation_needs_approval",
            f"Each call of {parent.agent} to {grant.name} takes a person's word, and work is not handed on without it.",
            fix=f"Call {grant.name} through the gateway.",
            status=403,
        )
    if len(parent.chain) + 1 > depth:
        raise Refused(
            "delegation_too_deep",
            f"The work was handed on {len(parent.chain)} times already, which is the most.",
            fix="Let an agent that is nearer to the beginning do it.",
            status=403,
        )
    return Work(
        chain=(*parent.chain, parent.agent),
        epochs=(*parent.chain_epochs, parent.credential_epoch),
        bounds=joined(parent.bounds, grant.bounds),
        task=parent.task,
        by=parent.handed_by or "00-{}-{}-01".format(*session_trace(parent.workspace, parent.session)),
    )
