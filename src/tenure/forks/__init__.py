"""Forks: a recorded run played again from a step with another prompt, model or policy. The model is called, tools are
answered from the record, and nothing is done."""
