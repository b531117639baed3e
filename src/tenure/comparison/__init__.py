"""Comparison: two runs side by side, step against step, and the first place where they part. It keeps no table, appends
no Event and judges neither run."""
