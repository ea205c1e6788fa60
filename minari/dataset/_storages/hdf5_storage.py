"""Public import path of :class:`HDF5Storage`."""

from minari._storages.hdf5.storage import HDF5Storage


__all__ = ["HDF5Storage"]
