"""Samples: what transitions and windows have in common as sequences that batches are drawn from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final, Literal

import numpy as np
import numpy.typing as npt

from minari._base.checksums import bytes_checksum
from minari._base.json_text import shortened
from minari._storages.array_pool import keep_freed_memory
from minari._storages.base import MinariStorage
from minari._storages.rows import RowRequest
from minari.errors import ArgumentError, ArgumentTypeError, EpisodeError, SampleIndexError
from minari.sampling.batches import Batches, checked_seed
from minari.sampling.fields import NEXT_OBSERVATIONS, FieldTree, Part, Positions, checked_names, select
from minari.sampling.nested import Batch, Fields, as_batch, element_of, filled, without_batch
from minari.sampling.reader import FLAGS, EpisodeTable, StepReader
from minari.sampling.row_cache import CacheKind, RowCache
from minari.sampling.streams import Weights, checked_shard, stream_of


__all__ = ["Draw", "Samples"]

#: The epoch of a batch of a stream, and its first position in it.
Draw = tuple[int, int]

_ONE_BY_ONE: Final = 256  # elements that are read together when they are iterated one by one


class Samples(ABC):
    """A flat sequence of the transitions or windows of a dataset or view.

    Args:
        storage: of the dataset.
        numbers: the episodes of the view.
        fields: the fields to read; None for all.
        infos: the names of infos to read.
        discount: the discount factor.
        returns_to_go: True to add the discounted sum of rewards up to the end of the episode.
        cache: ``"memory"`` or ``"disk"`` to keep decoded rows of compressed leaves.
        cache_bytes: the most bytes of them.
    """

    #: What an element is called in messages.
    KIND: ClassVar[str]
    #: The fields that are not spaces.
    SCALARS: ClassVar[tuple[str, ...]] = ("rewards", "terminations", "truncations", "episode_ids", "timesteps")

    def __init__(
        self,
        storage: MinariStorage,
        numbers: npt.ArrayLike,
        fields: Iterable[str] | None,
        infos: Iterable[str],
        discount: float,
        returns_to_go: bool,
        cache: CacheKind | None,
        cache_bytes: int,
    ) -> None:
        table = EpisodeTable.of(storage, numbers)
        if not len(table.numbers):
            raise EpisodeError(
                f"The view of {storage.dataset_id} has no episode, expected at least one to sample from."
            )
        kept = None if cache is None else RowCache(storage, table.numbers, table.lengths, cache, cache_bytes)
        self._reader = StepReader(storage, table, kept)
        self._fields = None if fields is None else checked_names("fields", fields)
        self._infos = checked_names("infos", infos)
        self._discount = checked_discount(discount)
        self._with_returns = bool(returns_to_go)
        self._prepare()

    def _prepare(self) -> None:
        """Set what follows from the arguments and is not pickled."""
        keep_freed_memory()  # of batches
        codec = self._reader.storage.episode_codec
        spaces = {"observations": codec.observations, "actions": codec.actions, NEXT_OBSERVATIONS: codec.observations}
        fields = self._default_fields() if self._fields is None else self._fields
        chosen = select(fields, spaces, self.SCALARS)
        self._names = list(chosen)
        self._trees = {name: FieldTree(spaces[name], chosen[name]) for name in self._names if name in spaces}
        outcomes = {"rewards": self._reader.rewards, "terminations": FLAGS[0], "truncations": FLAGS[1]}
        self._outcomes = {name: part for name, part in outcomes.items() if name in chosen}
        self._returns = _Returns(self._reader, self._discount) if self._with_returns else None

    def __getstate__(self) -> dict[str, Any]:
        derived = ("_names", "_trees", "_outcomes", "_returns")
        return {name: value for name, value in vars(self).items() if name not in derived}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._prepare()

    def _default_fields(self) -> tuple[str, ...]:
        return ("observations", "actions", NEXT_OBSERVATIONS, *self.SCALARS)

    @property
    def episode_starts(self) -> Positions:
        """Return the number of steps before each episode of the view, and of all: shape (episodes + 1,), int64."""
        return self._reader.table.starts

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def _read(self, indices: Positions, out: Fields | None = None, draw: Draw | None = None) -> Fields:
        """Return the batch of elements that exist; large arrays may be those of ``out``."""

    def read(self, indices: Positions, *, out: Fields | None = None, draw: Draw | None = None) -> Fields:
        """Return the batch of elements that exist.

        Args:
            indices: of the elements, from 0 on, shape (B,), int64.
            out: a batch of this size, whose arrays are filled and returned; None for new arrays.
            draw: the epoch and the first position in it, if the batch is drawn by a stream.

        Raises:
            ArgumentError: the fields, shapes or dtypes of ``out`` are others.
        """
        batch: Fields = filled(self._read(indices, out, draw), out)
        return batch

    def __getitem__(self, index: Any) -> Batch:
        """Return one element, without a batch dimension, or the batch of a slice, a list of ints, or a mask.

        Raises:
            SampleIndexError: there is no such element.
        """
        if isinstance(index, (int, np.integer)) and not isinstance(index, (bool, np.bool_)):
            element: Batch = without_batch(self._read(self.checked(np.array([index]))))
            return element
        if isinstance(index, slice):
            return as_batch(self._read(np.arange(*index.indices(len(self)), dtype=np.int64)))
        return as_batch(self._read(self.checked(index)))

    def __getitems__(self, indices: Sequence[int]) -> list[Batch]:
        """Return single elements, as PyTorch's ``DataLoader`` asks for those of a batch.

        They are views of one batch, which its ``collate_fn`` copies.
        """
        batch = self._read(self.checked(indices))
        return [element_of(batch, position) for position in range(len(indices))]

    def __iter__(self) -> Iterator[Batch]:
        for start in range(0, len(self), _ONE_BY_ONE):
            stop = min(start + _ONE_BY_ONE, len(self))
            batch = self._read(np.arange(start, stop))
            for position in range(stop - start):
                yield without_batch(batch, position)

    def arrays(self) -> Batch:
        """Return all elements as one batch, of shape (N, …)."""
        return as_batch(self._read(np.arange(len(self))))

    def checked(self, given: Any) -> Positions:
        """Return the indices of elements, from 0 on.

        Raises:
            SampleIndexError: they are not ints or a mask, or there is no such element.
        """
        try:
            indices = np.asarray(given)
        except ValueError:
            indices = np.empty((), object)
        if indices.ndim == 1 and not indices.size:
            return np.empty(0, np.int64)
        if indices.dtype == bool and indices.shape == (len(self),):
            return np.flatnonzero(indices)
        if indices.ndim != 1 or indices.dtype.kind not in "iu":
            raise SampleIndexError(
                f"The index is {shortened(given)}, expected an int, a slice, a list of ints, or a mask of {len(self)} "
                f"bools."
            )
        indices = indices.astype(np.int64)
        negative = indices < 0
        if negative.any():
            indices = np.where(negative, indices + len(self), indices)
        if indices.min() < 0 or indices.max() >= len(self):
            wrong = np.asarray(given).reshape(-1)[np.argmax((indices < 0) | (indices >= len(self)))]
            raise SampleIndexError(f"There is no {self.KIND} {wrong}, there are {len(self)}; give an index below that.")
        return indices

    def batches(
        self,
        batch_size: int,
        *,
        seed: int | None = None,
        shuffle: bool = True,
        replace: bool = False,
        weights: Weights | Literal["return"] | None = None,
        epochs: int | None = None,
        drop_last: bool = True,
        shard: tuple[int, int] = (0, 1),
        prefetch: int = 2,
        order: Literal["uniform", "blocks"] = "uniform",
        out: Batch | None = None,
    ) -> Batches:
        """Return an iterator over batches, whose position can be saved and restored.

        Args:
            batch_size: the number of elements of a batch.
            seed: of the order, which is the same on every platform; None for another one each time.
            shuffle: False for the order of the dataset.
            replace: True to draw each element at random, independent of the others.
            weights: to draw elements with replacement, in proportion to these numbers: an array over the elements;
                ``"return"`` for the return of their episode, scaled to 0 for the least and 1 for the greatest; or a
                function of the metadata of an episode (a dict with ``total_steps``, ``rewards_sum``, ``seed``, …).
                Batches have ``probabilities``, and the iterator ``set_weights``.
            epochs: the number of passes over the data; None for no end.
            drop_last: True to leave out the last batch of an epoch if it would be smaller.
            shard: the rank of this process and the number of processes, each of which draws from a part of its own,
                equally long in all of them.
            prefetch: the number of batches to read ahead in a thread, which is started where reading a batch takes
                more than half a millisecond.
            order: ``"blocks"`` to read blocks of 64 neighbors in random order and shuffle 32 of them in memory, for
                data that does not fit in memory or is compressed.
            out: a batch whose arrays are filled and returned each time; nothing is read ahead then.

        Raises:
            ArgumentError: an argument is invalid, or the batch is larger than the data.

        Example:
            >>> import minari, numpy as np
            >>> dataset = minari.create_dataset_from_arrays(
            ...     "docs/batches-v0", observations=np.arange(7.0), actions=np.arange(5), rewards=np.ones(5),
            ...     terminations=np.array([0, 0, 1, 0, 1]),
            ... )
            >>> [batch["actions"].tolist() for batch in dataset.transitions().batches(2, seed=1, epochs=1)]
            [[4, 0], [1, 2]]
        """
        number = checked_seed(seed)
        stream = stream_of(
            self, number, shuffle=shuffle, replace=replace, weights=weights, shard=checked_shard(shard), order=order
        )
        return Batches(
            stream,
            batch_size,
            epochs=epochs,
            drop_last=drop_last,
            prefetch=prefetch,
            out=out,
            replaces=replace or weights is not None,
            any_seed=seed is None,
        )

    # What streams draw by

    def fingerprint(self) -> str:
        """Return a text that differs for other episodes or other elements of them."""
        table = self._reader.table
        checksum = bytes_checksum(np.concatenate([table.numbers, table.lengths]).astype("<i8"))
        return f"{len(self)} {self.KIND}s of {self._reader.storage.dataset_id} ({checksum:08x})"

    def episode_returns(self) -> npt.NDArray[np.float64]:
        """Return the sum of the rewards of each episode of the view."""
        outcomes = self._reader.storage.get_outcomes(self._reader.table.numbers)
        sums = (episode["rewards"].sum(dtype=np.float64) for episode in outcomes)
        return np.fromiter(sums, np.float64, len(self._reader.table.numbers))

    def episode_metadata(self) -> Iterator[dict[str, Any]]:
        """Return the metadata of each episode of the view."""
        return self._reader.storage.get_episode_metadata(self._reader.table.numbers.tolist())

    @abstractmethod
    def locate(self, indices: Positions) -> tuple[Positions, Positions]:
        """Return the position of the episode of each element, and its step, shapes (B,)."""

    @abstractmethod
    def episode_positions(self) -> Positions:
        """Return the position of the episode of each element, shape (N,)."""

    def _nested(self, wanted: Mapping[str, Sequence[tuple[Part, RowRequest]]]) -> dict[str, Any]:
        """Return the values of each field, of which several parts may be read."""
        values = iter(self._reader.read([one for several in wanted.values() for one in several]))
        return {
            name: tree.nest([next(values) for _ in several]) if (tree := self._trees.get(name)) else next(values)
            for name, several in wanted.items()
        }


class _Returns:
    """The discounted sums of the rewards from each step of the view to the end of its episode, made when asked for.

    Args:
        reader: of the steps.
        discount: the discount factor.
    """

    def __init__(self, reader: StepReader, discount: float) -> None:
        self._reader, self._discount = reader, discount
        self._values: npt.NDArray[np.float64] | None = None
        self._known = np.zeros(len(reader.table.numbers), bool)

    def of(self, positions: Positions, rows: Positions) -> npt.NDArray[np.float64]:
        """Return the returns-to-go of step ``rows[i]`` of the episode at ``positions[i]``, in float64."""
        table = self._reader.table
        new = np.unique(positions[~self._known[positions]])
        for begin in range(0, len(new), 1024):
            self._add(new[begin : begin + 1024])
        values: Any = self._values
        starts = table.starts[positions]
        result: npt.NDArray[np.float64] = values[(starts if rows.ndim == 1 else starts[:, None]) + rows]
        return result

    def _add(self, positions: Positions) -> None:
        table, rewards = self._reader.table, self._reader.rewards
        lengths = table.lengths[positions]
        steps = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        (found,) = self._reader.read([rewards.at(np.repeat(table.numbers[positions], lengths), steps)])
        if self._values is None:
            self._values = np.zeros((int(table.starts[-1]), *found.shape[1:]))
        padded = np.zeros((int(lengths.max()), len(positions), *found.shape[1:]))
        columns = np.repeat(np.arange(len(positions)), lengths)
        padded[steps, columns] = found
        for step in range(len(padded) - 2, -1, -1):
            padded[step] += self._discount * padded[step + 1]
        self._values[np.repeat(table.starts[positions], lengths) + steps] = padded[steps, columns]
        self._known[positions] = True


def checked_discount(discount: object) -> float:
    """Return a discount factor.

    Raises:
        ArgumentTypeError: it is not a number.
        ArgumentError: it is not between 0 and 1.
    """
    if isinstance(discount, bool) or not isinstance(discount, (int, float, np.integer, np.floating)):
        raise ArgumentTypeError(f"discount is {shortened(discount)}, expected a number from 0 to 1.")
    if not 0 <= discount <= 1:
        raise ArgumentError(f"discount is {discount}, expected a number from 0 to 1.")
    return float(discount)
