"""What the suite raises on purpose; the command line shows it as one line."""

from __future__ import annotations


class BenchmarkError(Exception):
    """The suite cannot go on; the message says why and what to do."""
