"""``authorization_code`` (OAuth 2.1 section 4.1.3): a program that a person has let in gets its first tokens."""

from __future__ import annotations

from tenure.oauth.grants.grant import Grant
from tenure.oauth.login import trade

GRANT_TYPE = "authorization_code"
GRANT = Grant(trade.redeem, frozenset({"none"}))
