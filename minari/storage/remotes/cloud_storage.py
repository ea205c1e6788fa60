"""The base class of remotes, under the name that 0.5.4 has for its module."""

from __future__ import annotations

from minari.storage.remotes.base import MAX_WORKERS, CloudStorage


__all__ = ["MAX_WORKERS", "CloudStorage"]
