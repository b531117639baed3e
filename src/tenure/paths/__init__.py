"""Paths: the ways that runs go. Traces of one session or task are one run; its steps, loops folded, make the common
and the rare paths, and all of them together a graph."""
