"""Whose word is taken for which agent: outside issuers and SPIFFE trust domains, as rules of a workspace."""
