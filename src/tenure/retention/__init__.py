"""How long what was said is kept, and erasing what was said about somebody."""
