"""The trace store: every Event as a row to query, behind one interface (``interface``) that several engines answer.

What an Event's row is (``rows``), what of it is content and lies under a key (``content``), and what is asked of the
rows (``questions``, ``looks``) is said once for all engines; an engine adds how rows are written, found and let go.
Nothing here knows of the event log, of HTTP or of who may ask: that is the slice's own ``service``.
"""
