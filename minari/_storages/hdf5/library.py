"""h5py, loaded when it is needed: that takes longer than to write or to read a small dataset without."""

from __future__ import annotations

import importlib
from typing import Any


def plugins() -> Any:
    """The module :mod:`minari._storages.hdf5.plugins`, for the codecs that h5py or its plug-ins have."""
    return importlib.import_module("minari._storages.hdf5.plugins")


def hdf5() -> Any:
    """The module :mod:`minari._storages.hdf5.h5py_io`, which does everything by way of h5py."""
    return importlib.import_module("minari._storages.hdf5.h5py_io")
