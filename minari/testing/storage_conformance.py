"""The guarantees of every storage format, as tests to inherit."""

from __future__ import annotations

from typing import ClassVar

from minari.testing.storage_suites.agents import MultiAgentSuite
from minari.testing.storage_suites.compression import CompressionSuite
from minari.testing.storage_suites.frames import FrameStackSuite, ImagesSuite
from minari.testing.storage_suites.metadata import MetadataSuite
from minari.testing.storage_suites.reading import ReadingSuite
from minari.testing.storage_suites.values import ValuesSuite
from minari.testing.storage_suites.writing import WritingSuite


class StorageConformance(
    ValuesSuite,
    ReadingSuite,
    WritingSuite,
    MetadataSuite,
    ImagesSuite,
    CompressionSuite,
    MultiAgentSuite,
    FrameStackSuite,
):
    """The tests of a storage format, for pytest.

    Inherit from it in a test module, in a class whose name begins with ``Test``, and set the name of the
    format, which must be registered (see :func:`minari.dataset._storages.register_storage`). Frames need
    Pillow.

    Attributes:
        data_format: the format under test, as in ``MinariStorage.new(data_format=…)``.
    """

    data_format: ClassVar[str]
