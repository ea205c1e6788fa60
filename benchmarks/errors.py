"""Exception that the command line shows as a single line."""

from __future__ import annotations


class BenchmarkError(Exception):
    """A benchmark cannot run; the message has the reason and the remedy."""
