"""Statistics of features in the form of LeRobot's meta/stats.json."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from minari.interchange.encoded_frames import is_encoded
from minari.interchange.pictures import decode_picture, picture_shape


__all__ = ["Statistics", "statistics_of"]

_MOST_FRAMES = 100  # of an episode


@dataclass(slots=True)
class Statistics:
    """Minimum, maximum, mean and variance of values, which can be combined.

    Attributes:
        count: the number of rows.
        minimum: by element; by channel, shape (C, 1, 1), for images, whose values are between 0 and 1.
        maximum: in the same shape.
        mean: in the same shape.
        squares: the sum of squared differences from the mean, over ``weight`` values.
        weight: the number of values of each mean.
    """

    count: int
    minimum: npt.NDArray[np.float64]
    maximum: npt.NDArray[np.float64]
    mean: npt.NDArray[np.float64]
    squares: npt.NDArray[np.float64]
    weight: int

    def add(self, other: Statistics) -> None:
        """Combine with the statistics of further rows."""
        weight = self.weight + other.weight
        difference = other.mean - self.mean
        self.mean = self.mean + difference * (other.weight / weight)
        self.squares = self.squares + other.squares + difference**2 * (self.weight * other.weight / weight)
        self.minimum, self.maximum = np.minimum(self.minimum, other.minimum), np.maximum(self.maximum, other.maximum)
        self.count, self.weight = self.count + other.count, weight

    def as_lists(self) -> dict[str, Any]:
        """Return the statistics by their names in files."""
        deviation = np.sqrt(self.squares / self.weight)
        arrays = {"min": self.minimum, "max": self.maximum, "mean": self.mean, "std": deviation}
        return {**{name: array.tolist() for name, array in arrays.items()}, "count": [self.count]}


def statistics_of(values: npt.NDArray[Any], *, is_image: bool) -> Statistics:
    """Return the statistics of the rows of an episode; of up to 100 of them if they are images."""
    if not is_image:
        numbers = values.astype(np.float64).reshape(len(values), *(values.shape[1:] or (1,)))
        return _reduced(numbers, (0,), numbers.shape[1:], len(values))
    chosen = np.unique(np.linspace(0, len(values) - 1, min(len(values), _MOST_FRAMES)).astype(int))
    frames = (_decoded(values[chosen]) if is_encoded(values) else values[chosen]).astype(np.float64) / 255
    frames = frames[..., None] if frames.ndim == 3 else frames
    return _reduced(frames, (0, 1, 2), (frames.shape[-1], 1, 1), len(chosen))


def _decoded(pictures: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    return np.stack([decode_picture(picture, picture_shape(picture), np.dtype(np.uint8)) for picture in pictures])


def _reduced(values: npt.NDArray[Any], axes: tuple[int, ...], shape: tuple[int, ...], count: int) -> Statistics:
    mean = values.mean(axis=axes)
    squares = ((values - mean) ** 2).sum(axis=axes)
    weight = int(np.prod([values.shape[axis] for axis in axes]))
    return Statistics(
        count,
        values.min(axis=axes).reshape(shape),
        values.max(axis=axes).reshape(shape),
        mean.reshape(shape),
        squares.reshape(shape),
        weight,
    )
