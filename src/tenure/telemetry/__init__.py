"""What happened: Events taken in, spans kept, the live feed, traces, sessions and figures.

No judgement lives here (who is drifting, what to block): rooms above read what this one keeps. ``model`` is read by
the gateway, so nothing that touches a database may be imported there.
"""
