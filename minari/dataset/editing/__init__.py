"""Edits of a dataset: the wanted changes, what they do to fields, and carrying them out."""
