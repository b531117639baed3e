"""Which agents there are, what they were declared to be, and where each stands in its working life.

What an agent does, who watches it and what it may do in a single call may not live here: this room holds
declarations and states, and hands them on as facts.
"""
