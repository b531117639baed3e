"""Held calls and the people who decide them: one approval for one exact call, used once.

Deciding that a call must be held may not live here (policy), nor waiting for the answer (gateway).
"""
