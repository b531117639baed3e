"""Traces go on to the tools that people look at them with: Phoenix, LangSmith, Langfuse, Weave, any OTLP receiver."""
