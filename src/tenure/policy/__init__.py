"""The room that says no: Cedar policies in files, compiled, kept, and asked about every Call.

No list of granted tools (registry), no count of violations (breaker) and no state of an approval (approvals) may live
here: they reach a decision as facts of the Snapshot.
"""
