"""Where people decided otherwise than agents, or than the rules alone would have: overrides and corrections."""
