"""Which processes run as which agent, and how they are started, watched and ended.

What an agent is and whether it may act is the registry's, what it may do in a call the gateway's. Neither may
live here.
"""
