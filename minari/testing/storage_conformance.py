"""The guarantees of every storage format, as tests to inherit."""

from __future__ import annotations

from typing import ClassVar

from minari.testing._agents import MultiAgentSuite
from minari.testing._compression import CompressionSuite
from minari.testing._frames import FrameStackSuite, ImagesSuite
from minari.testing._metadata import MetadataSuite
from minari.testing._reading import ReadingSuite
from minari.testing._values import ValuesSuite
from minari.testing._writing import WritingSuite


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
