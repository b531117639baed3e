"""``refresh_token`` (OAuth 2.1 section 4.3): a program that a person has let in gets its next tokens."""

from __future__ import annotations

from tenure.oauth.grants.grant import Grant
from tenure.oauth.login import trade

GRANT_TYPE = "refresh_token"
GRANT = Grant(trade.renew, frozenset({"none"}))
