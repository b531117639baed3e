"""The breaker: too many violations in a window stop all of an agent's calls until an authorised person resets it.

Deciding a Call may not live here (policy does, from the tripped fact), nor what counts as a violation.
"""
