"""Frames written as video, one after the other."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from minari.errors import MissingDependencyError


__all__ = ["VideoWriter", "import_pyav", "write_video"]


def import_pyav() -> Any:
    """Return the module ``av``.

    Raises:
        MissingDependencyError: PyAV is not installed.
    """
    try:
        import av  # noqa: PLC0415 (optional)
    except ImportError as error:
        raise MissingDependencyError(
            'Video needs PyAV, which is not installed; run pip install "minari[video]".'
        ) from error
    return av


class VideoWriter:
    """Context manager that writes frames as an MP4 file of H.264, which is lossy, without keeping them in memory.

    All players show it if both sides are even; then colors have half the resolution. If one is odd, they have that of
    the frames, and some players show nothing.

    Args:
        path: the new file.
        shape: height and width of the frames.
        fps: frames per second.
        keyframes: the distance of frames that are decoded without others; a small one makes seeking fast.

    Raises:
        MissingDependencyError: PyAV is not installed.
    """

    def __init__(self, path: Path, shape: tuple[int, int], fps: float, *, keyframes: int = 250) -> None:
        height, width = shape
        self._av, rate = import_pyav(), Fraction(fps).limit_denominator(1001)
        self._container = self._av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"})
        self._stream = self._container.add_stream("libx264", rate=rate, options={"crf": "18", "g": str(keyframes)})
        self._stream.width, self._stream.height = width, height
        self._stream.pix_fmt = "yuv444p" if height % 2 or width % 2 else "yuv420p"
        self._stream.time_base = self._tick = 1 / rate
        self._written = 0

    def __enter__(self) -> VideoWriter:
        return self

    def write(self, pixels: npt.NDArray[np.uint8]) -> None:
        """Write one frame of shape (H, W, 3)."""
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        frame.pts, frame.time_base = self._written, self._tick
        self._container.mux(self._stream.encode(frame))
        self._written += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what the encoder holds back, and close the file."""
        try:
            if kind is None:
                self._container.mux(self._stream.encode())
        finally:
            self._container.close()


def write_video(path: Path, frames: npt.NDArray[np.uint8], fps: float) -> None:
    """Write frames of shape (T, H, W, 3) as video in which every second one is decoded alone, for random access.

    Args:
        path: the new file.
        frames: the frames.
        fps: frames per second.
    """
    with VideoWriter(path, frames.shape[1:3], fps, keyframes=2) as video:
        for pixels in frames:
            video.write(pixels)
