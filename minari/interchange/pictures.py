"""Single images in the bytes of PNG and JPEG."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt

from minari._base.json_text import shortened
from minari.errors import InterchangeError, MissingDependencyError


__all__ = ["decode_picture", "encode_png", "picture_shape"]

_FORMATS = "PNG", "JPEG"
_MODES = {"L": np.uint8, "RGB": np.uint8, "RGBA": np.uint8, "I;16": np.uint16}
_MOST_PER_BYTE = 2**14  # deflate makes about 1,000 bytes of one


def decode_picture(data: bytes, shape: tuple[int, ...], what: object) -> npt.NDArray[Any]:
    """Return an image of an expected shape: (H, W) or (H, W, channels).

    Args:
        data: its bytes, PNG or JPEG.
        shape: the shape; it is compared before a pixel is decoded.
        what: the image, for messages.

    Raises:
        InterchangeError: it is something else.
        MissingDependencyError: Pillow is not installed.
    """
    module = _pillow()
    try:
        image = module.open(io.BytesIO(data), formats=_FORMATS)
        size, mode = image.size[::-1], image.mode
        channels = len(image.getbands())
        if mode not in _MODES or (*size, channels) != (*shape[:2], *(shape[2:] or (1,))):
            raise InterchangeError(f"{what} is an image of {(*size, channels)} ({mode}), expected the shape {shape}.")
        if size[0] * size[1] * channels > _MOST_PER_BYTE * len(data):
            raise InterchangeError(
                f"{what} is an image of {size} in {len(data)} bytes, which are too few; it is damaged."
            )
        pixels: npt.NDArray[Any] = np.array(image, dtype=_MODES[mode])
    except InterchangeError:
        raise
    except Exception as error:  # Pillow raises exceptions of many types
        raise InterchangeError(
            f"{what} is not a PNG or JPEG image ({type(error).__name__}: {shortened(str(error))}); the file is "
            f"damaged, so copy or download it again."
        ) from error
    return pixels.reshape(shape)


def picture_shape(data: bytes, what: object) -> tuple[int, ...]:
    """Return the shape of an image, of which only the head is read.

    Raises:
        InterchangeError: it is not an image.
    """
    try:
        image = _pillow().open(io.BytesIO(data), formats=_FORMATS)
        bands = len(image.getbands())
        return (*image.size[::-1], bands) if bands > 1 else tuple(image.size[::-1])
    except MissingDependencyError:
        raise
    except Exception as error:
        raise InterchangeError(f"{what} is not a PNG or JPEG image ({type(error).__name__}); it is damaged.") from error


def encode_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Return an image of shape (H, W) or (H, W, 1 or 3) as PNG, which is lossless."""
    stream = io.BytesIO()
    _pillow().fromarray(pixels.squeeze(-1) if pixels.shape[2:] == (1,) else pixels).save(stream, format="PNG")
    return stream.getvalue()


def _pillow() -> Any:
    try:
        from PIL import Image  # noqa: PLC0415 (optional)
    except ImportError as error:
        raise MissingDependencyError(
            'Images need Pillow, which is not installed; run pip install "minari[image]".'
        ) from error
    return Image
