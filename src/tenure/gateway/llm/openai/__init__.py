"""OpenAI's chat completions and embeddings, and its errors. Nothing of another provider may live here."""
