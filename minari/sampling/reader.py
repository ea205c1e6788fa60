"""Reads steps of the episodes of a view, by position: numbers through the storage, other values episode by episode."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from minari._model.episode_codec import REWARDS, TERMINATIONS, TRUNCATIONS
from minari._model.infos import decode_infos
from minari._storages.base import MinariStorage
from minari._storages.rows import RowRequest
from minari.errors import DatasetCorruptError, EpisodeError
from minari.sampling.fields import Part
from minari.sampling.row_cache import RowCache
from minari.spaces import Column, ColumnPath


__all__ = ["FLAGS", "EpisodeTable", "Positions", "Query", "StepReader"]

_MOST_RECENT: Final = 256  # episodes whose values without a fixed shape are kept
_MOST_STEPS: Final = 2**22  # of which a table of their episodes is made, faster than a search and 16 MB at most
_INFOS: Final = "infos"
_MISSING: Final = object()

FLAGS: Final = (Part(TERMINATIONS, ()), Part(TRUNCATIONS, ()))

Positions = npt.NDArray[np.int64]


class EpisodeTable:
    """The episodes of a view.

    Args:
        numbers: the number of each episode in the whole dataset.
        lengths: the number of steps of each.

    Attributes:
        numbers: the number of each episode in the whole dataset.
        lengths: the number of steps of each.
        starts: the number of steps before each, and of all, shape (episodes + 1,).
    """

    def __init__(self, numbers: Positions, lengths: Positions) -> None:
        self.numbers, self.lengths = numbers, lengths
        self.starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        self._of_steps: npt.NDArray[np.int32] | None = None  # the position of the episode of each step

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.numbers, self.lengths)

    def positions_of(self, steps: Positions) -> Positions:
        """Return the positions of the episodes of steps, which are numbered over the whole view."""
        if self._of_steps is None:
            if self.starts[-1] > _MOST_STEPS:
                return self.starts.searchsorted(steps, "right") - 1
            self._of_steps = np.repeat(np.arange(len(self.lengths), dtype=np.int32), self.lengths)
        return self._of_steps[steps].astype(np.int64)

    @classmethod
    def of(cls, storage: MinariStorage, numbers: npt.ArrayLike) -> EpisodeTable:
        """Return the table of these episodes of a storage."""
        episodes = np.asarray(numbers, np.int64)
        return cls(episodes, storage.get_episode_lengths(episodes))


@dataclass(frozen=True, slots=True)
class Query:
    """Values of one part at some steps: of step ``rows[i]`` of episode ``positions[i]`` of the view.

    Attributes:
        part: what is read.
        positions: of the episodes in the view, shape (B,).
        rows: numbers of the rows of each, shape (B,) or (B, L).
        length: number of consecutive rows from each on; see :class:`~minari._storages.rows.RowRequest`.
        out: an array for the values, if they are large.
    """

    part: Part
    positions: Positions
    rows: Positions
    length: int | None = None
    out: Any = None


class StepReader:
    """The values of steps of the episodes of a view.

    Args:
        storage: of the dataset.
        table: the episodes of the view.
        cache: of decoded rows, None for none.
    """

    def __init__(self, storage: MinariStorage, table: EpisodeTable, cache: RowCache | None = None) -> None:
        self.storage, self.table, self._cache = storage, table, cache
        self._reward_shape: tuple[int, ...] | None = None
        self._recent: OrderedDict[tuple[Any, int], list[Any]] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {"storage": self.storage, "table": self.table, "cache": self._cache}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]
        self.check_unchanged()

    def check_unchanged(self) -> None:
        """Raise if episodes of the view have other lengths than when it was made.

        Raises:
            DatasetCorruptError: the dataset has been replaced or rewritten.
        """
        table = self.table
        total = self.storage.total_episodes
        if len(table.numbers) and (
            table.numbers.max() >= total or (self.storage.get_episode_lengths(table.numbers) != table.lengths).any()
        ):
            raise DatasetCorruptError(
                f"The episodes of {self.storage.data_path} have other lengths than when they were selected; the "
                f"dataset was replaced, so open it again."
            )

    @property
    def rewards(self) -> Part:
        """Return the rewards as a part."""
        if self._reward_shape is None:
            self._reward_shape = self.storage.reward_shape or ()
        return Part(REWARDS, self._reward_shape)

    def read(self, queries: Sequence[Query]) -> list[Any]:
        """Return the values of each query: an array of shape (B, …) or (B, L, …), or nested lists of values."""
        numbers = {id(query.positions): self.table.numbers[query.positions] for query in queries}
        arrays = [query for query in queries if query.part.shape is not None]
        requests = [
            RowRequest(
                query.part.path, query.part.shape, numbers[id(query.positions)], query.rows, query.length, query.out
            )
            for query in arrays
            if query.part.shape is not None
        ]
        found = iter(self._rows(requests))
        return [next(found) if query.part.shape is not None else self._values(query) for query in queries]

    def _rows(self, requests: list[RowRequest]) -> list[Column]:
        if self._cache is None:
            return self.storage.read_rows(requests) if requests else []
        cached = [self._cache.read(request) for request in requests]
        others = [request for request, rows in zip(requests, cached, strict=True) if rows is None]
        read = iter(self.storage.read_rows(others) if others else ())
        return [next(read) if rows is None else rows for rows in cached]

    def _values(self, query: Query) -> list[Any]:
        """Return values without a fixed shape."""
        codec = query.part.codec
        if codec is None:
            raise TypeError(f"{query.part} has neither a shape nor a codec")

        def values_of(columns: Mapping[ColumnPath, Column]) -> list[Any]:
            try:
                return codec.steps(codec.decode(columns), codec.count(columns) or 0)
            except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
                raise DatasetCorruptError(
                    f"The {codec.name} of an episode in {self.storage.data_path} cannot be decoded ({error}); the file "
                    f"is damaged, or belongs to another dataset."
                ) from error

        episodes = self._of_episodes(query.part.path, frozenset(codec.paths()), values_of, query.positions)
        return _picked(episodes, query.positions, query.rows, query.length)

    def infos(self, name: str, positions: Positions, rows: Positions, length: int | None = None) -> Any:
        """Return the values of an info, an array if its values are numbers of one shape and otherwise lists.

        Raises:
            EpisodeError: an episode does not have it.
        """

        def values_of(columns: Mapping[ColumnPath, Column]) -> Any:
            value: Any = decode_infos(columns)
            for key in name.split("/"):
                if not isinstance(value, Mapping) or key not in value:
                    return None
                value = value[key]
            return value

        episodes = self._of_episodes((_INFOS, name), _Infos(), values_of, positions)
        for position, values in episodes.items():
            if values is None:
                raise EpisodeError(
                    f"Episode {self.table.numbers[position]} has no info {name!r}; select the episodes that have it "
                    f"with filter_episodes, or leave it out of infos."
                )
        all_rows = rows if length is None else rows[:, None] + np.arange(length)
        arrays = [values for values in episodes.values() if _is_numbers(values)]
        if len(arrays) == len(episodes) and len({array.shape[1:] for array in arrays}) == 1:
            places = dict(zip(episodes, range(len(arrays)), strict=True))
            starts = np.cumsum([0, *map(len, arrays)])[:-1]
            first = starts[[places[position] for position in positions.tolist()]]
            return np.concatenate(arrays)[(first if all_rows.ndim == 1 else first[:, None]) + all_rows]
        return _picked(episodes, positions, all_rows)

    def _of_episodes(
        self,
        key: Any,
        paths: Container[ColumnPath],
        values_of: Callable[[Mapping[ColumnPath, Column]], Any],
        positions: Positions,
    ) -> dict[int, Any]:
        """Return something of each episode, by its position."""
        wanted = dict.fromkeys(positions.tolist())
        known = {position: self._recent.get((key, position), _MISSING) for position in wanted}
        missing = [position for position, values in known.items() if values is _MISSING]
        read = self.storage.read_parts(self.table.numbers[missing].tolist(), paths)
        for position, (_, columns) in zip(missing, read, strict=True):
            known[position] = self._recent[key, position] = values_of(columns)
        while len(self._recent) > _MOST_RECENT:
            self._recent.popitem(last=False)
        return known


def _is_numbers(values: Any) -> bool:
    return isinstance(values, np.ndarray) and not values.dtype.hasobject and values.dtype.kind not in "US"


class _Infos:
    """The paths of all columns of infos; which of them make up one info shows when they are decoded."""

    def __contains__(self, path: object) -> bool:
        return isinstance(path, tuple) and path[0] == _INFOS


def _picked(
    episodes: Mapping[int, Sequence[Any]], positions: Positions, rows: Positions, length: int | None = None
) -> list[Any]:
    """Return the values at some rows, as a list for each element of the batch if it has several."""
    if length is not None:
        rows = rows[:, None] + np.arange(length)
    pairs = zip(positions.tolist(), rows.tolist(), strict=True)
    if rows.ndim == 1:
        return [episodes[position][row] for position, row in pairs]
    return [[episodes[position][row] for row in several] for position, several in pairs]
