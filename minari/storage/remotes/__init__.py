"""Remotes: the places that datasets are shared from, each named by an address such as ``file:///folder``."""

from __future__ import annotations

from minari.storage.remotes.cloud_storage import CloudStorage, RemoteDatasetNotFoundError
from minari.storage.remotes.registry import (
    DEFAULT_REMOTE,
    get_cloud_storage,
    get_remote_schemes,
    register_remote,
    split_address,
)


__all__ = [
    "DEFAULT_REMOTE",
    "CloudStorage",
    "RemoteDatasetNotFoundError",
    "get_cloud_storage",
    "get_remote_schemes",
    "register_remote",
    "split_address",
]
