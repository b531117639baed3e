"""Past calls decided again: by what decided them, and by policies that do not run yet."""
