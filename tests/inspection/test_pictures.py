"""Recognition of arrays that are pictures, and their conversion to RGB."""

from __future__ import annotations

import numpy as np
import pytest

from minari.inspection.pictures import as_rgb, picture_layout
from minari.spaces import Leaf


def leaf(dtype: str, shape: tuple[int, ...], low: float | None = None, high: float | None = None) -> Leaf:
    bounds = [None if bound is None else np.full(shape, bound, dtype) for bound in (low, high)]
    return Leaf((), np.dtype(dtype), shape, *bounds)


@pytest.mark.parametrize(
    ("one", "order"),
    [
        (leaf("uint8", (84, 96)), "HW"),
        (leaf("uint8", (84, 96, 1)), "HWC"),
        (leaf("uint8", (84, 96, 3)), "HWC"),
        (leaf("uint8", (84, 96, 4)), "HWC"),
        (leaf("uint8", (3, 84, 96)), "CHW"),
        (leaf("uint8", (1, 84, 96)), "CHW"),
        (leaf("uint8", (4, 84, 96)), "NHW"),
        (leaf("uint8", (4, 84, 96, 3)), "NHWC"),
        (leaf("float32", (84, 96, 3), 0, 1), "HWC"),
        (leaf("bool", (84, 96), 0, 1), "HW"),
        (leaf("float32", (84, 96, 3), -np.inf, np.inf), None),
        (leaf("float32", (84, 96, 3)), None),
        (leaf("uint8", (7, 7, 3)), None),
        (leaf("uint8", (84,)), None),
        (leaf("uint8", (84, 96, 5)), None),
        (leaf("int16", (17, 84, 96), 0, 1), None),
        (leaf("float64", ()), None),
    ],
    ids=lambda value: "x".join(map(str, (value.dtype, *value.shape))) if isinstance(value, Leaf) else str(value),
)
def test_layout(one: Leaf, order: str | None) -> None:
    found = picture_layout(one)
    assert (found and found.order) == order
    if found is not None:
        assert (found.height, found.width) == (84, 96)


def test_layouts_of_one_picture_give_the_same_pixels() -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (5, 10, 12, 3), np.uint8)
    gray = pixels[..., :1].repeat(3, axis=-1)
    old = np.zeros_like(pixels)
    opaque = np.full((5, 10, 12, 1), 255, np.uint8)
    for values, expected in (
        (pixels, pixels),
        (np.moveaxis(pixels, -1, 1), pixels),
        (np.stack([old, pixels], axis=1), pixels),
        (np.concatenate([pixels, opaque], axis=-1), pixels),
        (np.concatenate([pixels, 0 * opaque], axis=-1), np.full_like(pixels, 255)),
        (pixels[..., 0], gray),
        (pixels[..., :1], gray),
        (np.stack([old[..., 0], pixels[..., 0]], axis=1), gray),
    ):
        layout = picture_layout(leaf("uint8", values.shape[1:]))
        assert layout is not None
        found = as_rgb(values, layout)
        assert found.dtype == np.uint8
        assert found.flags.c_contiguous
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("dtype", "low", "high"), [("float32", -1, 1), ("uint16", 0, 1000), ("uint8", 0, 1)])
def test_bounds_are_black_and_white(dtype: str, low: float, high: float) -> None:
    values = np.full((2, 16, 16), low, dtype)
    values[1] = high
    one = leaf(dtype, (16, 16), low, high)
    layout = picture_layout(one)
    assert layout is not None
    found = as_rgb(values, layout)
    assert (found[0] == 0).all()
    assert (found[1] == (255 if dtype != "uint8" else 1)).all()


def test_values_outside_the_bounds_are_clipped() -> None:
    one = leaf("float32", (8, 8), 0, 1)
    layout = picture_layout(one)
    assert layout is not None
    values = np.array([-5, 7, np.nan, np.inf], np.float32)[:, None, None] * np.ones((8, 8), np.float32)
    np.testing.assert_array_equal(as_rgb(values, layout)[:, 0, 0, 0], [0, 255, 0, 255])
