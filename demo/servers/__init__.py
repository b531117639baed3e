"""The two MCP servers that the demonstration's agents work with: a folder of files and a ledger in SQLite."""
