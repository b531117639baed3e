"""The grant types of the token endpoint. A new one is a module beside this and a line here."""

from __future__ import annotations

from collections.abc import Mapping

from tenure.oauth.grants import client_credentials
from tenure.oauth.grants.grant import Grant

GRANTS: Mapping[str, Grant] = {
    client_credentials.GRANT_TYPE: client_credentials.GRANT,
}
"""Grant type (RFC 6749) to what answers it."""
