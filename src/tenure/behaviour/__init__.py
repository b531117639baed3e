"""Behaviour: what is usual of an agent, learned from its traffic, and where it departs from it."""
