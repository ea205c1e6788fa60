"""Lazy import of h5py, which takes longer than writing or reading a small dataset without it."""

from __future__ import annotations

import importlib
from typing import Any


def plugins() -> Any:
    """Return the module :mod:`minari._storages.hdf5.plugins`, for the codecs of h5py and its plug-ins."""
    return importlib.import_module("minari._storages.hdf5.plugins")


def hdf5() -> Any:
    """Return the module :mod:`minari._storages.hdf5.h5py_io`, for access through h5py."""
    return importlib.import_module("minari._storages.hdf5.h5py_io")
