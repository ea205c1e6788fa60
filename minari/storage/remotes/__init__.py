"""Remotes, from which datasets are shared, each with an address such as ``file:///directory``.

:mod:`minari.storage.transfer.port` declares the operations of a remote, :mod:`minari.storage.remotes.base` adds its
construction from an address, and :mod:`minari.storage.remotes.object_storage` implements object stores.
"""

from __future__ import annotations

from minari.storage.remotes.base import MAX_WORKERS, CloudStorage
from minari.storage.remotes.object_storage import ABSENT, ConflictError, ObjectStorage
from minari.storage.remotes.registry import (
    DEFAULT_REMOTE,
    get_cloud_storage,
    get_remote_class,
    get_remote_schemes,
    register_remote,
    split_address,
)
from minari.storage.transfer.remote_files import RemoteDatasetNotFoundError, RemoteFile, RemoteFileNotFoundError


__all__ = [
    "ABSENT",
    "DEFAULT_REMOTE",
    "MAX_WORKERS",
    "CloudStorage",
    "ConflictError",
    "ObjectStorage",
    "RemoteDatasetNotFoundError",
    "RemoteFile",
    "RemoteFileNotFoundError",
    "get_cloud_storage",
    "get_remote_class",
    "get_remote_schemes",
    "register_remote",
    "split_address",
]
