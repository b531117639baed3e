"""One question over agents, tools and policies: by words, and by meaning where an endpoint gives vectors."""
