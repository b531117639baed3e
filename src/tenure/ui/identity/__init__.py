"""Pages about who is who: accounts, people, programs, keys and secrets, and how they end."""
