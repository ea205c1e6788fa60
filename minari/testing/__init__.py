"""What a package that brings a storage format of its own tests it with.

:class:`StorageConformance` is a class of tests to inherit from, :class:`MemoryStorage` the format that
others are compared with.

Example::

    # test_my_format.py
    from minari.testing import StorageConformance

    class TestMyFormat(StorageConformance):
        data_format = "my-format"
"""

from minari.testing.memory_storage import MemoryStorage, register_memory_storage
from minari.testing.storage_conformance import StorageConformance


__all__ = ["MemoryStorage", "StorageConformance", "register_memory_storage"]
