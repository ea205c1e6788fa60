"""Where datasets live: on this machine and on remotes."""

from __future__ import annotations

from minari.storage.datasets_root_dir import get_dataset_path


__all__ = ["get_dataset_path"]
