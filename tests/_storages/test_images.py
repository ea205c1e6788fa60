"""Frames as JPEG: which leaves, and the bytes."""

from __future__ import annotations

import io
import sys
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from PIL import Image

from minari._storages.images import decode_frames, encode_frames, image_leaves, is_encoded
from minari.dataset.minari_storage import is_image_space
from minari.errors import DatasetCorruptError, EpisodeTypeError, MissingDependencyError
from minari.spaces import Leaf, codec_for, object_column


def picture(*shape: int, low: int = 0, high: int = 255, dtype: Any = np.uint8) -> spaces.Box:
    return spaces.Box(low, high, shape, dtype)


NO_PICTURES: list[spaces.Space[Any]] = [
    *(picture(*shape) for shape in ((31, 32, 3), (32, 31, 3), (3, 64, 64), (64,), (4, 64, 64, 3))),
    *(picture(64, 64, 3, **other) for other in ({"high": 254}, {"low": 1}, {"dtype": np.int16}, {"dtype": np.float32})),
    *(spaces.Discrete(3), spaces.MultiBinary([32, 32]), spaces.Dict({"camera": picture(64, 64, 3)})),
]


def test_image_spaces_are_pictures_of_bytes() -> None:
    assert all(map(is_image_space, (picture(32, 32), picture(32, 32, 1), picture(32, 48, 3))))
    assert not any(map(is_image_space, NO_PICTURES))


def test_pictures_are_encoded_wherever_they_are_nested() -> None:
    pair = spaces.Tuple((picture(64, 64, 3), picture(8, 8, 3)))
    others = {"stack": picture(64, 64, 4), "sequence": spaces.Sequence(picture(64, 64, 3))}
    leaves = image_leaves(codec_for(spaces.Dict({"a": pair, "b": picture(40, 40), **others}), ("observations",)))
    assert [leaf.path for leaf in leaves] == [("observations", "a", 0), ("observations", "b")]


def leaf_of(*shape: int, **of: Any) -> Leaf:
    return next(codec_for(picture(*shape, **of)).leaves())


@pytest.mark.parametrize("shape", [(40, 32, 3), (40, 32), (40, 32, 1)])
def test_frames_come_back_alike(shape: tuple[int, ...]) -> None:
    ramp = (np.add.outer(np.arange(40), np.arange(32)) * 3).astype(np.uint8)
    frames = np.stack([np.broadcast_to(ramp.reshape(40, 32, *(1 for _ in shape[2:])), shape)] * 2)
    encoded = encode_frames(frames)
    assert [Image.open(io.BytesIO(row)).format for row in encoded] == ["JPEG", "JPEG"]
    arrays = [np.frombuffer(row, np.uint8) for row in encoded]
    for rows in (encoded, object_column(arrays), np.stack(arrays)):
        assert is_encoded(rows, leaf_of(*shape))
        decoded = decode_frames(rows, leaf_of(*shape))
        assert (decoded.dtype, decoded.shape) == (np.uint8, frames.shape)
        assert np.abs(decoded.astype(int) - frames).mean() < 4


@pytest.mark.parametrize(
    ("rows", "leaf"),
    [
        (np.zeros((2, 40, 32, 3), np.uint8), leaf_of(40, 32, 3)),
        (object_column([]), leaf_of(40, 32, 3)),
        (np.zeros((2, 5), np.uint8), leaf_of(5)),
        (object_column([b"a"]), leaf_of(5, dtype=np.int16)),
    ],
)
def test_other_rows_are_not_encoded(rows: Any, leaf: Leaf) -> None:
    assert not is_encoded(rows, leaf)


def test_wider_integers_are_encoded_if_they_are_bytes() -> None:
    frames = np.full((2, 40, 32), 100)
    assert np.array_equal(decode_frames(encode_frames(frames), leaf_of(40, 32)), frames)
    for odd in (frames + 200, frames - 101, frames / 3):
        with pytest.raises(EpisodeTypeError, match="from 0 to 255"):
            encode_frames(odd)


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (b"", r"Frame 1 .* no JPEG"),
        (b"no picture", r"Frame 1 .* no JPEG"),
        *(
            (encode_frames(np.zeros((1, *shape), np.uint8))[0], r"Frame 1 .*\(40, 32\)")
            for shape in ((40, 40), (32, 40))
        ),
        (encode_frames(np.zeros((1, 40, 32, 3), np.uint8))[0], r"Frame 1 .*\(40, 32\)"),
    ],
)
def test_damaged_frames_and_those_of_other_shapes_are_refused(second: bytes, message: str) -> None:
    good = encode_frames(np.zeros((1, 40, 32), np.uint8))[0]
    with pytest.raises(DatasetCorruptError, match=message):
        decode_frames(object_column([good, second]), leaf_of(40, 32))


def test_missing_pillow_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "minari\[image\]"'):
        encode_frames(np.zeros((1, 40, 32), np.uint8))
