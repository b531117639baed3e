"""The model API (OpenAI's chat completions). Nothing that other kinds of call need may live here."""
