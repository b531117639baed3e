"""Grant types of the token endpoint, each in a module of its own; ``table`` lists them. No route and no key is here."""
