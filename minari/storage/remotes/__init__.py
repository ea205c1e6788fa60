"""Remotes: the places that datasets are shared from, each named by an address such as ``file:///directory``.

:mod:`minari.storage.transfer.port` states what a remote does, :mod:`minari.storage.remotes.base` how one is made from
its address, and :mod:`minari.storage.remotes.object_storage` does most of it for stores of objects.
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
