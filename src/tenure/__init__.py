"""Tenure: the control plane for the working life of AI agents."""

__version__ = "0.1.0"
