"""Secrets: the credentials that agents work with and never hold. They are kept under envelope encryption and handed to
gateways only, which attach them at the last hop.

What may be asked of an upstream may not be decided here (policy does), and nothing here ever gives a value back.
"""
