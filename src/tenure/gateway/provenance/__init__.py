"""Where what led to a call came from: what a session has met, and which arguments are taken from it.

``docs/provenance.md`` says how it is judged. Only for agents in whose workspace a policy asks for it.
"""
