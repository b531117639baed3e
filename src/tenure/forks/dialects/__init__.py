"""A conversation as the requests of model APIs, one module for each. Pure."""
