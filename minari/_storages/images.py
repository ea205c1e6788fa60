"""Frames as JPEG, for datasets that choose it.

Frames are the same leaves as in the released format: uint8 boxes of two or three dimensions, the first
two at least 32, with the bounds 0 and 255.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable
from typing import Any, Final

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from minari._base.json_text import shortened
from minari.errors import DatasetCorruptError, EpisodeError, EpisodeTypeError, MissingDependencyError
from minari.spaces import (
    Column,
    ColumnPath,
    Columns,
    Leaf,
    SpaceCodec,
    codec_for,
    object_column,
    path_name,
    uniform_bound,
)


_SMALLEST_SIDE = 32
_SCAN, _END, _APPLICATION = b"\xff\xda", b"\xff\xd9", b"\xff\xe1"  # markers; the last one is that of Exif
_CHANNELS: Final[dict[str, tuple[int, ...]]] = {"L": (), "RGB": (3,)}
# An image of one color takes at least a bit for 64 values, and a progressive one has some scans.
_MOST_PER_BYTE: Final = 2048
_MOST_SCANS: Final = 256


def is_image_space(space: gym.Space[Any]) -> bool:
    """Return whether the values of a space are frames, which ``jpeg_encoding`` stores as JPEG.

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
        and (uniform_bound(leaf.low), uniform_bound(leaf.high)) == (0, 255)
    )


def image_leaves(*codecs: SpaceCodec, further: Iterable[Leaf] = ()) -> list[Leaf]:
    """Return the leaves that are stored as JPEG if that is chosen.

    JPEG has gray and color images; frames with another number of channels, such as stacked ones, are
    stored as they are.

    Args:
        codecs: of the spaces.
        further: leaves that are not those of a space.
    """
    leaves = [leaf for leaf in (*(leaf for codec in codecs for leaf in codec.leaves()), *further) if _is_image(leaf)]
    return [leaf for leaf in leaves if len(leaf.shape) == 2 or leaf.shape[2] in (1, 3)]


def encode_frames(frames: npt.NDArray[np.uint8]) -> Column:
    """Return JPEG byte strings of frames of shape (T, H, W) or (T, H, W, 1 or 3).

    Raises:
        EpisodeTypeError: the frames have another dtype and do not fit uint8.
        MissingDependencyError: Pillow is not installed.
    """
    image, _ = _pillow()
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
    """Return whether a stored column holds JPEG byte strings rather than arrays like the leaf."""
    if leaf.dtype != np.uint8 or column.shape[1:] == leaf.shape or not column.size:
        return False
    return column.dtype == object or (column.dtype == np.uint8 and column.ndim == 2)


def is_encoded_in(columns: Columns, leaf: Leaf) -> bool:
    """Return whether the columns of an episode have the leaf, as JPEG byte strings."""
    return leaf.path in columns and is_encoded(columns[leaf.path], leaf)


def decode_frames(column: Column, leaf: Leaf) -> npt.NDArray[np.uint8]:
    """Return frames of the leaf's shape from JPEG byte strings, or rows of a uint8 matrix.

    Raises:
        DatasetCorruptError: a row is not a JPEG, is cut off, or an image of another size.
    """
    try:
        encoded = [encoded_frame(frame, row, leaf.path) for row, frame in enumerate(column)]
        for row, frame in enumerate(encoded):
            _check_bytes(frame, row, leaf)
        frames = np.empty((len(encoded), *leaf.shape), dtype=np.uint8)
        pixels = frames[..., 0] if leaf.shape[2:] == (1,) else frames
        for row, frame in enumerate(encoded):
            pixels[row] = _pixels(_opened(frame, row, leaf), row, leaf)
    except _OddFrameError as error:
        raise _damaged(error) from error
    return frames


def check_frames(column: Column, leaf: Leaf) -> None:
    """Compare JPEG byte strings with the leaf, by their sizes and headers: no pixel is decoded.

    Raises:
        EpisodeError: one cannot be stored as a frame of the leaf; the text is a reason.
        MissingDependencyError: Pillow is not installed.
    """
    for row, frame in enumerate(column):
        if not isinstance(frame, bytes):
            raise _not_bytes(frame, row, leaf.path)
        _check_bytes(frame, row, leaf)
        _opened(frame, row, leaf)


def _check_bytes(frame: bytes, row: int, leaf: Leaf) -> None:
    """Raise unless a JPEG image of so many bytes can be like the leaf."""
    if not frame.rstrip(b"\0").endswith(_END):
        raise _OddFrameError(row, leaf.path, "is no JPEG image, or is cut off")
    if math.prod(leaf.shape) > _MOST_PER_BYTE * len(frame) or frame.count(_SCAN) > _MOST_SCANS:
        raise _OddFrameError(
            row, leaf.path, f"has {len(frame)} bytes, which cannot be those of an image like {leaf.shape}"
        )


def _opened(frame: bytes, row: int, leaf: Leaf) -> Any:
    """Return the image, of which no pixel is decoded yet; raise unless it is like the leaf."""
    _, plugin = _pillow()
    try:
        image = plugin.JpegImageFile(io.BytesIO(_without_exif(frame)))
        shape = (*image.size[::-1], *_CHANNELS.get(image.mode, (0,)))
    except Exception as error:  # Pillow raises exceptions of many types
        raise _no_image(row, leaf.path, error) from error
    if shape != (leaf.shape[:2] if leaf.shape[2:] == (1,) else leaf.shape):
        raise _OddFrameError(row, leaf.path, f"has the shape {shape}, expected {leaf.shape}")
    return image


def _pixels(image: Any, row: int, leaf: Leaf) -> npt.NDArray[np.uint8]:
    try:
        return np.asarray(image)
    except Exception as error:  # Pillow raises exceptions of many types
        raise _no_image(row, leaf.path, error) from error


def encoded_frame(frame: Any, row: int, path: ColumnPath) -> bytes:
    """Return the bytes of a frame in a column that is not decoded yet.

    Raises:
        DatasetCorruptError: it is neither bytes nor an array of bytes.
    """
    if isinstance(frame, bytes):
        return frame
    if isinstance(frame, np.ndarray) and frame.dtype == np.uint8 and frame.ndim == 1:
        return frame.tobytes()
    raise _damaged(_not_bytes(frame, row, path))


class _OddFrameError(EpisodeError):
    """A frame that cannot be decoded, or is not like its leaf."""

    def __init__(self, row: int, path: ColumnPath, problem: str) -> None:
        super().__init__(f"Frame {row} of {path_name(path)} {problem}")


def _not_bytes(frame: Any, row: int, path: ColumnPath) -> _OddFrameError:
    return _OddFrameError(row, path, f"is {shortened(frame)}, expected the bytes of a JPEG image")


def _no_image(row: int, path: ColumnPath, error: Exception) -> _OddFrameError:
    return _OddFrameError(row, path, f"is no JPEG image ({type(error).__name__}: {shortened(str(error))})")


def _damaged(error: _OddFrameError) -> DatasetCorruptError:
    return DatasetCorruptError(f"{error}; the file is damaged, so copy or download the dataset again.")


def _without_exif(frame: bytes) -> bytes:
    """Return the image without the Exif segments, which Pillow would parse and no frame needs."""
    if _APPLICATION not in frame:
        return frame
    kept, place = [frame[:2]], 2
    while frame[place : place + 1] == b"\xff" and frame[place : place + 2] != _SCAN:
        end = place + 2 + max(2, int.from_bytes(frame[place + 2 : place + 4], "big"))
        if frame[place : place + 2] != _APPLICATION:
            kept.append(frame[place:end])
        place = end
    return b"".join([*kept, frame[place:]])


def with_decoded_frames(columns: Columns, leaves: Iterable[Leaf]) -> Columns:
    """Return the columns with JPEG byte strings decoded to frames, wherever a leaf has them."""
    encoded = [leaf for leaf in leaves if is_encoded_in(columns, leaf)]
    if not encoded:
        return columns
    return {**columns, **{leaf.path: decode_frames(columns[leaf.path], leaf) for leaf in encoded}}


def _pillow() -> tuple[Any, Any]:
    """Import Pillow: the module that makes images, and that of the class that opens an image only as JPEG."""
    try:
        from PIL import Image, JpegImagePlugin  # noqa: PLC0415 (optional)
    except ImportError as error:
        raise MissingDependencyError(
            'JPEG frames need Pillow, which is not installed; run pip install "minari[image]".'
        ) from error
    return Image, JpegImagePlugin
