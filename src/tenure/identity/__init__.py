"""Who is who: signing keys, agents' tokens, people, sessions. What anybody may do to an agent must not live here."""
