"""The two agents. Neither knows of Tenure: they read the wires that any agent reads from its environment."""
