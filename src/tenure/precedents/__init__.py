"""Precedents: rules made from a person's approval. See README.md."""
