"""Alerts: rules over what agents really did, told to people with what a person needs to act."""
