"""The end and the renewal of credentials: revoked at once, rotated without anybody noticing. What a credential is and
when it is believed is identity's and the gateway's, and may not live here."""
