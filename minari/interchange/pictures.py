"""Pictures as PNG and JPEG, one at a time, for formats that store frames so.

Pictures are untrusted: they are opened as PNG or JPEG only, and their size is checked before a pixel is decoded.
"""

from __future__ import annotations

import io
import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image, JpegImagePlugin, PngImagePlugin


__all__ = ["MOST_PIXELS_PER_BYTE", "decode_picture", "encode_picture", "is_jpeg", "picture_shape"]

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_JPEG: Final = b"\xff\xd8\xff"
#: The most pixels, or channels of them, that a byte may be; deflate and JPEG need a bit for some hundred.
MOST_PIXELS_PER_BYTE: Final = 2048
_MODES: Final = {(1, 1): "L", (3, 1): "RGB", (4, 1): "RGBA", (1, 2): "I;16"}  # by channels and bytes of each


def decode_picture(data: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Return the pixels of a picture.

    Args:
        data: the bytes of a PNG or JPEG file.
        shape: height, width, and the number of channels: 1, 3 or 4.
        dtype: uint8, uint16 for gray pictures, or float32 for those whose four channels are the bytes of a float.

    Raises:
        ValueError: it is not such a picture, or has another size.
    """
    is_float = dtype == np.float32
    channels, size = (4, 1) if is_float else (shape[2], dtype.itemsize)
    if (channels, size) not in _MODES or dtype.kind not in "uf" or (is_float and shape[2] != 1):
        raise ValueError(f"pictures of {shape[2]} channels of {dtype}")
    if math.prod(shape) > MOST_PIXELS_PER_BYTE * len(data):
        raise ValueError(f"{len(data)} bytes, which cannot be those of a picture of shape {shape}")
    plugin = _plugin(data)
    try:
        with plugin(io.BytesIO(data)) as image:
            if image.size != (shape[1], shape[0]):
                raise ValueError(f"a picture of shape {image.size[::-1]}, expected {shape[:2]}")
            if size == 2 and not image.mode.startswith("I"):
                raise ValueError(f"a picture of the mode {image.mode}, expected 16 bits")
            mode = image.mode if size == 2 else _MODES[channels, size]
            pixels = np.asarray(image if image.mode == mode else image.convert(mode))
    except ValueError:
        raise
    except Exception as error:  # Pillow raises exceptions of many types
        raise ValueError(f"a picture that cannot be decoded ({type(error).__name__}: {error})") from error
    if is_float:
        return np.ascontiguousarray(pixels).view("<f4").reshape(shape)
    return pixels.astype(dtype, copy=False).reshape(shape)


def encode_picture(pixels: npt.NDArray[np.uint8], kind: str) -> bytes:
    """Return a picture of shape (height, width, 1, 3 or 4) as a file.

    Args:
        pixels: the pixels.
        kind: ``"png"``, which is lossless, or ``"jpeg"``.
    """
    stream = io.BytesIO()
    plain = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    Image.fromarray(plain).save(stream, kind, **({"compress_level": 3} if kind == "png" else {"quality": 95}))
    return stream.getvalue()


def is_jpeg(data: Any) -> bool:
    """Return whether a picture begins like a JPEG file."""
    return bytes(data[: len(_JPEG)]) == _JPEG


def _plugin(data: Any) -> Any:
    start = bytes(data[: len(_PNG)])
    if start == _PNG:
        return PngImagePlugin.PngImageFile
    if is_jpeg(data):
        return JpegImagePlugin.JpegImageFile
    raise ValueError("bytes that are neither a PNG nor a JPEG picture")


def picture_shape(data: Any) -> tuple[int, int, int]:
    """Return height, width and channels of a picture of 8 bits, from its first bytes.

    Raises:
        ValueError: it is not such a picture.
    """
    plugin = _plugin(data)
    try:
        with plugin(io.BytesIO(data)) as image:
            width, height = image.size
            channels = {"L": 1, "RGB": 3, "RGBA": 4}.get(image.mode)
    except Exception as error:  # Pillow raises exceptions of many types
        raise ValueError(f"a picture that cannot be opened ({type(error).__name__}: {error})") from error
    if channels is None:
        raise ValueError(f"a picture of the mode {image.mode}, expected gray or color")
    return height, width, channels
