"""Statistics of the fields of a dataset, computed in one pass and kept beside the data, and normalization by them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from minari._base.checksums import bytes_checksum
from minari._base.json_text import parse_json, shortened
from minari._model.episode_codec import REWARDS
from minari._storages.base import MinariStorage
from minari._storages.derived_file import DerivedFile
from minari.errors import ArgumentError, DatasetCorruptError, EpisodeError
from minari.sampling.episode_statistics import OutcomesCollector
from minari.sampling.fields import Part, checked_names, parts_of, select
from minari.spaces import Column, ColumnPath, path_name, without_ones


__all__ = ["FieldStatistics", "Normalizer", "statistics_of_fields"]

FILE_NAME: Final = ".field_statistics.json"
QUANTILES: Final = (0.01, 0.1, 0.5, 0.9, 0.99)

_VERSION: Final = 1
_SAMPLED_ROWS: Final = 2**16
_SAMPLED_BYTES: Final = 2**26
_NUMBERS: Final = "biuf"


@dataclass(frozen=True, slots=True, eq=False)
class FieldStatistics:
    """Statistics of a leaf over all steps; arrays have the shape of a step's value, and are float64.

    Attributes:
        count: the number of steps.
        mean: the mean.
        std: the population standard deviation.
        min: the least value.
        max: the greatest value.
        quantiles: by their level: 0.01, 0.1, 0.5, 0.9 and 0.99, interpolated linearly.
        sampled: the number of steps that quantiles are computed from: all of them, or evenly spaced ones.
    """

    count: int
    mean: npt.NDArray[np.float64]
    std: npt.NDArray[np.float64]
    min: npt.NDArray[np.float64]
    max: npt.NDArray[np.float64]
    quantiles: dict[float, npt.NDArray[np.float64]]
    sampled: int

    def to_json(self) -> dict[str, Any]:
        """Return the statistics as values that JSON represents exactly."""
        return {
            "count": self.count,
            "sampled": self.sampled,
            **{name: getattr(self, name).tolist() for name in ("mean", "std", "min", "max")},
            "quantiles": {str(level): values.tolist() for level, values in self.quantiles.items()},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> FieldStatistics:
        """Return the statistics of a result of :meth:`to_json`.

        Raises:
            ArgumentError: it is something else.
        """
        try:
            arrays = {name: np.array(value[name], np.float64) for name in ("mean", "std", "min", "max")}
            quantiles = {float(level): np.array(one, np.float64) for level, one in value["quantiles"].items()}
            count, sampled = int(value["count"]), int(value["sampled"])
            if len({array.shape for array in (*arrays.values(), *quantiles.values())}) != 1:
                raise ValueError("its arrays have different shapes")
        except (TypeError, ValueError, LookupError, AttributeError, OverflowError) as error:
            raise ArgumentError(
                f"{shortened(value)} does not describe a field ({error}), expected a result of to_json()."
            ) from error
        return cls(count, arrays["mean"], arrays["std"], arrays["min"], arrays["max"], quantiles, sampled)


class _Running:
    """The moments and extremes of a leaf up to now, and every ``stride``-th of its rows.

    Moments are combined as by Chan, Golub and LeVeque, *Updating formulae and a pairwise algorithm for computing
    sample variances*, 1979, which does not cancel.
    """

    def __init__(self, stride: int) -> None:
        self.count, self._stride = 0, stride
        self._mean: Any = 0.0
        self._squares: Any = 0.0
        self._min: Any = np.inf
        self._max: Any = -np.inf
        self._rows: list[Column] = []

    def add(self, column: Column) -> None:
        """Add the rows of an episode."""
        if not len(column):
            return
        values = column.astype(np.float64)
        count, total = len(values), self.count + len(values)
        with np.errstate(invalid="ignore", over="ignore"):
            mean = values.mean(axis=0)
            difference = mean - self._mean
            self._squares = (
                self._squares
                + np.square(values - mean).sum(axis=0)
                + np.square(difference) * (self.count * count / total)
            )
            self._mean = self._mean + difference * (count / total)
        self._min, self._max = np.minimum(self._min, values.min(axis=0)), np.maximum(self._max, values.max(axis=0))
        first = -self.count % self._stride
        if first < count:
            self._rows.append(column[first :: self._stride].copy())
        self.count = total

    def result(self) -> FieldStatistics:
        """Return the statistics."""
        rows = np.concatenate(self._rows)
        with np.errstate(invalid="ignore"):
            found = np.quantile(rows.astype(np.float64), QUANTILES, axis=0)
        return FieldStatistics(
            self.count,
            np.asarray(self._mean),
            np.sqrt(np.asarray(self._squares) / self.count),
            np.asarray(self._min),
            np.asarray(self._max),
            dict(zip(QUANTILES, found, strict=True)),
            len(rows),
        )


def statistics_of_fields(
    storage: MinariStorage, numbers: npt.NDArray[np.int64], fields: Iterable[str] | None
) -> dict[str, FieldStatistics]:
    """Return the statistics of leaves over the episodes of a view, by the names of the leaves.

    Args:
        storage: of the dataset.
        numbers: the episodes of the view.
        fields: names such as ``"observations/camera"``; None for all leaves of numbers.

    Raises:
        ArgumentError: there is no such field, or it has no numbers of a fixed shape.
        EpisodeError: the view is empty.
    """
    if not len(numbers):
        raise EpisodeError(f"The view of {storage.dataset_id} has no episode, expected at least one for statistics.")
    parts = _chosen(storage, fields)
    file = DerivedFile(storage, FILE_NAME, _VERSION, bytes_checksum(np.ascontiguousarray(numbers, "<i8")))
    found = _read(file)
    missing = {name: part for name, part in parts.items() if name not in found}
    if missing:
        outcomes = OutcomesCollector(storage)
        new = _computed(storage, numbers, missing, outcomes if outcomes.is_wanted(numbers) else None)
        found = {**found, **new}
        file.write({name: one.to_json() for name, one in found.items()})
    return {name: found[name] for name in parts}


def _read(file: DerivedFile) -> dict[str, FieldStatistics]:
    """Return the statistics that are kept, by the names of the leaves."""
    try:
        return {name: FieldStatistics.from_json(value) for name, value in (file.read() or {}).items()}
    except (ArgumentError, AttributeError):  # another program has written something else
        return {}


def _chosen(storage: MinariStorage, fields: Iterable[str] | None) -> dict[str, Part]:
    """Return the chosen leaves of numbers by their names."""
    codec = storage.episode_codec
    spaces = {"observations": codec.observations, "actions": codec.actions}
    names = (*spaces, "rewards") if fields is None else checked_names("fields", fields)
    chosen = select(names, spaces, ["rewards"])
    every = {part.path: part for space in spaces.values() for part in parts_of(space)}
    every[REWARDS] = Part(REWARDS, storage.reward_shape or ())
    paths = [path for name, several in chosen.items() for path in (several if name in spaces else [REWARDS])]
    found = {path_name(path): every[path] for path in paths}
    without = [name for name, part in found.items() if part.shape is None]
    if fields is not None and without:
        raise ArgumentError(
            f"{', '.join(map(repr, without))} have no numbers of a fixed shape, which statistics need; leave them out."
        )
    return {name: part for name, part in found.items() if part.shape is not None}


def _computed(
    storage: MinariStorage,
    numbers: npt.NDArray[np.int64],
    parts: Mapping[str, Part],
    outcomes: OutcomesCollector | None,
) -> dict[str, FieldStatistics]:
    """Return the statistics of leaves, and keep the outcomes of the episodes that are read for them."""
    total = int(storage.get_episode_lengths(numbers).sum()) + len(numbers)
    running = {name: _Running(_stride(part, total)) for name, part in parts.items()}
    paths: frozenset[ColumnPath] = frozenset(part.path for part in parts.values())
    codec = storage.episode_codec
    paths |= codec.outcomes if outcomes is not None else frozenset()
    for index, columns in storage.read_parts(numbers.tolist(), paths):
        for name, part in parts.items():
            column = columns.get(part.path)
            if (
                column is None
                or column.dtype.kind not in _NUMBERS
                or part.shape is None
                or without_ones(column.shape[1:]) != without_ones(part.shape)
            ):
                raise DatasetCorruptError(
                    f"Episode {index} of {storage.data_path} has no numbers for {name}; the file is damaged, or "
                    f"belongs to another dataset."
                )
            running[name].add(column.reshape(len(column), *part.shape))
        if outcomes is not None:
            outcomes.add(codec.decode_outcomes(index, columns))
    if without := [name for name, one in running.items() if not one.count]:
        raise DatasetCorruptError(
            f"The {without[0]} of {storage.data_path} have no rows, and the episodes have steps; the file is damaged, "
            f"or belongs to another dataset."
        )
    if outcomes is not None:
        with contextlib.suppress(EpisodeError):  # rewards of several shapes, which only matter to who asks for returns
            outcomes.keep(outcomes.result(storage.get_episode_lengths(numbers)), numbers)
    return {name: one.result() for name, one in running.items()}


def _stride(part: Part, total: int) -> int:
    size = 8 * int(np.prod(part.shape or (), dtype=np.int64))
    return max(1, -(-total // max(1, min(_SAMPLED_ROWS, _SAMPLED_BYTES // max(size, 1)))))


class Normalizer:
    """Scales the fields of batches by statistics, and back; see :meth:`minari.MinariDataset.normalizer`.

    Args:
        statistics: by the names of leaves, such as ``"observations/camera"``.
        method: ``"mean_std"`` for a mean of 0 and a standard deviation of 1, ``"min_max"`` for values from -1 to 1,
            ``"quantiles"`` for values from -1 to 1 between the quantiles 0.01 and 0.99.
    """

    def __init__(
        self,
        statistics: Mapping[str, FieldStatistics],
        method: Literal["mean_std", "min_max", "quantiles"] = "mean_std",
    ) -> None:
        if method not in ("mean_std", "min_max", "quantiles"):
            raise ArgumentError(f"method is {shortened(method)}, expected 'mean_std', 'min_max' or 'quantiles'.")
        self.statistics, self.method = dict(statistics), method
        self._scales = {name: self._scale_of(one) for name, one in self.statistics.items()}

    def _scale_of(self, one: FieldStatistics) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return the center and the scale of a leaf; constant values have the scale 1."""
        if self.method == "mean_std":
            center, scale = one.mean, one.std
        else:
            low, high = (one.min, one.max) if self.method == "min_max" else (one.quantiles[0.01], one.quantiles[0.99])
            center, scale = (low + high) / 2, (high - low) / 2
        return center, np.where(scale > 0, scale, 1.0)

    def normalize(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Return the batch with scaled fields, in float32, or in float64 where the values have 64 bits.

        ``next_observations`` are scaled like ``observations``; fields without statistics stay as they are.
        """
        return {name: self._scaled(values, name.removeprefix("next_"), self._forth) for name, values in batch.items()}

    def unnormalize(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Return the batch with the fields that :meth:`normalize` scaled in their original scale, as floats."""
        return {name: self._scaled(values, name.removeprefix("next_"), self._back) for name, values in batch.items()}

    @staticmethod
    def _forth(values: Any, center: Any, scale: Any) -> Any:
        return (values - center) / scale

    @staticmethod
    def _back(values: Any, center: Any, scale: Any) -> Any:
        return values * scale + center

    def _scaled(self, values: Any, name: str, how: Any) -> Any:
        if isinstance(values, dict):
            return {key: self._scaled(inner, f"{name}/{key}", how) for key, inner in values.items()}
        if isinstance(values, tuple):
            return tuple(self._scaled(inner, f"{name}/{place}", how) for place, inner in enumerate(values))
        if name not in self._scales or not hasattr(values, "dtype"):
            return values
        center, scale = self._scales[name]
        array = np.asarray(values)
        dtype = np.float64 if array.dtype.itemsize == 8 else np.float32
        return how(array.astype(np.float64), center, scale).astype(dtype)

    def to_json(self) -> str:
        """Return the normalizer as JSON text."""
        fields = {name: one.to_json() for name, one in self.statistics.items()}
        return json.dumps({"method": self.method, "fields": fields})

    @classmethod
    def from_json(cls, text: str) -> Normalizer:
        """Return the normalizer of a result of :meth:`to_json`.

        Raises:
            ArgumentError: it is something else.
        """
        try:
            value = parse_json(text)
            fields, method = value["fields"].items(), value["method"]
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise ArgumentError(
                f"{shortened(text)} does not describe a normalizer ({error}), expected a result of to_json()."
            ) from error
        return cls({name: FieldStatistics.from_json(one) for name, one in fields}, method)
