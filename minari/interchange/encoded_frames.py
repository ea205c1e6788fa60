"""Frames that stay JPEG byte strings on their way into a dataset, or out of one.

Which leaves a dataset stores as JPEG follows from its spaces, all of them or none; so an import keeps frames encoded
only if all of these leaves are JPEG in the source, and nothing is ever encoded again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial, reduce
from itertools import islice
from operator import getitem
from typing import Any

import gymnasium as gym
import numpy as np

from minari._model.episode import EpisodeData, episode_of
from minari._model.episode_buffer import EpisodeBuffer
from minari._model.episode_codec import OBSERVATIONS, EpisodeCodec
from minari._storages.images import check_frames, decode_frames, image_leaves, is_encoded_in
from minari._storages.write_session import stored_episodes
from minari.dataset.minari_dataset import MinariDataset
from minari.errors import DatasetCorruptError
from minari.interchange.format import Report, Source
from minari.spaces import Column, ColumnPath, EpisodeColumns, Leaf


__all__ = [
    "as_columns",
    "check_encoded",
    "encoded_leaves",
    "encoded_paths",
    "episodes_as_stored",
    "frame_leaves",
    "is_encoded",
    "part_at",
]

_AT_ONCE = 64  # episodes whose metadata is read


def frame_leaves(observation_space: Any, action_space: Any) -> dict[ColumnPath, Leaf]:
    """Return the leaves that a dataset with these spaces stores as JPEG if it uses JPEG, by their paths."""
    codec = EpisodeCodec(observation_space, action_space)
    return {leaf.path: leaf for leaf in image_leaves(codec.observations, codec.actions)}


def encoded_leaves(source: Source) -> dict[ColumnPath, Leaf]:
    """Return the leaves of a source whose frames are encoded, by their paths."""
    if not source.encoded:
        return {}
    leaves = frame_leaves(source.observation_space, source.action_space)
    return {path: leaf for path, leaf in leaves.items() if path in source.encoded}


def part_at(tree: Any, path: ColumnPath) -> Any:
    """Return the part of nested observations at a path, which begins with ``"observations"``."""
    return reduce(getitem, path[1:], tree)


def is_encoded(values: Any) -> bool:
    """Return whether values are a column of byte strings, as of frames that stay encoded."""
    return (
        isinstance(values, np.ndarray) and values.dtype == object and len(values) > 0 and isinstance(values[0], bytes)
    )


def encoded_paths(
    spaces: tuple[gym.Space[Any], gym.Space[Any]], is_jpeg: Callable[[ColumnPath], bool], report: Report
) -> frozenset[ColumnPath]:
    """Return the paths of the frames that stay encoded, and note why: all that a dataset stores as JPEG, or none.

    Args:
        spaces: the observation space and the action space.
        is_jpeg: whether the first frame of observations at a path is JPEG.
        report: the report of the import.
    """
    leaves = frame_leaves(*spaces)
    others = [path for path in leaves if path[0] != OBSERVATIONS or not is_jpeg(path)]
    if leaves and not others:
        names = ", ".join("/".join(map(str, path)) for path in leaves)
        report.note("taken", f"the JPEG frames of {names} as they are, byte for byte (images='encoded')")
        return frozenset(leaves)
    reason = "none has the size and channels that a dataset stores as JPEG"
    if others:
        names = ", ".join("/".join(map(str, path)) for path in others)
        reason = f"a dataset stores all of its images as JPEG or none, and not all are JPEG here (others: {names})"
    report.note("taken", f"decoded frames in spite of images='encoded', since {reason}")
    return frozenset()


def check_encoded(episode: EpisodeBuffer, leaves: Mapping[ColumnPath, Leaf]) -> None:
    """Compare the encoded frames of an episode with their leaves, by their headers.

    Raises:
        ValueError: one is not like its leaf; the text is a reason.
    """
    for path, leaf in leaves.items():
        check_frames(part_at(episode.observations, path), leaf)


def as_columns(codec: EpisodeCodec, episode: EpisodeBuffer, leaves: Mapping[ColumnPath, Leaf]) -> EpisodeColumns:
    """Return the checked columns of an episode, with the frames of some leaves as they are.

    Args:
        codec: the codec of the dataset.
        episode: the episode.
        leaves: those whose frames are encoded.

    Raises:
        EpisodeError: as for :meth:`EpisodeCodec.encode`.
    """
    frames = {path: part_at(episode.observations, path) for path in leaves}
    observations = episode.observations
    for path, leaf in leaves.items():  # blank frames, which take no memory, let the codec check all the rest
        blank = np.broadcast_to(np.uint8(0), (len(frames[path]), *leaf.shape))
        observations = _with_part(observations, path[1:], blank)
    encoded = codec.encode(replace(episode, observations=observations))
    return replace(encoded, columns={**encoded.columns, **frames})


def _with_part(tree: Any, keys: ColumnPath, part: Column) -> Any:
    """Return nested values with another part."""
    if not keys:
        return part
    changed = _with_part(tree[keys[0]], keys[1:], part)
    if isinstance(tree, tuple):
        return tuple(changed if number == keys[0] else one for number, one in enumerate(tree))
    return {**tree, keys[0]: changed}


def episodes_as_stored(dataset: MinariDataset, keeps: Callable[[Leaf], bool]) -> Iterator[EpisodeData]:
    """Yield the episodes of a dataset, with JPEG frames of observations as the byte strings that are stored.

    Args:
        dataset: the dataset or view.
        keeps: whether the frames of a leaf are wanted so; others are decoded.

    Raises:
        DatasetCorruptError: the dataset is damaged.
    """
    storage, indices = dataset.storage, iter(dataset.episode_indices.tolist())
    while numbers := list(islice(indices, _AT_ONCE)):
        episodes = stored_episodes(storage, numbers, all_frames=False, all_stacks=True)
        for number, metadata, episode in zip(numbers, storage.get_episode_metadata(numbers), episodes, strict=True):
            columns = dict(episode.columns)
            for leaf in storage.image_leaves:
                if is_encoded_in(columns, leaf):
                    columns[leaf.path] = _kept_or_decoded(number, columns[leaf.path], leaf, keeps)
            yield episode_of(storage.episode_codec.fields(number, columns), partial(dict, metadata))


def _kept_or_decoded(number: int, column: Column, leaf: Leaf, keeps: Callable[[Leaf], bool]) -> Column:
    if leaf.path[0] != OBSERVATIONS or not keeps(leaf):
        return decode_frames(column, leaf)
    try:
        check_frames(column, leaf)
    except ValueError as error:
        raise DatasetCorruptError(
            f"Episode {number} is damaged ({error}); copy or download the dataset again."
        ) from error
    return column
