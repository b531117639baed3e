"""Reaching people where they are: what must be told, to which destinations, until it has arrived; and answers by link.

Deciding that something happened may not live here (Events), nor whether a person may decide a held call (approvals).
"""
