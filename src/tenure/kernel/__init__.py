"""Values only: the nouns every other package speaks. No I/O, no clock and no import of another room may live here."""
