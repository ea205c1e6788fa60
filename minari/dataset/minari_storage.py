"""Public import path of :class:`MinariStorage`, and of what a custom storage format is built from."""

from minari._base.files import METADATA_FILE_NAME
from minari._storages.base import MinariStorage
from minari._storages.core import EpisodeWriter
from minari._storages.images import is_image_space
from minari._storages.paths import PathLike


__all__ = ["METADATA_FILE_NAME", "EpisodeWriter", "MinariStorage", "PathLike", "is_image_space"]
