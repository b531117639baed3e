"""Which addresses a request may go to that somebody else has asked for. Pure."""

from __future__ import annotations

import ipaddress

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def is_public(address: str, *, loopback: bool = False) -> bool:
    """Whether an IP address is one of the public network (or of this machine, with ``loopback``). Never one that only
    this network reaches, nor one that hides such an address inside an IPv6 address."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None)
        if inner is not None:
            return is_public(str(inner), loopback=loopback)
        if found in _NAT64:
            return False
    if found.is_loopback:
        return loopback
    return found.is_global and not found.is_multicast and not found.is_reserved
