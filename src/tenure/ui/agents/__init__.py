"""Pages about agents: the fleet, one agent, its life, its owners, what it depends on, and agents nobody registered."""
