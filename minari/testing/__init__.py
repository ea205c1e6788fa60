"""Conformance tests for packages with their own storage formats, remotes, or formats of other programs.

:class:`StorageConformance`, :class:`RemoteConformance` and :class:`InterchangeConformance` are test classes to inherit
from;
:class:`MemoryStorage` is the format that others are compared with.

Example::

    # test_my_format.py
    from minari.testing import StorageConformance

    class TestMyFormat(StorageConformance):
        data_format = "my-format"
"""

from typing import TYPE_CHECKING

from minari._base.lazy import lazy_package
from minari.testing.memory_storage import MemoryStorage, register_memory_storage
from minari.testing.storage_conformance import StorageConformance


if TYPE_CHECKING:
    from minari.testing.interchange_conformance import InterchangeConformance
    from minari.testing.remote_conformance import RemoteConformance
else:
    # They import pytest, which the formats do not require.
    __getattr__, __dir__ = lazy_package(
        __name__,
        {
            "minari.testing.interchange_conformance": ("InterchangeConformance",),
            "minari.testing.remote_conformance": ("RemoteConformance",),
        },
    )

__all__ = [
    "InterchangeConformance",
    "MemoryStorage",
    "RemoteConformance",
    "StorageConformance",
    "register_memory_storage",
]
