"""The formats keep what every format promises."""

from __future__ import annotations

from minari.testing import StorageConformance, register_memory_storage


register_memory_storage()


class TestHDF5(StorageConformance):
    data_format = "hdf5"


class TestMemory(StorageConformance):
    data_format = "memory"
