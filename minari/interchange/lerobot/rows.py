"""The rows of a dataset of LeRobot by their numbers, read from tables and videos when they are asked for."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any

import numpy as np
import numpy.typing as npt

from minari.errors import InterchangeError
from minari.interchange.damage import damage_as_error
from minari.interchange.foreign_tables import ForeignTable, open_table, values_of
from minari.interchange.lerobot.layout import Feature, Layout
from minari.interchange.pictures import decode_picture, is_jpeg
from minari.interchange.video import VideoFile
from minari.spaces import native, object_column


__all__ = ["FeatureRows", "RowStore", "SideRows", "decoded"]

_MOST_TABLES = 2  # that are open at a time


class RowStore:
    """The rows of all episodes, one after the other in the order of the table of episodes.

    Args:
        layout: the dataset.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        lengths = [episode.length for episode in layout.episodes]
        self.bounds = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        self._tables: OrderedDict[str, ForeignTable] = OrderedDict()
        self._videos: OrderedDict[str, VideoFile] = OrderedDict()

    @property
    def total(self) -> int:
        """Return the number of all rows."""
        return int(self.bounds[-1])

    def table(self, name: str) -> ForeignTable:
        """Return a table, of which a few are open at a time."""
        if name not in self._tables:
            self._tables[name] = open_table(self.layout.path, name)
            if len(self._tables) > _MOST_TABLES:
                self._tables.popitem(last=False)
        return self._tables[name]

    def parts(self, start: int, stop: int) -> list[tuple[int, int, int]]:
        """Return the episodes of some rows: the number of each, and its rows by their numbers in it."""
        parts = []
        number = int(np.searchsorted(self.bounds, start, "right")) - 1
        while number < len(self.bounds) - 1 and self.bounds[number] < stop:
            begin, end = int(self.bounds[number]), int(self.bounds[number + 1])
            if end > max(begin, start):
                parts.append((number, max(0, start - begin), min(end, stop) - begin))
            number += 1
        return parts

    def arrow(self, name: str, number: int, start: int, stop: int) -> Any:
        """Return rows of a column of an episode as an array of Arrow."""
        episode = self.layout.episodes[number]
        return self.table(episode.file).column(name, episode.start + start, episode.start + stop)

    def values(self, name: str, number: int, start: int, stop: int) -> npt.NDArray[Any]:
        """Return rows of a column of an episode."""
        what = f"{name} of episode {self.layout.episodes[number].index} of {self.layout.path}"
        return values_of(self.arrow(name, number, start, stop), what)

    def frames(self, feature: Feature, number: int, start: int, stop: int) -> npt.NDArray[np.uint8]:
        """Return frames of a video."""
        episode = self.layout.episodes[number]
        if episode.videos:
            file, begin = episode.videos[feature.name]
            times = self.values("timestamp", number, start, stop).astype(np.float64) + begin
        else:  # version 1
            places = self.arrow(feature.name, number, start, stop).to_pylist()
            if not all(isinstance(place, dict) and isinstance(place.get("path"), str) for place in places):
                raise InterchangeError(f"A row of {feature.name} of {self.layout.path} names no video; it is damaged.")
            file, times = places[0]["path"], np.array([float(place["timestamp"]) for place in places])
            if any(place["path"] != file for place in places):
                raise InterchangeError(
                    f"Episode {episode.index} of {self.layout.path} has several videos of {feature.name}."
                )
        return self.video(file, feature).frames_at(times.tolist())

    def video(self, name: str, feature: Feature) -> VideoFile:
        """Return a video, of which a few are open at a time."""
        if name not in self._videos:
            video = VideoFile(self.layout.path, name, self.layout.fps)
            if video.shape != feature.shape:
                raise InterchangeError(
                    f"{video.where} has frames of {video.shape}, expected {feature.shape} as {feature.name}."
                )
            self._videos[name] = video
            cameras = sum(one.kind == "video" for one in self.layout.features.values())
            if len(self._videos) > cameras + 1:  # decoders take much memory
                self._videos.popitem(last=False)
        return self._videos[name]

    def check_episode(self, number: int) -> None:
        """Check that the rows of an episode are its rows, and no others.

        Raises:
            InterchangeError: they belong to another episode.
        """
        episode = self.layout.episodes[number]
        found = self.values("episode_index", number, 0, episode.length)
        if not (found == episode.index).all():
            raise InterchangeError(
                f"Rows of episode {episode.index} in {self.table(episode.file).where} are those of another one; its "
                f"table of episodes does not belong to it."
            )


class FeatureRows:
    """The rows of a feature, as :class:`~minari.interchange.flat_rows.Rows`.

    Args:
        store: the rows.
        feature: the feature.
        shape: the shape of a value, None for that of the feature.

    Attributes:
        is_encoded: True for the byte strings of images instead of their pixels.
    """

    def __init__(self, store: RowStore, feature: Feature, shape: tuple[int, ...] | None = None) -> None:
        self._store, self._feature = store, feature
        row = feature.shape if shape is None else shape
        if math.prod(row) != math.prod(feature.shape):
            raise InterchangeError(
                f"{feature.name} has the shape {feature.shape}, expected one of {row}; meta/minari.json is damaged."
            )
        self.shape = (store.total, *row)
        self.is_encoded = False
        self.dtype = np.dtype(np.uint8) if feature.kind in ("image", "video") else self._values(0, 0, 1).dtype

    def begins_with_jpeg(self) -> bool:
        """Return whether the first value is a JPEG image."""
        if self._feature.kind != "image":
            return False
        return is_jpeg(pictures_of(self._store.arrow(self._feature.name, 0, 0, 1), self._what(0))[0])

    def __getitem__(self, rows: slice) -> npt.NDArray[Any]:
        start, stop, _ = rows.indices(self._store.total)
        parts = [self._values(*part) for part in self._store.parts(start, stop)]
        values = np.concatenate(parts) if len(parts) != 1 else parts[0]
        return values if self.is_encoded else values.reshape(len(values), *self.shape[1:])

    def _values(self, number: int, start: int, stop: int) -> npt.NDArray[Any]:
        store, feature = self._store, self._feature
        if feature.kind == "video":
            return store.frames(feature, number, start, stop)
        array, what = store.arrow(feature.name, number, start, stop), self._what(number)
        return pictures_of(array, what) if self.is_encoded else decoded(array, feature, what)

    def _what(self, number: int) -> str:
        layout = self._store.layout
        return f"{self._feature.name} of episode {layout.episodes[number].index} of {layout.path}"


def pictures_of(array: Any, what: object) -> npt.NDArray[Any]:
    """Return the byte strings of a column of images.

    Raises:
        InterchangeError: a row has none.
    """
    rows = array.to_pylist()
    if not all(isinstance(row, dict) and isinstance(row.get("bytes"), bytes) for row in rows):
        raise InterchangeError(
            f"{what} has rows without the bytes of an image, expected PNG or JPEG in the table itself."
        )
    return object_column([row["bytes"] for row in rows])


def decoded(array: Any, feature: Feature, what: object) -> npt.NDArray[Any]:
    """Return the values of a column of Arrow.

    Raises:
        InterchangeError: they are not those of the feature.
    """
    if feature.kind in ("image", "video"):
        shape = feature.shape if len(feature.shape) > 2 else (*feature.shape, 1)
        with damage_as_error(what):
            frames = [decode_picture(picture, shape, np.dtype(np.uint8)) for picture in pictures_of(array, what)]
        return np.stack(frames).reshape(-1, *feature.shape) if frames else np.empty((0, *feature.shape), np.uint8)
    values = values_of(array, what)
    if feature.shape in ((), (1,)) and values.ndim == 1:
        values = values.reshape(len(values), *feature.shape)
    if len(values) and values.shape[1:] != feature.shape and feature.kind != "text":
        raise InterchangeError(
            f"{what} has values of the shape {values.shape[1:]}, expected {feature.shape} as in info.json."
        )
    return native(values)


class SideRows:
    """The values after the last step of each episode, from the table of episodes, at the number of its last row.

    Args:
        store: the rows.
        feature: the feature.
        column: the column of the table of episodes.
        like: the rows of the feature, for the shape.

    Attributes:
        is_encoded: as of :class:`FeatureRows`.
    """

    def __init__(self, store: RowStore, feature: Feature, column: str, like: FeatureRows) -> None:
        self._store, self._feature, self._column = store, feature, column
        self.shape, self.dtype = like.shape, like.dtype
        self.is_encoded = False

    def __getitem__(self, rows: slice) -> npt.NDArray[Any]:
        _, stop, _ = rows.indices(self._store.total)
        number = int(np.searchsorted(self._store.bounds, stop, "left")) - 1
        layout = self._store.layout
        row = layout.episodes[number].row
        first, table = next((first, table) for first, table in reversed(layout.episode_tables) if first <= row)
        what = f"{self._column} of episode {layout.episodes[number].index} of {layout.path}"
        array = table.column(self._column, row - first, row - first + 1)
        if self.is_encoded:
            return pictures_of(array, what)
        values = decoded(array, self._feature, what)
        return values.reshape(1, *self.shape[1:]).astype(self.dtype, copy=False)
