"""One module per format of recorded sessions, each a pure function from bytes to sessions and from a session to Events.

No file is opened and nothing is sent here.
"""
