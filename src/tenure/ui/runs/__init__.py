"""Pages about what happened: live, traces and sessions, the record and where it goes."""
