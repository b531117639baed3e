"""What every slice stands on: database, event log, leases, configuration, logging.

No knowledge of agents lives here.
"""
