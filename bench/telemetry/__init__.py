"""What the trace store does with millions of spans, how fast, and in how much memory: ``python -m bench.telemetry``."""
