"""Pictures in other sizes and with fewer colors, and PNG files, compared with Pillow and with slow models."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from minari.inspection.images import Palette, png_bytes, resized


RNG = np.random.default_rng(0)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (64, 130)])
def test_png_has_the_pixels(shape: tuple[int, int], channels: int) -> None:
    pixels = RNG.integers(0, 256, (*shape, channels), np.uint8)
    with Image.open(io.BytesIO(png_bytes(pixels))) as image:
        assert image.format == "PNG"
        np.testing.assert_array_equal(np.asarray(image).reshape(pixels.shape), pixels)


@pytest.mark.parametrize(("height", "width"), [(3, 2), (7, 5), (14, 20), (1, 1), (5, 9)])
def test_sizes(height: int, width: int) -> None:
    pixels = RNG.integers(0, 256, (2, 7, 5, 3), np.uint8)
    found = resized(pixels, height, width)
    assert found.shape == (2, height, width, 3)
    np.testing.assert_array_equal(resized(pixels[0], height, width), found[0])
    if (height, width) == (1, 1):
        assert abs(found[0, 0, 0].astype(float) - pixels[0].mean(axis=(0, 1))).max() <= 1
    if height % 7 == 0 and width % 5 == 0:
        np.testing.assert_array_equal(found, pixels.repeat(height // 7, 1).repeat(width // 5, 2))


def test_each_pixel_counts_once_when_pictures_become_smaller() -> None:
    pixels = np.zeros((9, 9, 1), np.uint8)
    for row in range(9):
        for column in range(9):
            pixels[:] = 0
            pixels[row, column] = 252
            found = resized(pixels, 3, 3)
            assert found[row // 3, column // 3, 0] == 252 // 9
            assert found.sum() == 252 // 9


def test_few_colors_are_exact() -> None:
    colors = RNG.integers(0, 256, (256, 3), np.uint8)
    pixels = colors[RNG.integers(0, 256, (40, 50))]
    palette = Palette(pixels)
    assert len(palette.colors) <= 256
    np.testing.assert_array_equal(palette.colors[palette.indices(pixels)], pixels)
    np.testing.assert_array_equal(palette.colors[palette.indices(pixels[:1, :1])], pixels[:1, :1])


def test_many_colors_are_near() -> None:
    ramp = np.arange(256, dtype=np.uint8)
    pixels = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None, :], np.uint8(30)), axis=-1)
    palette = Palette(pixels)
    assert len(palette.colors) == 256
    difference = np.abs(palette.colors[palette.indices(pixels)].astype(int) - pixels)
    assert difference.mean() < 5
    assert difference.max() < 40
    assert len(Palette(RNG.integers(0, 256, (64, 64, 3), np.uint8)).colors) == 256


def test_colors_that_were_not_seen_become_near_ones() -> None:
    palette = Palette(np.array([[[0, 0, 0], [250, 0, 0], [0, 0, 250]]], np.uint8))
    found = palette.colors[palette.indices(np.array([[[240, 10, 5], [20, 0, 10], [3, 8, 200]]], np.uint8))]
    assert found.tolist() == [[[250, 0, 0], [0, 0, 0], [0, 0, 250]]]
