"""What others use of sequence rules: the language, the monitor, and how a history is handed from gateway to gateway."""

from __future__ import annotations

from tenure.sequences.history import (
    MAX_OPEN,
    History,
    Kept,
    Mark,
    Step,
    packed,
    read_step,
    take,
    unpacked,
)
from tenure.sequences.language import SUFFIX, SequenceRule, is_sequence, read_rules
from tenure.sequences.ledger import GRACE_S, TTL_S
from tenure.sequences.monitor import Finding, Look, Outcome, Sequences, Watched, history_of, judge, kept_of, marks_of

__all__ = [
    "GRACE_S",
    "MAX_OPEN",
    "SUFFIX",
    "TTL_S",
    "Finding",
    "History",
    "Kept",
    "Look",
    "Mark",
    "Outcome",
]
__all__ += [
    "SequenceRule",
    "Sequences",
    "Step",
    "Watched",
    "history_of",
    "is_sequence",
    "judge",
    "kept_of",
    "marks_of",
    "packed",
]
__all__ += ["read_rules", "read_step", "take", "unpacked"]
