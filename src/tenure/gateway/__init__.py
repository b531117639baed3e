"""The gateway: every call of every agent, identified, decided, acted on and recorded, in a process of its own.

No database may be reached from here, nor anything that imports one: a gateway needs a Snapshot and a place to spool
Events. What is right or wrong for an agent is not decided here either; that is `policy`.
"""
