"""The tool wire: one virtual MCP server per agent. No decision is made here (``policy`` says no, through the pipeline),
and no message of an upstream is rebuilt: what this room does not know passes through unchanged."""
