"""The demonstration: two real agents, governed from request to retirement. Run it with ``make demo``."""
