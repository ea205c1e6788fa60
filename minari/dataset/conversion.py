"""Episodes of one dataset as another one: in another format, compressed otherwise, or only some of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from minari.dataset.compression import CompressionChoice
from minari.dataset.minari_storage import MinariStorage, PathLike
from minari.dataset.publication import new_dataset
from minari.dataset.storing import append_stored
from minari.dataset.versions import FORMAT_VERSION
from minari.storage.datasets_root_dir import get_dataset_path


# What describes one copy of a dataset, and is made anew for another.
_OF_ONE_COPY = frozenset(
    {"total_episodes", "total_steps", "dataset_size", "dataset_id", "minari_version", "data_format"}
    | {"observation_space", "action_space", "jpeg_encoding", "compression"}
)


def write_as_dataset(
    source: MinariStorage,
    indices: Sequence[int],
    dataset_id: str,
    data_format: str | None = None,
    *,
    compression: CompressionChoice = None,
    jpeg_encoding: bool | None = None,
    root: PathLike | None = None,
) -> Path:
    """Make a dataset of episodes of another, with all their metadata and all metadata of the dataset.

    Args:
        source: where the episodes are.
        indices: which of them, in this order.
        dataset_id: of the new dataset.
        data_format: by default that of the source.
        compression: as in :meth:`MinariStorage.new`; unless it is said, the choice for the source where
            the format stays the same, and stored bytes are copied as they are.
        jpeg_encoding: whether frames are JPEG; by default as they are in the source.
        root: of the catalogue; by default that of ``MINARI_DATASETS_PATH``.

    Returns:
        The folder of its data.

    Raises:
        DatasetIdError: the id is malformed.
        DatasetExistsError: there is a dataset of this id already.
        UnknownFormatError: no format has that name.
        CompressionError: the format does not have the codec, or there is no such column.
    """
    is_same = compression is None and data_format in (None, source.FORMAT)
    kept = {key: value for key, value in source._current.raw.items() if key not in _OF_ONE_COPY}
    with new_dataset(dataset_id, root) as data_path:
        storage = MinariStorage.new(
            data_path,
            source.observation_space,
            source.action_space,
            data_format=data_format or source.FORMAT,
            jpeg_encoding=source.jpeg_encoding if jpeg_encoding is None else jpeg_encoding,
            compression=source.compression if is_same else compression,
        )
        storage.update_metadata({**kept, "dataset_id": dataset_id, "minari_version": FORMAT_VERSION})
        append_stored(storage, [(source, indices)], as_stored=is_same)
    return get_dataset_path(dataset_id, root=root) / "data"
