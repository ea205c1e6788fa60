"""Arrays that are pictures: which ones are, and their conversion to RGB."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from minari.spaces import Leaf, uniform_bound


__all__ = ["PictureLayout", "as_rgb", "picture_layout"]

_LEAST_SIDE: Final = 8  # of a picture; smaller arrays are tables, as in MiniGrid
_CHANNELS: Final = (1, 3, 4)
_MOST_STACKED: Final = 16


@dataclass(frozen=True, slots=True)
class PictureLayout:
    """Layout of values that are pictures.

    Attributes:
        height: in pixels.
        width: in pixels.
        order: the dimensions of a value: ``"HW"``, ``"HWC"``, ``"CHW"``, or those of a stack of pictures, of which the
            last one is shown: ``"NHW"``, ``"NHWC"``.
        low: the value that is black.
        high: the value that is white.
    """

    height: int
    width: int
    order: Literal["HW", "HWC", "CHW", "NHW", "NHWC"]
    low: float = 0.0
    high: float = 255.0


def picture_layout(leaf: Leaf) -> PictureLayout | None:
    """Return how the values of a leaf are pictures; None if they are not.

    They are if their shape is that of pictures with 1, 3 or 4 channels, or of a stack of up to 16 of them, with sides
    of at least 8 pixels, and they are bytes or numbers between two finite bounds.
    """
    low, high = 0.0, 255.0
    if leaf.dtype != np.uint8:
        bounds = [None if bound is None else uniform_bound(bound) for bound in (leaf.low, leaf.high)]
        if leaf.dtype.kind not in "biuf" or any(bound is None for bound in bounds):
            return None
        low, high = map(float, bounds)  # type: ignore[arg-type]
        if not (np.isfinite(high - low) and low < high):
            return None
    return _layout_of(leaf.shape, low, high)


def _layout_of(shape: tuple[int, ...], low: float, high: float) -> PictureLayout | None:
    def are_sides(*sides: int) -> bool:
        return min(sides) >= _LEAST_SIDE

    if len(shape) == 2 and are_sides(*shape):
        return PictureLayout(*shape, "HW", low, high)
    if len(shape) == 3 and shape[2] in _CHANNELS and are_sides(*shape[:2]):
        return PictureLayout(*shape[:2], "HWC", low, high)
    if len(shape) == 3 and shape[0] in (1, 3) and are_sides(*shape[1:]):
        return PictureLayout(*shape[1:], "CHW", low, high)
    if len(shape) == 3 and 1 < shape[0] <= _MOST_STACKED and are_sides(*shape[1:]):
        return PictureLayout(*shape[1:], "NHW", low, high)
    if len(shape) == 4 and 1 <= shape[0] <= _MOST_STACKED and shape[3] in _CHANNELS and are_sides(*shape[1:3]):
        return PictureLayout(*shape[1:3], "NHWC", low, high)
    return None


def as_rgb(values: npt.NDArray[Any], layout: PictureLayout) -> npt.NDArray[np.uint8]:
    """Return pictures as RGB.

    Transparent pixels are shown on white.

    Args:
        values: shape (n, …), the rest as the layout says.
        layout: of each value.

    Returns:
        Pixels of shape (n, H, W, 3), uint8.
    """
    pictures = values[:, -1] if layout.order.startswith("N") else values
    if layout.order == "CHW":
        pictures = np.moveaxis(pictures, 1, -1)
    elif layout.order in ("HW", "NHW"):
        pictures = pictures[..., None]
    if pictures.dtype != np.uint8 or (layout.low, layout.high) != (0.0, 255.0):
        scale = 255.0 / (layout.high - layout.low)
        scaled = (pictures.astype(np.float64) - layout.low) * scale
        pictures = np.clip(np.nan_to_num(scaled), 0, 255).round().astype(np.uint8)
    if pictures.shape[-1] == 1:
        return np.ascontiguousarray(np.broadcast_to(pictures, (*pictures.shape[:-1], 3)))
    if pictures.shape[-1] == 4:
        alpha = pictures[..., 3:].astype(np.uint16)
        mixed = (pictures[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255
        return mixed.astype(np.uint8)
    return np.ascontiguousarray(pictures)
