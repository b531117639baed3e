"""How long an action takes to reach an open page of the console. ``python -m bench.feed``."""
