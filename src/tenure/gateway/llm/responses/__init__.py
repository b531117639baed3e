"""OpenAI's responses. Nothing of chat completions may live here but what both share."""
