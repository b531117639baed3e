"""Anthropic's messages and token counts, and its errors. Nothing of another provider may live here."""
