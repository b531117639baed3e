"""How a child process is kept in: bubblewrap's part that gateway and runtime share, and processes that are confined to
a few addresses. Knows nothing of agents."""
