"""Pictures prepared for files and terminals: their size, their palette, and PNG."""

from __future__ import annotations

import heapq
import struct
import zlib
from typing import Any, Final

import numpy as np
import numpy.typing as npt


__all__ = ["Palette", "png_bytes", "resized"]

_COLOR_TYPES: Final = {1: 0, 3: 2, 4: 6}  # of PNG, by the number of channels
_MOST_COLORS: Final = 256
_BITS: Final = 5  # of a channel, by which similar colors are grouped


def png_bytes(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Return pixels of shape (H, W, 3), or (H, W, 4) with transparency, as a PNG file.

    >>> png_bytes(np.zeros((1, 1, 3), np.uint8))[1:4]
    b'PNG'
    """
    height, width, channels = pixels.shape
    rows = np.zeros((height, 1 + width * channels), np.uint8)  # each begins with its filter: none
    rows[:, 1:] = pixels.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOR_TYPES[channels], 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 6)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def resized(pixels: npt.NDArray[np.uint8], height: int, width: int) -> npt.NDArray[np.uint8]:
    """Return pictures in another size: the mean of the pixels where they become smaller, repeated ones otherwise.

    >>> resized(np.array([[[0], [10], [20], [30]]], np.uint8), 1, 2).tolist()
    [[[5], [25]]]

    Args:
        pixels: shape (H, W, channels), or (n, H, W, channels).
        height: that of the result.
        width: likewise.
    """
    return _resized_along(_resized_along(pixels, height, pixels.ndim - 3), width, pixels.ndim - 2)


def _resized_along(pixels: npt.NDArray[np.uint8], size: int, axis: int) -> npt.NDArray[np.uint8]:
    old = pixels.shape[axis]
    if size >= old:
        return pixels if size == old else np.take(pixels, np.arange(size) * old // size, axis)
    starts = np.arange(size) * old // size
    counts = np.diff(np.append(starts, old)).reshape([-1 if place == axis else 1 for place in range(pixels.ndim)])
    sums = np.add.reduceat(pixels, starts, axis, np.uint32)
    means: npt.NDArray[np.uint8] = ((sums + counts // 2) // counts).astype(np.uint8)
    return means


class Palette:
    """Up to 256 colors that represent those of a picture, all of them if they are few enough.

    Otherwise the colors, of five bits a channel, are divided at the median of their widest channel until there are
    enough groups; a group has the mean of its colors.

    >>> palette = Palette(np.array([[[255, 0, 0], [0, 0, 255]]], np.uint8))
    >>> palette.colors[palette.indices(np.array([[[0, 0, 255]]], np.uint8))].tolist()
    [[[0, 0, 255]]]

    Args:
        pixels: those of one or several pictures, shape (…, 3).

    Attributes:
        colors: shape (n, 3), uint8.
    """

    def __init__(self, pixels: npt.NDArray[np.uint8]) -> None:
        flat = pixels.reshape(-1, 3).astype(np.int64)
        exact = np.unique(_keys(flat, 8))
        self._exact = exact if len(exact) <= _MOST_COLORS else None
        colors = _colors(exact, 8) if self._exact is not None else _median_cut(flat)
        self.colors: npt.NDArray[np.uint8] = colors.astype(np.uint8)
        self._of_key: npt.NDArray[np.uint8] | None = None

    def indices(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Return the place of the color of each pixel, or of one near it, in the palette, shape (…), uint8."""
        if self._exact is not None:
            keys = _keys(pixels.astype(np.int64), 8)
            places = np.minimum(np.searchsorted(self._exact, keys), len(self._exact) - 1)
            if np.array_equal(self._exact[places], keys):
                return places.astype(np.uint8)
        if self._of_key is None:
            half = 1 << 7 - _BITS
            self._of_key = self._nearest((_colors(np.arange(1 << 3 * _BITS), _BITS) << 8 - _BITS) + half)
        found: npt.NDArray[np.uint8] = self._of_key[_keys(pixels.astype(np.int64) >> 8 - _BITS, _BITS)]
        return found

    def _nearest(self, colors: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        own = self.colors.astype(np.float32)
        norms = (own**2).sum(axis=1)  # those of the colors do not matter
        places: npt.NDArray[np.int64] = (norms - 2 * (colors.astype(np.float32) @ own.T)).argmin(axis=1)
        return places.astype(np.uint8)


def _keys(colors: npt.NDArray[np.int64], bits: int) -> npt.NDArray[np.int64]:
    """Return colors of shape (…, 3) as numbers."""
    return colors[..., 0] << 2 * bits | colors[..., 1] << bits | colors[..., 2]


def _colors(keys: npt.NDArray[np.int64], bits: int) -> npt.NDArray[np.int64]:
    mask = (1 << bits) - 1
    return np.stack([keys >> 2 * bits, keys >> bits & mask, keys & mask], axis=-1)


def _median_cut(flat: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    keys, places, counts = np.unique(_keys(flat >> 8 - _BITS, _BITS), return_inverse=True, return_counts=True)
    colors = _colors(keys, _BITS)
    groups = [_ranked(np.arange(len(keys)), colors, counts, 0)]
    for number in range(1, _MOST_COLORS):
        if groups[0][0] == 0:  # all groups have one color
            break
        group = heapq.heappop(groups)[2]
        for place, half in enumerate(_halves(group, colors, counts)):
            heapq.heappush(groups, _ranked(half, colors, counts, 2 * number + place))
    group_of = np.zeros(len(keys), np.int64)
    for number, (_, _, group) in enumerate(groups):
        group_of[group] = number
    of_pixel = group_of[places.ravel()]
    sums = np.stack([np.bincount(of_pixel, flat[:, channel], len(groups)) for channel in range(3)], axis=1)
    return np.rint(sums / np.bincount(of_pixel, minlength=len(groups))[:, None]).astype(np.int64)


def _ranked(
    group: npt.NDArray[np.int64], colors: npt.NDArray[np.int64], counts: npt.NDArray[Any], number: int
) -> tuple[float, int, npt.NDArray[np.int64]]:
    """Return a group in the order in which groups are divided: those of many pixels of different colors first."""
    return -float(np.ptp(colors[group], axis=0).max()) * float(np.sqrt(counts[group].sum())), number, group


def _halves(
    group: npt.NDArray[np.int64], colors: npt.NDArray[np.int64], counts: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    channel = int(np.ptp(colors[group], axis=0).argmax())
    ordered = group[np.argsort(colors[group, channel], kind="stable")]
    total = np.cumsum(counts[ordered])
    middle = min(max(int(np.searchsorted(total, total[-1] / 2)), 1), len(group) - 1)
    return ordered[:middle], ordered[middle:]
