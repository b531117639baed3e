"""Agents that nobody registered, found in what really happens. Nothing here waits for an agent to report itself."""
