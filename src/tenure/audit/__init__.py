"""The chain of what was done and decided. What was said (prompts, arguments, results) must not live here."""
