"""What those who work on Tenure run: set-up and the pages that are generated from the code."""
