"""Rate limits and budgets: how much may be used up in a window of time, and who may use up which part of what is left.

Deciding a Call may not live here (the gateway does, from the leases that this room grants), nor what a token costs.
"""
