"""Prepared calls: what agents wanted to do and have not done, until a person has decided what becomes of it."""
