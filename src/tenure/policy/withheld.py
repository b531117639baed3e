"""What is withheld all the same: granted tools that are switched off, or described as nobody has accepted it; and what
is taken out of calls that go on."""

from __future__ import annotations

from tenure.base.scan.rules import CLASSES
from tenure.kernel.fingerprint import Fingerprint, changed
from tenure.kernel.snapshot import ToolFact
from tenure.kernel.values import Decision
from tenure.policy.cedar import REDACT
from tenure.policy.system import TOOL_CHANGED, TOOL_DISABLED


def withheld(grant: ToolFact, definition: Fingerprint | None) -> tuple[str, str] | None:
    """The rule by which a grant is withheld now and the reason, None when it is not. ``definition`` is what its server
    describes the tool as; None for what has no definition (a resource, a prompt) and for a tool that its server does
    not offer, which cannot be called anyway. What a definition says of itself (its annotations) counts for nothing."""
    resource = f"{grant.server}/{grant.name}"
    if grant.off:
        return TOOL_DISABLED, f"{resource} is switched off: {grant.off}"
    if definition is None or (grant.pin is not None and grant.pin.digest == definition.digest):
        return None
    if grant.pin is not None:
        parts = changed(grant.pin, definition)
        what = f"its {_listed(parts)} changed" if parts else "it is another one"
        text = f"The definition of {resource} is not the one that was accepted: {what}."
    elif grant.seen:
        text = f"No person has accepted the definition of {resource} yet."
    else:
        return (
            TOOL_CHANGED,
            f"The definition of {resource} is not known to the control plane yet. Try again in a moment.",
        )
    return TOOL_CHANGED, f"{text} An approver decides: `tenure tools show {resource}`."


def _listed(words: tuple[str, ...]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def redactions(decision: Decision) -> frozenset[str]:
    """The classes and rules whose findings a decision wants taken out of what is sent."""
    return frozenset(
        name
        for word in decision.obligations
        for name in (CLASSES if word == "redact" else (word.removeprefix(REDACT),) if word.startswith(REDACT) else ())
    )
