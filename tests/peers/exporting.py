"""What every agent here does first: its spans go where its environment says, as part of the trace it was started in.

Runs in the environments of the peers: nothing of Tenure and nothing of its requirements is to be had here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as Grpc
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as Http
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator


@contextmanager
def tracing() -> Iterator[TracerProvider]:
    """A provider whose spans have all been taken when this ends; the exporter reads the OTEL_* variables itself."""
    over_grpc = os.environ["OTEL_EXPORTER_OTLP_PROTOCOL"] == "grpc"
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Grpc(insecure=True) if over_grpc else Http()))
    trace.set_tracer_provider(provider)
    context.attach(TraceContextTextMapPropagator().extract({"traceparent": os.environ["TRACEPARENT"]}))
    try:
        yield provider
    finally:
        provider.shutdown()
