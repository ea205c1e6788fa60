"""Frames as JPEG: which leaves, and the bytes."""

from __future__ import annotations

import io
import sys
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from PIL import Image

from minari._storages.images import (
    decode_frames,
    encode_frames,
    image_leaves,
    is_encoded,
    is_image_space,
)
from minari.errors import DatasetCorruptError, EpisodeTypeError, MissingDependencyError
from minari.spaces import Leaf, codec_for, object_column


def picture(*shape: int, low: int = 0, high: int = 255, dtype: Any = np.uint8) -> spaces.Box:
    return spaces.Box(low, high, shape, dtype)


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        (picture(32, 32), True),
        (picture(32, 32, 1), True),
        (picture(32, 48, 3), True),
        (picture(31, 32, 3), False),
        (picture(32, 31, 3), False),
        (picture(3, 64, 64), False),
        (picture(64), False),
        (picture(4, 64, 64, 3), False),
        (picture(64, 64, 3, high=254), False),
        (picture(64, 64, 3, low=1), False),
        (picture(64, 64, 3, dtype=np.int16), False),
        (picture(64, 64, 3, dtype=np.float32), False),
        (spaces.Discrete(3), False),
        (spaces.MultiBinary([32, 32]), False),
        (spaces.Dict({"camera": picture(64, 64, 3)}), False),
    ],
)
def test_is_image_space(space: spaces.Space[Any], expected: bool) -> None:
    assert is_image_space(space) is expected


def test_leaves_that_are_encoded() -> None:
    """Wherever they are nested; not stacks of frames, which JPEG would mix or refuse."""
    space = spaces.Dict(
        {
            "a": spaces.Tuple((picture(64, 64, 3), picture(8, 8, 3))),
            "b": picture(40, 40),
            "stack": picture(64, 64, 4),
            "sequence": spaces.Sequence(picture(64, 64, 3)),
        }
    )
    assert [leaf.path for leaf in image_leaves(codec_for(space, ("observations",)))] == [
        ("observations", "a", 0),
        ("observations", "b"),
    ]


def leaf_of(space: spaces.Box) -> Leaf:
    return next(codec_for(space).leaves())


@pytest.mark.parametrize("shape", [(40, 32, 3), (40, 32), (40, 32, 1)])
def test_there_and_back(shape: tuple[int, ...]) -> None:
    space = picture(*shape)
    ramp = (np.add.outer(np.arange(40), np.arange(32)) * 3).astype(np.uint8)
    frames = np.stack([np.broadcast_to(ramp.reshape(40, 32, *(1 for _ in shape[2:])), shape)] * 2)
    encoded = encode_frames(frames)
    assert [Image.open(io.BytesIO(row)).format for row in encoded] == ["JPEG", "JPEG"]
    assert is_encoded(encoded, leaf_of(space))
    decoded = decode_frames(encoded, leaf_of(space))
    assert decoded.dtype == np.uint8
    assert decoded.shape == (2, *shape)
    assert np.abs(decoded.astype(int) - frames).mean() < 4


def test_how_encoded_rows_look() -> None:
    leaf = leaf_of(picture(40, 32, 3))
    assert not is_encoded(np.zeros((2, 40, 32, 3), np.uint8), leaf)
    assert not is_encoded(object_column([]), leaf)
    assert is_encoded(object_column([b"a", b"b"]), leaf)
    assert is_encoded(np.zeros((2, 700), np.uint8), leaf)
    assert not is_encoded(np.zeros((2, 5), np.uint8), leaf_of(picture(5)))
    assert not is_encoded(object_column([b"a"]), leaf_of(picture(5, dtype=np.int16)))


def test_rows_of_every_kind_are_decoded() -> None:
    frames = np.full((2, 40, 32), 100, np.uint8)
    leaf, encoded = leaf_of(picture(40, 32)), encode_frames(frames)
    arrays = [np.frombuffer(row, np.uint8) for row in encoded]
    for rows in (encoded, object_column(arrays), np.stack(arrays)):
        assert np.array_equal(decode_frames(rows, leaf), frames)


def test_wider_integers() -> None:
    frames = np.full((2, 40, 32), 100)
    assert np.array_equal(decode_frames(encode_frames(frames), leaf_of(picture(40, 32))), frames)
    for odd in (frames + 200, frames - 101, frames / 3):
        with pytest.raises(EpisodeTypeError, match="from 0 to 255"):
            encode_frames(odd)


@pytest.mark.parametrize("row", [b"", b"no picture"])
def test_damaged_frames(row: bytes) -> None:
    good = encode_frames(np.zeros((1, 40, 32), np.uint8))[0]
    with pytest.raises(DatasetCorruptError, match=r"Frame 1 .* no JPEG"):
        decode_frames(object_column([good, row]), leaf_of(picture(40, 32)))


@pytest.mark.parametrize("shape", [(40, 40), (32, 40), (40, 32, 3)])
def test_frames_of_another_shape(shape: tuple[int, ...]) -> None:
    """Also where as many numbers would fit."""
    encoded = encode_frames(np.zeros((1, *shape), np.uint8))
    with pytest.raises(DatasetCorruptError, match=r"Frame 0 .*\(40, 32\)"):
        decode_frames(encoded, leaf_of(picture(40, 32)))


def test_without_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "minari\[image\]"'):
        encode_frames(np.zeros((1, 40, 32), np.uint8))
