"""The grant types of the token endpoint. A new one is a module beside this and a line here."""

from __future__ import annotations

from collections.abc import Mapping

from tenure.oauth.grants import authorization_code, client_credentials, exchange, jwt_bearer, refresh_token
from tenure.oauth.grants.grant import Grant

GRANTS: Mapping[str, Grant] = {
    client_credentials.GRANT_TYPE: client_credentials.GRANT,
    authorization_code.GRANT_TYPE: authorization_code.GRANT,
    refresh_token.GRANT_TYPE: refresh_token.GRANT,
    exchange.GRANT_TYPE: exchange.GRANT,
    jwt_bearer.GRANT_TYPE: jwt_bearer.GRANT,
}
"""Grant type (RFC 6749) to what answers it."""
