"""What a session did before, as sequence rules see it: the language, the monitor, and who keeps which history."""
