"""Pages where people decide and set the rules: what waits, what was corrected, policies, limits, breakers, tools."""
