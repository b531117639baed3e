"""The model APIs: one folder with a pure codec for each wire, and one handler that forwards them all.

No decision is made here, and no byte of a request or an answer is changed.
"""
