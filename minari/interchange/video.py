"""Video files: frames by their presentation time."""

from __future__ import annotations

import os
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from minari._base.files import FilesBeneath
from minari._base.json_text import shortened
from minari._storages.arrow.limits import check_expansion
from minari.errors import InterchangeError
from minari.inspection.video import import_pyav


__all__ = ["VideoFile"]

_CODECS = frozenset({"av1", "ffv1", "h264", "hevc", "mjpeg", "mpeg4", "vp8", "vp9"})
_LARGEST_SIDE = 2**14
_SKIPPED = 5.0  # seconds from which on seeking takes less time than decoding what lies between


class VideoFile:
    """A video, whose frames are found by their presentation time; faster if they are asked for in order.

    Args:
        directory: the directory in which the file must lie.
        name: its name there.
        fps: frames per second: a frame is at most half its duration away from the time that is asked for.

    Raises:
        InterchangeError: it is not a video in an MP4 file.
        MissingDependencyError: PyAV is not installed.

    Attributes:
        shape: the shape of a frame, (H, W, 3).
        codec: name of the codec.
    """

    def __init__(self, directory: Path, name: str, fps: float) -> None:
        self.where, self._tolerance = str(directory / name), 0.5 / fps + 1e-4
        self._av = import_pyav()
        try:
            descriptor, self._size = FilesBeneath(str(directory)).open_sized(name)
            file = os.fdopen(descriptor, "rb")
            weakref.finalize(self, file.close)
            # The format is given, as others (playlists) name further files.
            self._container = self._av.open(file, format="mp4")
            self._stream = self._container.streams.video[0]
            context = self._stream.codec_context
            self.codec, self.shape = context.codec.canonical_name, (context.height, context.width, 3)
        except FileNotFoundError as error:
            raise InterchangeError(
                f"The video {self.where} is missing; copy or download the dataset with its videos."
            ) from error
        except (self._av.error.FFmpegError, OSError, ValueError, LookupError, AttributeError) as error:
            raise self._damaged(error) from error
        if self.codec not in _CODECS or not all(0 < side <= _LARGEST_SIDE for side in self.shape[:2]):
            raise self._damaged(f"it has {self.codec} frames of {self.shape[:2]}")
        self._frames: Any = None
        self._current: Any = None
        self._next: Any = None
        self._kept: tuple[float, npt.NDArray[np.uint8]] | None = None

    def _damaged(self, why: object) -> InterchangeError:
        return InterchangeError(
            f"The video {self.where} cannot be decoded ({shortened(str(why))[1:-1]}); it is damaged or incomplete, so "
            f"copy or download it again."
        )

    def frames_at(self, times: Sequence[float]) -> npt.NDArray[np.uint8]:
        """Return the frames at some increasing times in seconds, shape (N, H, W, 3).

        Raises:
            InterchangeError: there is no frame at a time, or the video is damaged.
        """
        try:
            check_expansion(len(times) * int(np.prod(self.shape)), self._size)
            frames = np.empty((len(times), *self.shape), np.uint8)
            for row, time in enumerate(times):
                if self._kept is None or self._kept[0] != time:
                    self._kept = time, self._pixels(self._nearest(time))
                frames[row] = self._kept[1]
        except (self._av.error.FFmpegError, OSError, ValueError, MemoryError) as error:
            if isinstance(error, InterchangeError):
                raise
            raise self._damaged(error) from error
        return frames

    def _pixels(self, frame: Any) -> npt.NDArray[np.uint8]:
        pixels: npt.NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
        if pixels.shape != self.shape:
            raise self._damaged(f"a frame has the shape {pixels.shape}, expected {self.shape}")
        return pixels

    def _nearest(self, time: float) -> Any:
        current = self._current
        if current is None or time < current.time - self._tolerance or time > current.time + _SKIPPED:
            self._seek(time)
            if self._current is not None and self._current.time > time + self._tolerance:
                self._seek(0.0)
        while self._next is not None and abs(self._next.time - time) <= abs(self._current.time - time):
            self._current, self._next = self._next, self._read()
        if self._current is None or abs(self._current.time - time) > self._tolerance:
            nearest = "none" if self._current is None else f"the nearest one is at {self._current.time:.4f} s"
            raise InterchangeError(
                f"The video {self.where} has no frame at {time:.4f} s ({nearest}); it is cut off, or belongs to "
                f"another version of the dataset."
            )
        return self._current

    def _seek(self, time: float) -> None:
        self._container.seek(max(0, int(time / self._stream.time_base)), stream=self._stream, backward=True)
        self._frames = self._container.decode(self._stream)
        self._current, self._next = self._read(), self._read()

    def _read(self) -> Any:
        """Return the next frame that has a time; None at the end."""
        return next((frame for frame in self._frames if frame.time is not None), None)
