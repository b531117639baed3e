"""OTLP, the wire on which agents tell of themselves: over gRPC and over HTTP, one intake behind both."""
