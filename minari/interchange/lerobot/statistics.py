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
    if is_image:
        chosen = np.unique(np.linspace(0, len(values) - 1, min(len(values), _MOST_FRAMES)).astype(int))
        return _of_frames(_decoded(values[chosen]) if is_encoded(values) else values[chosen])
    numbers = values.astype(np.float64).reshape(len(values), *(values.shape[1:] or (1,)))
    mean = numbers.mean(axis=0)
    squares = ((numbers - mean) ** 2).sum(axis=0)
    return Statistics(len(values), numbers.min(axis=0), numbers.max(axis=0), mean, squares, len(values))


def _of_frames(frames: npt.NDArray[np.uint8]) -> Statistics:
    """Return the statistics of frames from the counts of their values, which are few."""
    pixels = frames.reshape(-1, frames.shape[3] if frames.ndim == 4 else 1)
    counts = np.stack([np.bincount(channel, minlength=256) for channel in pixels.T])
    levels = np.arange(256) / 255
    mean = counts @ levels / len(pixels)
    squares = (counts * (levels - mean[:, None]) ** 2).sum(axis=1)
    present = [levels[found] for found in counts > 0]
    extremes = (np.array([pick(found) for found in present]) for pick in (np.min, np.max))
    minimum, maximum, mean, squares = (values.reshape(-1, 1, 1) for values in (*extremes, mean, squares))
    return Statistics(len(frames), minimum, maximum, mean, squares, len(pixels))


def _decoded(pictures: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    return np.stack([decode_picture(picture, picture_shape(picture), np.dtype(np.uint8)) for picture in pictures])
