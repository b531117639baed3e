"""Scanning and redaction: what in a text is a secret, personal data, a way out or an attack. Pure, no I/O, no state but
the compiled rules."""
