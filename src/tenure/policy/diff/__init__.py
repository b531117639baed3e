"""What a change of policies gives and takes."""
