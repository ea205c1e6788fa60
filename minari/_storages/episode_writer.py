"""EpisodeWriter: how a storage format takes changes, one transaction at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from minari._model.metadata import DatasetMetadata
from minari.spaces import EpisodeColumns


if TYPE_CHECKING:
    from minari._storages.base import MinariStorage


class EpisodeWriter(ABC):
    """The hooks of a format for changing a dataset, for the time of one transaction.

    Nothing of what a writer is given can be seen before :meth:`commit`; without it everything is
    undone when the context of the writer ends.
    """

    @abstractmethod
    def append(self, first_index: int, episodes: Sequence[EpisodeColumns]) -> None:
        """Add episodes as number ``first_index`` and following."""

    @abstractmethod
    def replace(self, index: int, episode: EpisodeColumns) -> None:
        """Put an episode in the place of one that is there."""

    @abstractmethod
    def update_metadata(self, index: int, metadata: Mapping[str, Any]) -> None:
        """Set metadata of an episode that is there, leaving the other keys as they are.

        Where a key has a dict, the whole dict is replaced.
        """

    def copy_from(self, first_index: int, storage: MinariStorage, indices: Sequence[int]) -> bool:
        """Add episodes of another storage as they are stored; False where this format cannot."""
        return False

    @abstractmethod
    def size(self) -> int:
        """The number of bytes that the data will take, without ``metadata.json``."""

    @abstractmethod
    def commit(self, metadata: DatasetMetadata) -> None:
        """Make everything visible at once, together with the new metadata."""


class ReplacingWriter(EpisodeWriter):
    """Puts the episodes that are appended into the place of those that are there, one by one.

    Args:
        writer: of the format.
    """

    def __init__(self, writer: EpisodeWriter) -> None:
        self._writer = writer

    def append(self, first_index: int, episodes: Sequence[EpisodeColumns]) -> None:
        """Replace number ``first_index`` and following."""
        for index, episode in enumerate(episodes, first_index):
            self._writer.replace(index, episode)

    def replace(self, index: int, episode: EpisodeColumns) -> None:
        """See :class:`EpisodeWriter`."""
        self._writer.replace(index, episode)

    def update_metadata(self, index: int, metadata: Mapping[str, Any]) -> None:
        """See :class:`EpisodeWriter`."""
        self._writer.update_metadata(index, metadata)

    def size(self) -> int:
        """See :class:`EpisodeWriter`."""
        return self._writer.size()

    def commit(self, metadata: DatasetMetadata) -> None:
        """See :class:`EpisodeWriter`."""
        self._writer.commit(metadata)
