"""Endpoints of the model APIs that no codec knows: what can be said of any of them."""
