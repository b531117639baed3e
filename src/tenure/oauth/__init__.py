"""The authorization server for agents: OAuth 2.1 in the control plane. See README.md."""
