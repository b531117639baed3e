"""What an agent's own program asks before it runs a tool that never crosses the gateway. Needs nothing but Python.

Deciding may not live here: the gateway does, by the workspace's policies. Without a gateway, the declared fail mode
holds.
"""

from tenure.sdk.door import Denied, Door, Drafted, Held, Ruling, Unreachable

__all__ = ["Denied", "Door", "Drafted", "Held", "Ruling", "Unreachable"]
