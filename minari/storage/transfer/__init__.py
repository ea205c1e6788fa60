"""Moves the files of a dataset between a folder and a remote of whatever kind: checked, and again where it failed."""
