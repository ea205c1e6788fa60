"""``python -m benchmarks``."""

from __future__ import annotations

import sys


if __name__ == "__main__":
    try:
        from benchmarks.cli import app
    except ModuleNotFoundError as error:
        sys.exit(f'Error: {error.name} is not installed: run pip install -e ".[benchmarks]" in the checkout.')
    app(prog_name="python -m benchmarks")
