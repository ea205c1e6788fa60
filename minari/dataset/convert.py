"""Conversion of a dataset to another format or compression, or of some of its episodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from minari._catalog.layout import get_dataset_path, new_dataset
from minari._model.compression import CompressionChoice
from minari._model.format_version import FORMAT_VERSION
from minari._model.frame_stack import KEEP, FrameStackChoice
from minari._model.metadata import DEDUPLICATED, FRAME_LAYOUT, FRAME_STACK, REVISION, DatasetMetadata
from minari._model.recorded_with import VERIFICATION
from minari._storages.base import MinariStorage, PathLike, create_storage
from minari._storages.core import warn_about_whole_stacks
from minari._storages.write_session import append_stored


#: Properties of one copy of a dataset, which are determined again for another.
OF_ONE_COPY = frozenset(
    {"total_episodes", "total_steps", "dataset_size", "dataset_id", "minari_version", "data_format"}
    | {"observation_space", "action_space", "jpeg_encoding", "compression", "multi_agent", FRAME_STACK, DEDUPLICATED}
    | {FRAME_LAYOUT}
    | {REVISION, VERIFICATION}
)


def write_as_dataset(
    source: MinariStorage,
    indices: Sequence[int],
    dataset_id: str,
    data_format: str | None = None,
    *,
    compression: CompressionChoice = None,
    jpeg_encoding: bool | None = None,
    frame_stack: FrameStackChoice | None = None,
    compatible_with: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    root: PathLike | None = None,
) -> Path:
    """Create a dataset from episodes of another, with all metadata of the episodes and the dataset.

    Args:
        source: storage of the episodes.
        indices: the episodes, in this order.
        dataset_id: id of the new dataset.
        data_format: by default that of the source.
        compression: as in :meth:`MinariStorage.new`; by default, that of the source if the format stays the
            same, in which case stored bytes are copied unchanged.
        jpeg_encoding: True if frames are JPEG; by default as in the source.
        frame_stack: ``"deduplicate"`` to store each frame of stacks once, ``"keep"`` to store stacks as they are; by
            default as in the source, and ``"keep"`` for an earlier release.
        compatible_with: ``"0.5"`` for a dataset that 0.5.4 can read; None for this release.
        metadata: further metadata of the new dataset, which replaces that of the source.
        root: root of the catalog; by default that of ``MINARI_DATASETS_PATH``.

    Returns:
        The directory of its data.

    Raises:
        DatasetIdError: the id is malformed.
        DatasetExistsError: a dataset with this id already exists.
        UnknownFormatError: no format has that name.
        CompressionError: the format does not support the codec, or there is no such column.
        DatasetVersionError: ``compatible_with`` is not a known release, or that release does not support the
            format or a space.
    """
    if compatible_with is not None:
        frame_stack = KEEP if frame_stack is None else frame_stack
    is_same = compression is None and data_format in (None, source.FORMAT)
    kept = metadata_to_copy(source.current_metadata)
    with new_dataset(dataset_id, root) as data_path:
        storage = create_storage(
            data_path,
            source.observation_space,
            source.action_space,
            None,
            data_format or source.FORMAT,
            jpeg_encoding=source.jpeg_encoding if jpeg_encoding is None else jpeg_encoding,
            compression=source.compression if is_same else compression,
            frame_stack=source.frame_stack if frame_stack is None else frame_stack,
            compatible_with=compatible_with,
            like=[source] if is_same else [],
            durable=False,
        )
        storage.update_metadata(
            {**kept, **(metadata or {}), "dataset_id": dataset_id, "minari_version": FORMAT_VERSION}
        )
        append_stored(storage, [(source, indices)], as_stored=is_same)
        if source.frame_stack != storage.frame_stack:
            warn_about_whole_stacks(storage)
    return get_dataset_path(dataset_id, root=root) / "data"


def metadata_to_copy(metadata: DatasetMetadata) -> dict[str, Any]:
    """Return the metadata that a copy of a dataset has as well."""
    return {key: value for key, value in metadata.raw.items() if key not in OF_ONE_COPY}
