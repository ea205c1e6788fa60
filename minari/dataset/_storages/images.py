"""Frames as JPEG, for datasets that ask for it.

Which leaves are frames follows the released format: uint8 boxes of two or three dimensions, the
first two at least 32, with the bounds 0 and 255.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from minari.errors import DatasetCorruptError, EpisodeTypeError, MissingDependencyError
from minari.spaces import Column, Columns, Leaf, SpaceCodec, codec_for, object_column, path_name


_SMALLEST_SIDE = 32


def is_image_space(space: gym.Space[Any]) -> bool:
    """Whether the values of a space are frames, which ``jpeg_encoding`` stores as JPEG.

    Example:
        >>> is_image_space(gym.spaces.Box(0, 255, (64, 64, 3), np.uint8))
        True
        >>> is_image_space(gym.spaces.Box(0, 255, (4, 64, 64), np.uint8))  # a stack of four frames
        False
    """
    if not isinstance(space, gym.spaces.Box):
        return False
    return _is_image(next(codec_for(space).leaves()))


def _is_image(leaf: Leaf) -> bool:
    return (
        leaf.dtype == np.uint8
        and leaf.low is not None
        and leaf.high is not None
        and len(leaf.shape) in (2, 3)
        and min(leaf.shape[:2]) >= _SMALLEST_SIDE
        and bool((leaf.low == 0).all() and (leaf.high == 255).all())
    )


def image_leaves(*codecs: SpaceCodec) -> list[Leaf]:
    """The leaves that are stored as JPEG where JPEG is asked for.

    JPEG knows grey and colour images; frames with another number of channels, such as stacked ones,
    stay as they are.
    """
    leaves = (leaf for codec in codecs for leaf in codec.leaves() if _is_image(leaf))
    return [leaf for leaf in leaves if len(leaf.shape) == 2 or leaf.shape[2] in (1, 3)]


def encode_frames(frames: npt.NDArray[np.uint8]) -> Column:
    """JPEG byte strings of frames of shape (T, H, W) or (T, H, W, 1 or 3).

    Raises:
        EpisodeTypeError: the frames are of another dtype, and do not fit uint8.
        MissingDependencyError: Pillow is not installed.
    """
    image = _pillow()
    pixels = frames.astype(np.uint8, copy=False)
    if pixels is not frames and not np.array_equal(pixels, frames):
        raise EpisodeTypeError(
            f"The frames are {frames.dtype} values that are not whole numbers from 0 to 255, which JPEG "
            f"needs; convert them to uint8."
        )
    encoded = []
    for frame in pixels:
        stream = io.BytesIO()
        image.fromarray(frame.squeeze(-1) if frame.shape[2:] == (1,) else frame).save(stream, format="JPEG")
        encoded.append(stream.getvalue())
    return object_column(encoded)


def is_encoded(column: Column, leaf: Leaf) -> bool:
    """Whether a stored column holds JPEG byte strings rather than arrays like the leaf."""
    if leaf.dtype != np.uint8 or column.shape[1:] == leaf.shape or not len(column):
        return False
    return column.dtype == object or (column.dtype == np.uint8 and column.ndim == 2)


def decode_frames(column: Column, leaf: Leaf) -> npt.NDArray[np.uint8]:
    """Frames of the leaf's shape from JPEG byte strings, or rows of a uint8 matrix.

    Raises:
        DatasetCorruptError: a row is no JPEG, or an image of another size.
    """
    image = _pillow()
    frames = np.empty((len(column), *leaf.shape), dtype=np.uint8)
    pixels = frames[..., 0] if leaf.shape[2:] == (1,) else frames
    for row, encoded in enumerate(column):
        try:
            frame = np.asarray(image.open(io.BytesIO(bytes(encoded))))
        except OSError as error:
            raise DatasetCorruptError(f"Frame {row} of {path_name(leaf.path)} is no JPEG image ({error}).") from error
        if frame.shape != pixels.shape[1:]:
            raise DatasetCorruptError(
                f"Frame {row} of {path_name(leaf.path)} has the shape {frame.shape}, expected {leaf.shape}."
            )
        pixels[row] = frame
    return frames


def with_decoded_frames(columns: Columns, leaves: Iterable[Leaf]) -> Columns:
    """The columns with JPEG byte strings turned into frames; which they are, their looks tell."""
    encoded = [leaf for leaf in leaves if leaf.path in columns and is_encoded(columns[leaf.path], leaf)]
    if not encoded:
        return columns
    return {**columns, **{leaf.path: decode_frames(columns[leaf.path], leaf) for leaf in encoded}}


def _pillow() -> Any:
    try:
        from PIL import Image  # noqa: PLC0415 (optional)
    except ImportError as error:
        raise MissingDependencyError(
            'JPEG frames need Pillow, which is not installed; run pip install "minari[image]".'
        ) from error
    return Image
