"""Episodes of one dataset as another one: in another format, compressed otherwise, or only some of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from minari._catalog.layout import get_dataset_path, new_dataset
from minari._model.compression import CompressionChoice
from minari._model.format_version import FORMAT_VERSION
from minari._model.metadata_json import MOST_METADATA, SPACES
from minari._storages.base import MinariStorage, PathLike, create_storage
from minari._storages.write_session import append_stored
from minari.errors import DatasetVersionError
from minari.spaces.serialization import described_types, serialize_space, with_written_bounds


# What describes one copy of a dataset, and is made anew for another.
_OF_ONE_COPY = frozenset(
    {"total_episodes", "total_steps", "dataset_size", "dataset_id", "minari_version", "data_format"}
    | {"observation_space", "action_space", "jpeg_encoding", "compression"}
)

_OLDER_RELEASE = "0.5"
_FORMATS_BEFORE = ("hdf5", "arrow", "parquet")
_NEW_SPACES = {"Sequence", "Graph", "OneOf"}


def write_as_dataset(
    source: MinariStorage,
    indices: Sequence[int],
    dataset_id: str,
    data_format: str | None = None,
    *,
    compression: CompressionChoice = None,
    jpeg_encoding: bool | None = None,
    compatible_with: str | None = None,
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
        compatible_with: ``"0.5"`` for what 0.5.4 reads; None for what this release does.
        root: of the catalogue; by default that of ``MINARI_DATASETS_PATH``.

    Returns:
        The folder of its data.

    Raises:
        DatasetIdError: the id is malformed.
        DatasetExistsError: there is a dataset of this id already.
        UnknownFormatError: no format has that name.
        CompressionError: the format does not have the codec, or there is no such column.
        DatasetVersionError: ``compatible_with`` is not a known release, or that release has no such format
            or space.
    """
    if compatible_with is not None:
        _check_compatible(source, data_format or source.FORMAT, compatible_with)
    is_same = compression is None and data_format in (None, source.FORMAT)
    kept = {key: value for key, value in source.stored_metadata.raw.items() if key not in _OF_ONE_COPY}
    with new_dataset(dataset_id, root) as data_path:
        storage = create_storage(
            data_path,
            source.observation_space,
            source.action_space,
            None,
            data_format or source.FORMAT,
            jpeg_encoding=source.jpeg_encoding if jpeg_encoding is None else jpeg_encoding,
            compression=source.compression if is_same else compression,
            durable=False,
        )
        if compatible_with is not None:
            _write_out_bounds(storage)
        storage.update_metadata({**kept, "dataset_id": dataset_id, "minari_version": FORMAT_VERSION})
        append_stored(storage, [(source, indices)], as_stored=is_same)
    return get_dataset_path(dataset_id, root=root) / "data"


def _check_compatible(source: MinariStorage, data_format: str, release: str) -> None:
    """Make sure that an earlier release has what a dataset needs.

    Raises:
        DatasetVersionError: it has not, or is not one that this release can write for.
    """
    if release != _OLDER_RELEASE:
        raise DatasetVersionError(f"compatible_with is {release!r}, expected {_OLDER_RELEASE!r} or None.")
    if data_format not in _FORMATS_BEFORE:
        raise DatasetVersionError(
            f"Releases {release} do not have the format {data_format!r}, expected one of {_FORMATS_BEFORE}; give "
            f"another data_format."
        )
    new = {kind for key in SPACES for kind in described_types(serialize_space(getattr(source, key)))} & _NEW_SPACES
    if new:
        raise DatasetVersionError(
            f"The dataset has spaces of the types {sorted(new)}, which releases {release} cannot read; convert it "
            f"without compatible_with."
        )


def _write_out_bounds(storage: MinariStorage) -> None:
    """Describe the spaces of a storage as earlier releases read them, with each bound of each number."""
    raw = storage.stored_metadata.raw
    changes = {key: with_written_bounds(raw[key], MOST_METADATA // 2) for key in SPACES}
    with storage.writing() as writer:
        writer.commit(storage.stored_metadata.updated(changes, allow_protected=True))
