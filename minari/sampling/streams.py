"""Streams: the endless order in which the elements of a sequence are drawn, a function of a seed and a position.

Every position can be computed without the ones before it, so that a stream resumes anywhere, in any process. An
epoch is as many draws as the stream has elements.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from minari._base.json_text import shortened
from minari._model.arguments import check_whole_number
from minari.errors import ArgumentError, ArgumentTypeError
from minari.sampling.fields import Positions
from minari.sampling.nested import Fields, concatenated, filled, taken
from minari.sampling.sum_tree import SumTree


__all__ = ["Drawn", "Stream", "Weights", "stream_of"]

#: Elements of a block of neighbors, and blocks that are shuffled together, in the order ``"blocks"``.
BLOCK: Final = 64
BLOCKS_AT_A_TIME: Final = 32
PROBABILITIES: Final = "probabilities"  # a field of batches that are drawn by weights

#: Weights of elements: an array, ``"return"``, or a function of the metadata of an episode.
Weights = npt.ArrayLike | Callable[[Mapping[str, Any]], float]

#: Indices of elements, and the probability of each where elements are drawn by weights.
Drawn = tuple[Positions, npt.NDArray[np.float64] | None]


class Elements(Protocol):
    """Protocol of the sequences of transitions or windows that streams draw from."""

    @property
    def episode_starts(self) -> Positions:
        """Return the number of steps before each episode, and of all."""

    def __len__(self) -> int: ...

    def read(self, indices: Positions, *, out: Fields | None = None, draw: tuple[int, int] | None = None) -> Fields:
        """Return the batch of elements that exist."""

    def checked(self, given: Any) -> Positions:
        """Return the indices of elements, from 0 on."""

    def fingerprint(self) -> str:
        """Return a text that differs for other elements."""

    def episode_returns(self) -> npt.NDArray[np.float64]:
        """Return the sum of the rewards of each episode."""

    def episode_metadata(self) -> Iterable[Mapping[str, Any]]:
        """Return the metadata of each episode."""

    def episode_positions(self) -> Positions:
        """Return the position of the episode of each element."""


class Stream:
    """The elements in their order, one epoch like the other.

    Args:
        samples: the sequence.
        seed: of the order.
        shard: the part of the elements that belongs to this stream, and the number of parts.

    Raises:
        ArgumentError: there are fewer elements than parts.
    """

    def __init__(self, samples: Elements, seed: int, shard: tuple[int, int]) -> None:
        self.samples, self.seed = samples, seed
        self.rank, self.world = shard
        #: The number of elements of an epoch, the same in every part.
        self.size = len(samples) // self.world
        if not self.size:
            raise ArgumentError(
                f"shard is {shard} and there are {len(samples)} elements, fewer than shards; use fewer of them."
            )

    def draw(self, epoch: int, begin: int, count: int) -> Drawn:
        """Return the elements at positions ``begin`` to ``begin + count`` of an epoch."""
        return np.arange(begin, begin + count) * self.world + self.rank, None

    def read(self, epoch: int, begin: int, drawn: Drawn, out: Fields | None = None) -> Fields:
        """Return the batch of drawn elements."""
        return self.samples.read(drawn[0], out=out, draw=(epoch, begin))

    def reseed(self, seed: int) -> None:
        """Change the seed."""
        self.seed = seed
        self._reset()

    def _reset(self) -> None:
        """Forget what follows from the seed."""

    def fingerprint(self) -> str:
        """Return a text that differs for other elements, or another part of them."""
        return f"{self.samples.fingerprint()}, shard {self.rank} of {self.world}"

    def generator(self, *key: int) -> np.random.Generator:
        """Return a random generator for this stream, alike on every platform."""
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence((self.seed, *key))))


class ShuffledStream(Stream):
    """The elements in another random order in each epoch."""

    _known: tuple[int, Positions] | None = None

    def _reset(self) -> None:
        self._known = None

    def draw(self, epoch: int, begin: int, count: int) -> Drawn:
        """Return the elements at some positions of an epoch."""
        if self._known is None or self._known[0] != epoch:
            order = self.generator(epoch).permutation(len(self.samples))
            self._known = epoch, order[self.rank :: self.world]
        return self._known[1][begin : begin + count].astype(np.int64), None


class BlockStream(Stream):
    """The elements in blocks of neighbors: the blocks in random order, and some of them shuffled together.

    Neighbors are read together, so that chunks are decoded and remote files read once in an epoch. What is shuffled
    together is in memory.
    """

    def __init__(self, samples: Elements, seed: int, shard: tuple[int, int]) -> None:
        super().__init__(samples, seed, shard)
        self._block = min(BLOCK, max(1, self.size // BLOCKS_AT_A_TIME))
        self._order: tuple[int, Positions] | None = None
        self._groups: dict[tuple[int, int], tuple[Fields, Positions]] = {}
        if self.world > 1:
            self.size -= self.size % self._block  # parts have whole blocks
        self._group_size = self._block * BLOCKS_AT_A_TIME

    def _reset(self) -> None:
        self._order, self._groups = None, {}

    def draw(self, epoch: int, begin: int, count: int) -> Drawn:
        """Return the elements at some positions of an epoch."""
        groups = self._groups_at(begin, count)
        elements = np.concatenate([np.empty(0, np.int64), *(self._group(epoch, group) for group in groups)])
        start = begin - groups.start * self._group_size
        return elements[start : start + count], None

    def _groups_at(self, begin: int, count: int) -> range:
        return range(begin // self._group_size, -(-(begin + count) // self._group_size))

    def _group(self, epoch: int, group: int) -> Positions:
        """Return the shuffled elements of a group of blocks."""
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, self._starts(self.generator(epoch))
        starts = self._order[1][group * BLOCKS_AT_A_TIME : (group + 1) * BLOCKS_AT_A_TIME]
        elements = (starts[:, None] + np.arange(self._block)).reshape(-1)
        return self.generator(epoch, 1 + group).permutation(elements[elements < len(self.samples)])

    def _starts(self, generator: np.random.Generator) -> Positions:
        """Return the first element of each block of an epoch, in random order.

        With one part, the last block may be shorter, and comes last, so that only the last group is. With several,
        blocks begin at a random element, so that those left over are others in each epoch.
        """
        whole, rest = divmod(len(self.samples), self._block)
        blocks = generator.permutation(whole).astype(np.int64)
        if self.world > 1:
            first = int(generator.integers(0, rest + 1))
            return first + self._block * blocks[: self.world * (self.size // self._block)][self.rank :: self.world]
        return self._block * np.concatenate([blocks, np.full(int(rest > 0), whole)])

    def read(self, epoch: int, begin: int, drawn: Drawn, out: Fields | None = None) -> Fields:
        """Return the batch of drawn elements, out of the groups in memory."""
        count, parts = len(drawn[0]), []
        wanted = self._groups_at(begin, count)
        self._groups = {key: kept for key, kept in self._groups.items() if key[0] == epoch and key[1] in wanted}
        for group in wanted:
            if (epoch, group) not in self._groups:
                elements = self._group(epoch, group)
                order = np.argsort(elements)
                batch = self.samples.read(elements[order], draw=(epoch, group * self._group_size))
                self._groups[epoch, group] = batch, np.argsort(order)
            start = max(0, begin - group * self._group_size)
            stop = min(self._group_size, begin + count - group * self._group_size)
            batch, places = self._groups[epoch, group]
            parts.append(taken(batch, places[start:stop]))
        found: Fields = filled(concatenated(parts), out)
        return found


class ReplacingStream(Stream):
    """Elements drawn at random with replacement."""

    def draw(self, epoch: int, begin: int, count: int) -> Drawn:
        """Return the elements at some positions of an epoch."""
        places = (self._fractions(epoch, begin, count) * self.size).astype(np.int64)
        return places * self.world + self.rank, None

    def _fractions(self, epoch: int, begin: int, count: int) -> npt.NDArray[np.float64]:
        """Return random numbers from 0 to 1, each a function of its position."""
        bits = np.random.PCG64(np.random.SeedSequence((self.seed, self.rank)))
        bits.advance(epoch * self.size + begin)
        return np.random.Generator(bits).random(count)


class WeightedStream(ReplacingStream):
    """Elements drawn with replacement, in proportion to their weights.

    Args:
        samples, seed, shard: see :class:`Stream`.
        weights: of all elements.
    """

    def __init__(self, samples: Elements, seed: int, shard: tuple[int, int], weights: npt.NDArray[np.float64]) -> None:
        super().__init__(samples, seed, shard)
        self._tree = SumTree(weights[self.rank :: self.world][: self.size])
        self._check_total()

    def _check_total(self) -> None:
        if not self._tree.total > 0:
            raise ArgumentError(
                f"All weights are 0{'' if self.world == 1 else ' in this shard'}, expected a positive one to draw by."
            )

    @property
    def weights(self) -> npt.NDArray[np.float64]:
        """Return the weights of the elements of this stream."""
        return self._tree.weights

    def restore(self, weights: npt.ArrayLike) -> None:
        """Set all weights of this stream."""
        self._tree = SumTree(np.array(weights, np.float64))

    def set(self, indices: npt.ArrayLike, weights: npt.ArrayLike) -> None:
        """Change weights; those of elements of other parts are ignored.

        Raises:
            ArgumentError: a weight is negative, infinite or NaN, all would be 0, or the lengths differ.
            SampleIndexError: there is no such element.
        """
        at = self.samples.checked(indices)
        values = checked_weights(weights, len(at))
        places, ranks = np.divmod(at, self.world)
        is_own = (ranks == self.rank) & (places < self.size)
        before = self._tree.weights[places[is_own]].copy()
        self._tree.set(places[is_own], values[is_own])
        try:
            self._check_total()
        except ArgumentError:
            self._tree.set(places[is_own][::-1], before[::-1])
            raise

    def draw(self, epoch: int, begin: int, count: int) -> Drawn:
        """Return the elements at some positions of an epoch, and their probabilities."""
        places = self._tree.find(self._fractions(epoch, begin, count))
        return places * self.world + self.rank, self._tree.weights[places] / self._tree.total

    def read(self, epoch: int, begin: int, drawn: Drawn, out: Fields | None = None) -> Fields:
        """Return the batch of drawn elements, with their probabilities."""
        inner = None if out is None else {name: values for name, values in out.items() if name != PROBABILITIES}
        batch: Fields = {**super().read(epoch, begin, drawn, inner), PROBABILITIES: drawn[1]}
        return batch if out is None else filled(batch, out)


def checked_weights(weights: Any, count: int) -> npt.NDArray[np.float64]:
    """Return weights as an array of floats.

    Raises:
        ArgumentTypeError: they are not numbers.
        ArgumentError: there is another number of them, or one is negative, infinite or NaN.
    """
    try:
        values = np.asarray(weights, np.float64)
    except (TypeError, ValueError) as error:
        raise ArgumentTypeError(f"weights is {shortened(weights)}, expected {count} numbers.") from error
    if values.shape != (count,):
        raise ArgumentError(f"weights has the shape {values.shape}, expected ({count},): one number for each element.")
    wrong = ~(np.isfinite(values) & (values >= 0))
    if wrong.any():
        place = int(np.argmax(wrong))
        raise ArgumentError(f"The weight {place} is {values[place]}, expected a finite number from 0.")
    return values


def weights_of(samples: Elements, weights: Any) -> npt.NDArray[np.float64]:
    """Return the weight of each element.

    Args:
        samples: the elements.
        weights: an array over them; ``"return"`` for the return of their episode, scaled to 0 for the least and 1 for
            the greatest; or a function of the metadata of an episode.

    Raises:
        ArgumentError: they are invalid, or all 0.
    """
    if isinstance(weights, str):
        if weights != "return":
            raise ArgumentError(f"weights is {weights!r}, expected 'return', an array or a function.")
        returns = samples.episode_returns()
        least, most = returns.min(), returns.max()
        of_episodes = (returns - least) / (most - least) if most > least else np.ones_like(returns)
    elif callable(weights):
        of_episodes = checked_weights(list(map(weights, samples.episode_metadata())), len(samples.episode_starts) - 1)
    else:
        return checked_weights(weights, len(samples))
    return of_episodes[samples.episode_positions()]


def stream_of(
    samples: Elements,
    seed: int,
    *,
    shuffle: bool,
    replace: bool,
    weights: Any,
    shard: tuple[int, int],
    order: str,
) -> Stream:
    """Return the stream of elements for the arguments of :meth:`Samples.batches`.

    Raises:
        ArgumentError: an argument is invalid, or they contradict each other.
    """
    if order not in ("uniform", "blocks"):
        raise ArgumentError(f"order is {shortened(order)}, expected 'uniform' or 'blocks'.")
    if order == "blocks" and (replace or weights is not None or not shuffle):
        raise ArgumentError("order='blocks' shuffles without replacement; leave out replace, weights and shuffle.")
    if weights is not None:
        return WeightedStream(samples, seed, shard, weights_of(samples, weights))
    if replace:
        return ReplacingStream(samples, seed, shard)
    if not shuffle:
        return Stream(samples, seed, shard)
    return (BlockStream if order == "blocks" else ShuffledStream)(samples, seed, shard)


def checked_shard(shard: Any) -> tuple[int, int]:
    """Return the number of a part and the number of parts.

    Raises:
        ArgumentError: they are not two whole numbers, the first less than the second.
    """
    if not isinstance(shard, (tuple, list)) or len(shard) != 2:
        raise ArgumentError(f"shard is {shortened(shard)}, expected (rank, world).")
    rank, world = shard
    check_whole_number("rank", rank)
    check_whole_number("world", world)
    if not 0 <= rank < world:
        raise ArgumentError(f"shard is {tuple(shard)}, expected a rank from 0 to {world - 1}, and a world from 1.")
    return int(rank), int(world)
