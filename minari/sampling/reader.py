"""Reads steps of the episodes of a view, by position: numbers through the storage, other values episode by episode."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from minari._model.episode_codec import REWARDS, TERMINATIONS, TRUNCATIONS
from minari._model.infos import decode_infos
from minari._storages.base import MinariStorage
from minari._storages.rows import RowRequest
from minari.errors import DatasetCorruptError, EpisodeError
from minari.sampling.fields import Part, Positions
from minari.sampling.row_cache import RowCache
from minari.spaces import Column, ColumnPath


__all__ = ["FLAGS", "EpisodeTable", "StepReader"]

_MOST_RECENT: Final = 256  # episodes whose values without a fixed shape are kept
_MOST_STEPS: Final = 2**22  # of which a table of their episodes is made, faster than a search and 16 MB at most
_INFOS: Final = "infos"
_MISSING: Final = object()

FLAGS: Final = (Part(TERMINATIONS, ()), Part(TRUNCATIONS, ()))


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

    def read(self, wanted: Sequence[tuple[Part, RowRequest]]) -> list[Any]:
        """Return the values of each request: an array of shape (B, …) or (B, L, …), or nested lists of values."""
        found = iter(self._rows([request for part, request in wanted if part.shape is not None]))
        return [next(found) if part.shape is not None else self._values(part, request) for part, request in wanted]

    def _rows(self, requests: list[RowRequest]) -> list[Column]:
        if self._cache is None:
            return self.storage.read_rows(requests) if requests else []
        cached = [self._cache.read(request) for request in requests]
        others = [request for request, rows in zip(requests, cached, strict=True) if rows is None]
        read = iter(self.storage.read_rows(others) if others else ())
        return [next(read) if rows is None else rows for rows in cached]

    def _values(self, part: Part, request: RowRequest) -> list[Any]:
        """Return values without a fixed shape."""
        codec = part.codec
        if codec is None:
            raise TypeError(f"{part} has neither a shape nor a codec")

        def values_of(columns: Mapping[ColumnPath, Column]) -> list[Any]:
            try:
                return codec.steps(codec.decode(columns), codec.count(columns) or 0)
            except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
                raise DatasetCorruptError(
                    f"The {codec.name} of an episode in {self.storage.data_path} cannot be decoded ({error}); the file "
                    f"is damaged, or belongs to another dataset."
                ) from error

        values = self._of_episodes(part.path, frozenset(codec.paths()), values_of, request.episodes)
        return _picked(values, request.episodes, request.all_rows)

    def infos(self, name: str, episodes: Positions, rows: Positions) -> Any:
        """Return the values of an info, an array if its values are numbers of one shape and otherwise lists.

        Args:
            name: of the info; keys of nested ones are joined by ``/``.
            episodes: numbers of the episodes, shape (B,).
            rows: of each, shape (B,) or (B, L).

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

        found = self._of_episodes((_INFOS, name), _Infos(), values_of, episodes)
        for episode, values in found.items():
            if values is None:
                raise EpisodeError(
                    f"Episode {episode} has no info {name!r}; select the episodes that have it with filter_episodes, "
                    f"or leave it out of infos."
                )
        arrays = [one for one in found.values() if isinstance(one, np.ndarray) and one.dtype.kind not in "OSU"]
        if len(arrays) < len(found) or len({array.shape[1:] for array in arrays}) > 1:
            return _picked(found, episodes, rows)
        starts = dict(zip(found, np.cumsum([0, *map(len, arrays)]).tolist(), strict=False))
        first = np.array([starts[episode] for episode in episodes.tolist()], np.int64)
        return np.concatenate(arrays)[(first if rows.ndim == 1 else first[:, None]) + rows]

    def _of_episodes(
        self,
        key: Any,
        paths: Container[ColumnPath],
        values_of: Callable[[Mapping[ColumnPath, Column]], Any],
        episodes: Positions,
    ) -> dict[int, Any]:
        """Return something of each episode, by its number."""
        known = {episode: self._recent.get((key, episode), _MISSING) for episode in episodes.tolist()}
        missing = [episode for episode, values in known.items() if values is _MISSING]
        for episode, columns in self.storage.read_parts(missing, paths):
            known[episode] = self._recent[key, episode] = values_of(columns)
        while len(self._recent) > _MOST_RECENT:
            self._recent.popitem(last=False)
        return known


class _Infos:
    """The paths of all columns of infos; which of them make up one info shows when they are decoded."""

    def __contains__(self, path: object) -> bool:
        return isinstance(path, tuple) and bool(path) and path[0] == _INFOS


def _picked(values: Mapping[int, Sequence[Any]], episodes: Positions, rows: Positions) -> list[Any]:
    """Return the values of episodes at some rows, as a list for each element of the batch if it has several."""
    pairs = zip(episodes.tolist(), rows.tolist(), strict=True)
    if rows.ndim == 1:
        return [values[episode][row] for episode, row in pairs]
    return [[values[episode][row] for row in several] for episode, several in pairs]
