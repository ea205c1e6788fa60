"""Frames are opened as JPEG and as nothing else, at the size of their space; what is wrong is an error of ours."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from minari._storages.images import decode_frames, encode_frames, image_leaves, is_encoded
from minari.errors import DatasetCorruptError
from minari.spaces import Leaf, codec_for, object_column


Image = pytest.importorskip("PIL.Image")

HEIGHT, WIDTH = 48, 64


def leaf_of(*shape: int) -> Leaf:
    (leaf,) = codec_for(spaces.Box(0, 255, shape, np.uint8), ("observations", "camera")).leaves()
    return leaf


COLOR = leaf_of(HEIGHT, WIDTH, 3)


def noise(*shape: int) -> Any:
    return np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)


def encoded(pixels: Any, format: str = "JPEG", **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format=format, **options)
    return stream.getvalue()


GOOD = encoded(noise(HEIGHT, WIDTH, 3))


pytestmark = pytest.mark.filterwarnings("error")


def refused(frame: Any, leaf: Leaf = COLOR) -> str:
    column = object_column([GOOD, frame])
    with pytest.raises(DatasetCorruptError, match=r"Frame 1 of observations/camera") as caught:
        decode_frames(column, leaf)
    assert len(str(caught.value)) < 600
    return str(caught.value)


@pytest.mark.parametrize("format", ["PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "ICO", "TGA", "PCX", "JPEG2000"])
def test_other_format_is_refused(format: str) -> None:
    Image.init()
    if format not in Image.SAVE:
        pytest.skip(f"this Pillow cannot write {format}")
    assert "no JPEG image" in refused(encoded(noise(HEIGHT, WIDTH, 3), format))


def test_other_format_that_ends_like_jpeg_is_refused() -> None:
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 48\nshowpage\n" * 9
    for content in (encoded(noise(HEIGHT, WIDTH, 3), "PNG"), postscript):
        assert "no JPEG image" in refused(content + b"\xff\xd9")


OTHER_SIZES = [(WIDTH, HEIGHT, 3), (HEIGHT, WIDTH + 1, 3), (HEIGHT - 1, WIDTH, 3), (HEIGHT, WIDTH), (1, 1, 3)]


@pytest.mark.parametrize("shape", OTHER_SIZES)
def test_frame_of_another_size_is_refused(shape: tuple[int, ...]) -> None:
    assert f"expected {COLOR.shape}" in refused(encoded(noise(*shape)))


def test_other_mode_is_refused() -> None:
    stream = io.BytesIO()
    Image.fromarray(noise(HEIGHT, WIDTH, 4), "CMYK").save(stream, format="JPEG")
    refused(stream.getvalue())
    gray = leaf_of(HEIGHT, WIDTH)
    assert decode_frames(object_column([encoded(noise(HEIGHT, WIDTH))]), gray).shape == (1, HEIGHT, WIDTH)


def test_no_pixel_of_another_size_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A header that claims the largest size there is."""
    place = GOOD.index(b"\xff\xc0") + 5
    huge = GOOD[:place] + struct.pack(">HH", 65535, 65535) + GOOD[place + 4 :]
    from PIL import JpegImagePlugin

    def load(self: Any) -> Any:
        loaded.append(self.size)
        return original(self)

    loaded: list[Any] = []
    original = JpegImagePlugin.JpegImageFile.load
    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "load", load)
    assert "(65535, 65535, 3)" in refused(huge)
    assert (65535, 65535) not in loaded


def test_frames_of_a_large_space_allocate_nothing() -> None:
    """No room is made for frames of which there cannot be the bytes."""
    leaf = Leaf(("observations", "camera"), np.dtype(np.uint8), (60_000, 60_000, 3))
    with pytest.raises(DatasetCorruptError, match="Frame 0"):
        decode_frames(object_column([GOOD] * 1000), leaf)


@pytest.mark.parametrize("rest", [0, 1, 2, 30, 300, -1, -2, -100])
@pytest.mark.parametrize("is_patient", [False, True])
def test_cut_frame_is_refused(monkeypatch: pytest.MonkeyPatch, rest: int, is_patient: bool) -> None:
    from PIL import ImageFile

    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", is_patient)
    refused(GOOD[:rest])


def test_endless_refinement_is_refused() -> None:
    progressive = encoded(noise(HEIGHT, WIDTH, 3), progressive=True)
    decode_frames(object_column([progressive]), COLOR)
    scan = progressive.rindex(b"\xff\xda")
    refused(progressive[:scan] + progressive[scan:-2] * 5000 + b"\xff\xd9")


@pytest.mark.parametrize(
    "frame", [None, 10**9, 1.5, "text", ["a"], np.zeros(9), np.zeros((2, 2), np.uint8), b"", object()]
)
def test_frame_that_is_no_bytes_is_refused(frame: Any) -> None:
    refused(frame)


def test_metadata_of_an_image_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    exif = Image.Exif()
    exif[0x011A] = 72.0
    with_exif = encoded(noise(HEIGHT, WIDTH, 3), exif=exif)
    assert b"Exif" in with_exif

    def getexif(self: Any) -> Any:
        raise AssertionError("the metadata of a frame were read")

    monkeypatch.setattr(Image.Image, "getexif", getexif)
    (expected,) = decode_frames(object_column([GOOD]), COLOR)
    (found,) = decode_frames(object_column([with_exif]), COLOR)
    assert np.array_equal(expected, found)
    at = with_exif.index(b"\xff\xe1")
    refused(with_exif[: at + 2] + b"\xff\xff" + with_exif[at + 4 :])  # longer than the image


def test_random_damage_does_not_crash() -> None:
    """An image, perhaps another one, or an error of ours."""
    generator = np.random.default_rng(3)
    outcomes = set()
    for _ in range(600):
        frame = bytearray(GOOD)
        for place in generator.integers(0, len(GOOD) if generator.random() < 0.3 else 640, generator.integers(1, 4)):
            frame[place] = generator.integers(0, 256)
        try:
            outcomes.add(decode_frames(object_column([bytes(frame)]), COLOR).shape)
        except DatasetCorruptError:
            outcomes.add(None)
    assert outcomes == {None, (1, HEIGHT, WIDTH, 3)}


def test_rows_of_a_matrix_are_frames() -> None:
    """As HDF5 has frames of equal lengths, of both kinds of leaves."""
    frames = np.zeros((2, HEIGHT, WIDTH, 3), np.uint8)
    matrix = np.array([np.frombuffer(frame, np.uint8) for frame in encode_frames(frames)])
    (leaf,) = image_leaves(codec_for(spaces.Box(0, 255, (HEIGHT, WIDTH, 3), np.uint8)))
    assert is_encoded(matrix, leaf)
    assert np.array_equal(decode_frames(matrix, leaf), frames)
    matrix[1, 0] = 0
    with pytest.raises(DatasetCorruptError, match="Frame 1"):
        decode_frames(matrix, leaf)
