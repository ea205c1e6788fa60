"""Base class of remotes, under the module name of 0.5.4."""

from __future__ import annotations

from minari.storage.remotes.base import MAX_WORKERS, CloudStorage


__all__ = ["MAX_WORKERS", "CloudStorage"]
