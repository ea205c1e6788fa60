"""What a storage begins with: its metadata, and the compression of its columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium as gym

from minari._model.compression import Compression, CompressionChoice, is_frame
from minari._model.env_spec import env_spec_to_json, spaces_of
from minari._model.episode_codec import EpisodeCodec
from minari._storages.images import image_leaves
from minari.errors import SpaceError
from minari.spaces.serialization import serialize_space, space_classes


if TYPE_CHECKING:
    from minari._storages.base import MinariStorage


def metadata_of_new(
    observation_space: gym.Space[Any] | None,
    action_space: gym.Space[Any] | None,
    env_spec: Any,
    data_format: str,
    jpeg_encoding: bool,
) -> dict[str, Any]:
    """The metadata of a storage without episodes.

    Raises:
        SpaceError: a space is missing and there is no environment to ask.
    """
    if observation_space is None or action_space is None:
        if env_spec is None:
            raise SpaceError(
                "Without an env_spec both the observation space and the action space are needed; give "
                "observation_space and action_space."
            )
        env_observation_space, env_action_space = spaces_of(env_spec)
        # Not `or`: an empty Dict space counts as false.
        observation_space = env_observation_space if observation_space is None else observation_space
        action_space = env_action_space if action_space is None else action_space
    raw: dict[str, Any] = {
        "total_episodes": 0,
        "total_steps": 0,
        "data_format": data_format,
        "jpeg_encoding": bool(jpeg_encoding),
        "observation_space": serialize_space(observation_space),
        "action_space": serialize_space(action_space),
    }
    classes = {**space_classes(observation_space, ("observations",)), **space_classes(action_space, ("actions",))}
    if classes:
        raw["space_classes"] = classes  # a note for people: nothing is ever imported by it
    if env_spec is not None:
        raw["env_spec"] = env_spec_to_json(env_spec)
    return raw


def checked_compression(
    storage_type: type[MinariStorage], codec: EpisodeCodec, choice: CompressionChoice, jpeg_encoding: bool
) -> Compression:
    """A choice for the columns of a dataset, held against what its format can do.

    Raises:
        CompressionError: the format does not have the codec, or there is no such column.
        MissingDependencyError: the codec needs a package that is not installed.
    """
    compression = compression_of(storage_type, codec, choice, jpeg_encoding)
    storage_type.check_compression(compression)
    return compression


def compression_of(
    storage_type: type[MinariStorage], codec: EpisodeCodec, choice: CompressionChoice, jpeg_encoding: bool
) -> Compression:
    """A choice for the columns of a dataset.

    Args:
        storage_type: the format, which has its own codec for frames about which nothing is said.
        codec: of the spaces.
        choice: as a person gives it.
        jpeg_encoding: whether frames are JPEG, which is not compressed further.

    Raises:
        CompressionError: the choice names no codec, or a column that there is not.
    """
    spaces = codec.observations, codec.actions
    encoded = {leaf.path for leaf in image_leaves(*spaces)} if jpeg_encoding else set()
    leaves = [leaf for space in spaces for leaf in space.leaves()]
    return Compression(
        choice,
        frames=[leaf.path for leaf in leaves if is_frame(leaf)],
        frame_codec=storage_type.FRAME_CODEC,
        columns=[path for space in spaces for path in space.paths()],
        encoded=encoded,
    )
