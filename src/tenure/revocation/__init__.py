"""What was revoked, as far as no other slice's own facts say it. Who may revoke, and what else goes with it, may not
live here: that is for ``credentials``."""
