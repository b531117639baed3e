"""The typed HTTP client. The CLI, the console and evaluation reach the control plane through it alone."""

from tenure.client.http import AsyncClient, Client, ServerSentEvent

__all__ = ["AsyncClient", "Client", "ServerSentEvent"]
