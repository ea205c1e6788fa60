"""StorageHooks: what a storage format fills in, and nothing else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Container, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path as FilePath
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt

from minari._model.compression import Codec, Codecs, Compression, check_codec
from minari._storages.episode_writer import EpisodeWriter, ReplacingWriter
from minari._storages.paths import is_remote
from minari.errors import DataPathError
from minari.spaces import Columns, Path


Storage = TypeVar("Storage", bound="StorageHooks")


class StorageHooks(ABC):
    """What differs from one format to the next; :class:`MinariStorage` is built on it.

    A format has ``FORMAT`` and the hooks ``_read_columns``, ``_read_episode_metadata``, ``_writer`` and
    ``_count_episodes``; where it can compress, ``CODECS`` and ``FRAME_CODEC``. The others have defaults,
    which a format replaces where it can do better.
    """

    #: The name of the format.
    FORMAT: ClassVar[str]
    #: The codecs that columns can be compressed with, and the levels of each.
    CODECS: ClassVar[Codecs] = {}
    #: With what frames are compressed when nothing is said.
    FRAME_CODEC: ClassVar[Codec | None] = None
    #: Whether a dataset may lie in a store that fsspec knows, and not only in a folder of this computer.
    REMOTE: ClassVar[bool] = False

    #: Whether checksums of values lie in a hidden file, so that making them changes no file of the dataset.
    HIDDEN_CHECKSUMS: ClassVar[bool] = False

    #: Whether every read compares the values with the checksums that were made when they were written.
    verify_checksums: bool = False

    @abstractmethod
    def _read_columns(self, indices: Iterable[int]) -> Iterator[tuple[int, Columns]]:
        """Yield the columns of each episode, in the order of the indices, as they are stored.

        The arrays belong to the caller. Where :attr:`verify_checksums` is set, values that are not those
        that were written raise :class:`minari.errors.ChecksumError`.
        """

    def _view_columns(self, indices: Iterable[int]) -> Iterator[tuple[int, Columns]]:
        """Yield the same as read-only views of the files where the format has such, without a copy."""
        return self._read_columns(indices)

    def _read_leaves(self, indices: Iterable[int], paths: Container[Path]) -> Iterator[tuple[int, Columns]]:
        """Yield the same with no other columns than those of some paths; a format reads the others if it must."""
        for index, columns in self._read_columns(indices):
            yield index, {path: column for path, column in columns.items() if path in paths}

    def _episodes_without_checksums(self, indices: Iterable[int]) -> list[int]:
        """Return those of the episodes whose values cannot be verified, since nobody made checksums of them."""
        return list(indices)

    def _add_missing_checksums(self) -> int:
        """Make checksums of the values that have none, as they are now, without touching a value.

        Returns:
            The number of episodes whose values have checksums now and had none before.

        Raises:
            DatasetBusyError: another program is writing the dataset.
        """
        return 0

    @abstractmethod
    def _read_episode_metadata(self, indices: Iterable[int]) -> Iterator[dict[str, Any]]:
        """The metadata of each episode, nested, with ``id`` and ``total_steps``."""

    def _start(self) -> None:  # noqa: B027 (most formats need nothing)
        """Make what other programs expect beside the metadata of a dataset without episodes."""

    @abstractmethod
    def _writer(self) -> AbstractContextManager[EpisodeWriter]:
        """A writer, which nobody else can have at the same time."""

    def _rewriter(self) -> AbstractContextManager[EpisodeWriter]:
        """A writer whose episodes, from number 0 on, take the place of all that are there."""
        return self._replacing_one_by_one()

    @contextmanager
    def _replacing_one_by_one(self) -> Iterator[EpisodeWriter]:
        with self._writer() as writer:
            yield ReplacingWriter(writer)

    @abstractmethod
    def _count_episodes(self) -> int:
        """How many episodes the data hold, whatever the metadata say."""

    def _read_window(self, index: int, start: int, stop: int) -> Columns | None:
        """The columns of the steps from start to stop; None where the episode has to be read as a whole."""
        return None

    def _read_lengths(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The number of steps of each episode."""
        lengths = (metadata["total_steps"] for metadata in self._read_episode_metadata(indices.tolist()))
        return np.fromiter(lengths, dtype=np.int64, count=len(indices))

    def _first_reward_shape(self) -> tuple[int, ...] | None:
        """The shape of the reward of a step in the first episode, where the metadata do not say it.

        Only a format that other programs write has to look; None where it cannot tell.
        """
        return ()

    @classmethod
    def check_codec(cls, codec: Codec) -> None:
        """See whether the format can compress with a codec, here and now.

        Raises:
            CompressionError: it does not have the codec, or not at that level.
            MissingDependencyError: the codec needs a package that is not installed.
        """
        check_codec(codec, cls.CODECS, cls.FORMAT)

    @classmethod
    def check_compression(cls, compression: Compression) -> None:
        """See whether the format can carry out a choice; raises as :meth:`check_codec` does."""
        for codec in sorted(filter(None, compression.codecs), key=str):
            cls.check_codec(codec)

    @classmethod
    def _for_place(cls: type[Storage], path: FilePath) -> type[Storage]:
        """The format itself, which refuses a place where it cannot keep a dataset."""
        if is_remote(path) and not cls.REMOTE:
            raise DataPathError(
                f"The format {cls.FORMAT!r} keeps a dataset in a folder of this computer, and {path} is none; use the "
                f"format 'zarr', or give a folder."
            )
        return cls
