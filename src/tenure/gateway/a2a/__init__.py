"""A2A: messages and tasks between agents, over JSON-RPC and HTTP+JSON, governed as every other call is."""
