"""How often attribution names the agent and the step that people named: ``python -m bench.attribution``."""
