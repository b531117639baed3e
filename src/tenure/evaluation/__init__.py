"""How good an agent is: recorded sessions, their outcomes, reliability figures, and replay through the live gateway.

What may not live here: a say in whether a call passes (that is policy), and the storing of traces (that is telemetry).
A figure without its interval and its n may not leave this room.
"""
