"""The pictures of an episode as a strip, an animated GIF or a video, without keeping more than some in memory."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from minari._base.atomic import atomic_file, write_atomically
from minari._base.json_text import shortened
from minari.errors import ArgumentError, MissingDependencyError
from minari.inspection.episode import EpisodeReader
from minari.inspection.images import Palette, png_bytes, resized
from minari.inspection.pictures import PictureLayout
from minari.inspection.video import VideoWriter


__all__ = ["Clip", "frames_per_second", "side_by_side", "write_gif", "write_mp4", "write_strip"]

_FPS: Final = 30.0
_MOST_FPS: Final = 1000.0
_MOST_GIF_FPS: Final = 50  # browsers slow faster ones down
_CHUNK: Final = 2**23  # bytes of the pictures that are decoded at once
_LEAST_HEIGHT: Final = 160  # of pictures in a file; smaller ones are enlarged
_MOST_WIDTH: Final = 2048  # of enlarged pictures
_LARGEST: Final = 8192  # side of a video or animation
_GAP: Final = 4  # pixels between pictures
_MOST_NAMES: Final = 8  # in a message
_SAMPLED: Final = 16  # pictures that the colors of a GIF are chosen from


def frames_per_second(*metadata: Mapping[str, Any]) -> float:
    """Return the number of steps per second by the metadata of an episode or dataset, 30 if they do not say.

    >>> frames_per_second({}, {"lerobot": {"fps": 10}}), frames_per_second({"render_fps": "fast"})
    (10.0, 30.0)

    Args:
        *metadata: the metadata, of which the first that has ``render_fps`` or ``fps``, also below ``lerobot``, counts.
    """
    for one in metadata:
        below = one.get("lerobot")
        for place in (one, below if isinstance(below, Mapping) else {}):
            for key in ("render_fps", "fps"):
                value = place.get(key)
                if (
                    isinstance(value, (int, float, np.integer, np.floating))
                    and type(value) is not bool
                    and 0 < value <= _MOST_FPS
                ):
                    return float(value)
    return _FPS


@dataclass(frozen=True, slots=True)
class Clip:
    """Pictures of an episode from one or several cameras, over some of its steps.

    Attributes:
        reader: of the episode.
        cameras: the name and the layout of each leaf of pictures.
        start: the first step; at step 0 is the picture of the reset.
        stop: the step after the last one.
    """

    reader: EpisodeReader
    cameras: Sequence[tuple[str, PictureLayout]]
    start: int
    stop: int

    @classmethod
    def of(
        cls, reader: EpisodeReader, names: Sequence[str] = (), start: int | None = None, stop: int | None = None
    ) -> Clip:
        """Return the clip of some cameras.

        Args:
            reader: of the episode.
            names: the leaves; by default all with pictures.
            start: the first step; None for that of the reset.
            stop: the step after the last one; None for all.

        Raises:
            ArgumentError: a leaf, or the episode, has no pictures, or there are no such steps.
        """
        leaves = [reader.leaf(name) for name in names] if names else reader.leaves
        cameras = [(leaf.name, leaf.picture) for leaf in leaves if leaf.picture is not None and reader.rows(leaf.name)]
        if not cameras or 0 < len(names) != len(cameras):
            raise _without_pictures(reader, names)
        last = max(int(reader.timesteps(name)[-1]) for name, _ in cameras)
        first = 0 if start is None else start
        end = last + 1 if stop is None else min(stop, last + 1)
        if not 0 <= first < end:
            raise ArgumentError(
                f"Episode {reader.number} has pictures at the steps 0 to {last}, of which the range from {first} to "
                f"{last + 1 if stop is None else stop} has none; give a range such as 0:{min(last + 1, 10)}."
            )
        return cls(reader, cameras, first, end)

    def __len__(self) -> int:
        return self.stop - self.start

    def spread(self, camera: str, most: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
        """Return up to ``most`` evenly spaced pictures of a camera, with the first and the last one.

        Returns:
            Their steps, shape (n,), and pixels, shape (n, H, W, 3).
        """
        steps = np.linspace(self.start, self.stop - 1, max(min(most, len(self)), 1)).round().astype(np.int64)
        return steps, self.reader.frames_at(camera, self._rows(camera)[steps - self.start])

    def frames(self, stride: int = 1) -> Iterator[npt.NDArray[np.uint8]]:
        """Yield the picture of each step, of shape (H, W, 3), with all cameras side by side.

        Small pictures are enlarged by a whole number, lower ones stand in the middle on black, and sides are even.

        Args:
            stride: yield only every so many pictures.
        """
        sizes = [_enlarged(picture) for _, picture in self.cameras]
        height, width = self.shape
        for pictures in zip(*(self._stream(name, stride) for name, _ in self.cameras), strict=True):
            whole = np.zeros((height, width, 3), np.uint8)
            left = 0
            for picture, (own_height, own_width) in zip(pictures, sizes, strict=True):
                top = (height - own_height) // 2
                whole[top : top + own_height, left : left + own_width] = resized(picture, own_height, own_width)
                left += own_width + _GAP
            yield whole

    @property
    def shape(self) -> tuple[int, int]:
        """Return height and width of what :meth:`frames` yields."""
        sizes = [_enlarged(picture) for _, picture in self.cameras]
        width = sum(side for _, side in sizes) + _GAP * (len(sizes) - 1)
        return _even(max(side for side, _ in sizes)), _even(width)

    def _stream(self, camera: str, stride: int) -> Iterator[npt.NDArray[np.uint8]]:
        rows = self._rows(camera)[::stride]
        most = max(_CHUNK // self.reader.leaf(camera).components, 1)
        for begin in range(0, len(rows), most):
            chunk = rows[begin : begin + most]
            if np.array_equal(chunk, np.arange(chunk[0], chunk[0] + len(chunk))):
                yield from self.reader.frames(camera, int(chunk[0]), int(chunk[-1]) + 1)
            else:
                yield from self.reader.frames_at(camera, chunk)

    def _rows(self, camera: str) -> npt.NDArray[np.int64]:
        """Return the row of a camera at each step: the latest one, or the first."""
        timesteps = self.reader.timesteps(camera)
        rows = np.searchsorted(timesteps, np.arange(self.start, self.stop), "right") - 1
        return np.maximum(rows, 0).astype(np.int64)


def _without_pictures(reader: EpisodeReader, names: Sequence[str]) -> ArgumentError:
    cameras = [leaf.name for leaf in reader.leaves if leaf.picture is not None and reader.rows(leaf.name)]
    if not cameras:
        return ArgumentError(
            f"Episode {reader.number} has no pictures, expected a leaf of them, such as a Box of bytes of shape "
            f"(84, 84, 3)."
        )
    other = next(name for name in names if name not in cameras)
    return ArgumentError(
        f"{shortened(other)} has no pictures, expected one of {', '.join(map(repr, cameras[:_MOST_NAMES]))}."
    )


def _enlarged(picture: PictureLayout) -> tuple[int, int]:
    """Return height and width of a picture in a file."""
    scale = max(min(-(-_LEAST_HEIGHT // picture.height), _MOST_WIDTH // picture.width), 1)
    return scale * picture.height, scale * picture.width


def _even(side: int) -> int:
    return side + side % 2


def side_by_side(pictures: Sequence[npt.NDArray[np.uint8]], gap: int) -> npt.NDArray[np.uint8]:
    """Return pictures of the same shape in a row, with a transparent gap between them.

    Returns:
        Pixels of shape (H, W, 4).
    """
    height, width = pictures[0].shape[:2]
    row = np.zeros((height, len(pictures) * (width + gap) - gap, 4), np.uint8)
    for place, picture in enumerate(pictures):
        row[:, place * (width + gap) :][:, :width] = np.dstack([picture, np.full((height, width), 255, np.uint8)])
    return row


def write_strip(path: Path, clip: Clip, most: int = 10) -> None:
    """Write evenly spaced pictures of a clip as PNG, those of a camera in a row, with their own pixels.

    Args:
        path: the file.
        clip: the pictures.
        most: the greatest number of pictures in a row.
    """
    rows = [side_by_side(list(clip.spread(name, most)[1]), _GAP) for name, _ in clip.cameras]
    height, width = sum(len(row) + _GAP for row in rows) - _GAP, max(row.shape[1] for row in rows)
    whole = np.zeros((height, width, 4), np.uint8)
    top = 0
    for row in rows:
        whole[top : top + len(row), : row.shape[1]] = row
        top += len(row) + _GAP
    write_atomically(path, png_bytes(whole))


def _check_size(clip: Clip) -> None:
    if max(clip.shape) > _LARGEST:
        raise ArgumentError(
            f"The pictures of {', '.join(name for name, _ in clip.cameras)} side by side have the shape {clip.shape}, "
            f"expected sides of at most {_LARGEST}; choose fewer cameras, or write a strip."
        )


def write_mp4(path: Path, clip: Clip, fps: float) -> None:
    """Write a clip as a video that all players show, see :meth:`Clip.frames`.

    Raises:
        ArgumentError: the pictures are too large.
        MissingDependencyError: PyAV is not installed.
    """
    _check_size(clip)
    with atomic_file(path) as partial, VideoWriter(partial, clip.shape, fps) as video:
        for pixels in clip.frames():
            video.write(pixels)


def write_gif(path: Path, clip: Clip, fps: float) -> None:
    """Write a clip as an animated GIF, see :meth:`Clip.frames`, that is repeated without end.

    Its 256 colors are those of some evenly spaced pictures, exactly if they have no more. Times are multiples of 10 ms,
    so that single pictures are shown a little longer or shorter than others; above 50 a second, some are left out.

    Raises:
        ArgumentError: the pictures are too large.
        MissingDependencyError: Pillow is not installed.
    """
    _check_size(clip)
    stride = -(-int(np.ceil(fps)) // _MOST_GIF_FPS)
    sampled = clip.frames(max(len(clip) // _SAMPLED, 1))
    palette = Palette(np.stack(list(sampled)))
    with atomic_file(path) as partial, partial.open("xb") as file:
        file.write(_gif_header(clip.shape, palette))
        before: npt.NDArray[np.uint8] | None = None
        for number, pixels in enumerate(clip.frames(stride)):
            indices = palette.indices(pixels)
            until, begin = (round(100 * stride * place / fps) for place in (number + 1, number))
            file.write(_gif_frame(indices, before, until - begin))
            before = indices
        file.write(b";")


def _gif_header(shape: tuple[int, int], palette: Palette) -> bytes:
    colors = np.zeros((256, 3), np.uint8)
    colors[: len(palette.colors)] = palette.colors
    screen = struct.pack("<HHBBB", shape[1], shape[0], 0xF7, 0, 0)  # 256 colors for all pictures
    return b"GIF89a" + screen + colors.tobytes() + b"!\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00"


def _gif_frame(indices: npt.NDArray[np.uint8], before: npt.NDArray[np.uint8] | None, delay: int) -> bytes:
    """Return a picture of an animated GIF: the rectangle in which it differs from the one before.

    Args:
        indices: colors of the pixels, shape (H, W).
        before: those of the picture before.
        delay: the time that it is shown, in 10 ms.
    """
    top, left, bottom, right = 0, 0, *indices.shape
    if before is not None:
        rows, columns = ((indices != before).any(axis=axis).nonzero()[0] for axis in (1, 0))
        top, bottom = (int(rows[0]), int(rows[-1]) + 1) if len(rows) else (0, 1)
        left, right = (int(columns[0]), int(columns[-1]) + 1) if len(columns) else (0, 1)
    control = struct.pack("<BBBBHBB", 0x21, 0xF9, 4, 1 << 2, delay, 0, 0)  # what is there stays
    place = struct.pack("<BHHHHB", 0x2C, left, top, right - left, bottom - top, 0)
    return control + place + _compressed(indices[top:bottom, left:right])


def _compressed(indices: npt.NDArray[np.uint8]) -> bytes:
    """Return the indices as the data of a picture in a GIF, out of one that Pillow has written."""
    stream = io.BytesIO()
    # As a gray picture, whose colors Pillow leaves in their order.
    import_pillow().fromarray(np.ascontiguousarray(indices)).save(stream, "GIF", optimize=False, interlace=0)
    data = stream.getvalue()
    place = 13 + _table_size(data[10])
    while data[place] == 0x21:  # an extension: its blocks, each after its length, end with an empty one
        place += 2
        while data[place]:
            place += 1 + data[place]
        place += 1
    return data[place + 10 + _table_size(data[place + 9]) : -1]


def _table_size(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def import_pillow() -> Any:
    """Return the module ``PIL.Image``.

    Raises:
        MissingDependencyError: Pillow is not installed.
    """
    try:
        from PIL import Image  # noqa: PLC0415 (optional)
    except ImportError as error:
        raise MissingDependencyError(
            'GIF needs Pillow, which is not installed; run pip install "minari[image]".'
        ) from error
    return Image
