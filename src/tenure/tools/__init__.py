"""Tools: under which definitions those that agents were granted were accepted, and which are switched off.

Granting a tool may not live here (that is the manifest), nor refusing a call (policy does, from the facts made here).
"""
