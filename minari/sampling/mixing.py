"""Mixing: batches whose elements come from several sequences, in exact shares over time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

import numpy as np

from minari._base.json_text import shortened
from minari._model.arguments import checked_count
from minari.errors import ArgumentError, ArgumentTypeError
from minari.sampling.batches import checked_seed
from minari.sampling.nested import Batch, Fields, as_batch, concatenated
from minari.sampling.samples import Samples
from minari.sampling.streams import Stream, checked_shard, stream_of


__all__ = ["MixedBatches", "Mixture", "mix"]

_VERSION: Final = 1


def mix(shares: Mapping[Samples, float]) -> Mixture:
    """Return a mixture of several transitions or windows, to draw batches from.

    Args:
        shares: the share of each, positive numbers; only their ratios count.

    Raises:
        ArgumentError: there is none, a share is not positive, or their fields differ.

    Example:
        >>> import minari, numpy as np
        >>> def recorded(dataset_id, reward):
        ...     return minari.create_dataset_from_arrays(
        ...         dataset_id, observations=np.arange(9.0), actions=np.zeros(8), rewards=np.full(8, reward),
        ...         terminations=np.arange(8) == 7,
        ...     )
        >>> expert, novice = recorded("docs/mix/expert-v0", 1.0), recorded("docs/mix/novice-v0", 0.0)
        >>> mixture = minari.mix({expert.transitions(): 0.75, novice.transitions(): 0.25})
        >>> batch = next(mixture.batches(8, seed=1))
        >>> batch["rewards"], batch["sources"]
        (array([1., 1., 1., 1., 1., 1., 0., 0.]), array([0, 0, 0, 0, 0, 0, 1, 1]))
    """
    return Mixture(shares)


class Mixture:
    """Several transitions or windows, each with its share; see :func:`minari.mix`."""

    def __init__(self, shares: Mapping[Samples, float]) -> None:
        if not isinstance(shares, Mapping) or not all(isinstance(source, Samples) for source in shares):
            raise ArgumentTypeError(
                f"shares is {shortened(shares)}, expected a dict of transitions or windows and their shares."
            )
        for share in shares.values():
            is_number = isinstance(share, (int, float, np.integer, np.floating)) and not isinstance(share, bool)
            if not is_number or not 0 < share < np.inf:
                raise ArgumentError(f"A share is {shortened(share)}, expected a positive number.")
        if not shares:
            raise ArgumentError("shares is empty, expected at least one sequence to draw from.")
        self.sources = list(shares)
        weights = np.array(list(shares.values()), np.float64)
        self.shares = weights / weights.sum()
        first, *others = [_structure(source[:1]) for source in self.sources]
        for other in others:
            if other != first:
                raise ArgumentError(
                    f"The batches of the sources differ, {shortened(first)} and {shortened(other)}; give all of them "
                    f"the same fields, and mix only datasets with the same spaces."
                )

    def batches(
        self,
        batch_size: int,
        *,
        seed: int | None = None,
        shuffle: bool = True,
        replace: bool = False,
        shard: tuple[int, int] = (0, 1),
        order: Literal["uniform", "blocks"] = "uniform",
    ) -> MixedBatches:
        """Return an endless iterator over batches with ``sources``, the position of the source of each element.

        After any number of batches, each source has given its share of all elements, to within one. Every source has
        an order and epochs of its own.

        Args:
            batch_size: the number of elements of a batch.
            seed: of the order; None for another one each time.
            shuffle: False for the order of each source.
            replace: True to draw each element at random, independent of the others.
            shard: the rank of this process and the number of processes, each of which draws from a part of its own.
            order: ``"blocks"`` to shuffle blocks of neighbors, see :meth:`minari.sampling.Samples.batches`.

        Raises:
            ArgumentError: an argument is invalid.
        """
        number, part = checked_seed(seed), checked_shard(shard)
        streams = [
            stream_of(source, number + place, shuffle=shuffle, replace=replace, weights=None, shard=part, order=order)
            for place, source in enumerate(self.sources)
        ]
        return MixedBatches(streams, self.shares.tolist(), batch_size)


class MixedBatches(Iterator[Batch]):
    """An endless iterator over batches of a mixture.

    Args:
        streams: the order of the elements of each source.
        shares: of the sources, which add up to 1.
        batch_size: the number of elements of a batch.
    """

    def __init__(self, streams: list[Stream], shares: list[float], batch_size: int) -> None:
        self._streams, self._shares, self._batch_size = streams, shares, checked_count("batch_size", batch_size)
        self._drawn = [0] * len(streams)  # elements of each source so far
        self._total = 0

    def __iter__(self) -> MixedBatches:
        return self

    def __next__(self) -> Batch:
        self._total += self._batch_size
        counts = self._counts()
        parts = [batch for place, count in enumerate(counts) for batch in self._read(place, count)]
        for place, count in enumerate(counts):
            self._drawn[place] += count
        sources = np.repeat(np.arange(len(counts)), counts)
        return as_batch({**concatenated(parts), "sources": sources})

    def _counts(self) -> list[int]:
        """Return how many elements of each source bring it closest to its share of all so far."""
        due = [share * self._total - drawn for share, drawn in zip(self._shares, self._drawn, strict=True)]
        counts = [max(0, int(np.floor(one))) for one in due]
        rest = [one - count for one, count in zip(due, counts, strict=True)]
        while (missing := self._batch_size - sum(counts)) != 0:
            step = 1 if missing > 0 else -1
            possible = [place for place, count in enumerate(counts) if step > 0 or count > 0]
            chosen = max(possible, key=lambda place: (step * rest[place], -place))
            counts[chosen] += step
            rest[chosen] -= step
        return counts

    def _read(self, place: int, count: int) -> Iterator[Fields]:
        """Yield the next elements of a source, epoch by epoch."""
        stream, position = self._streams[place], self._drawn[place]
        end = position + count
        while position < end:
            epoch, begin = divmod(position, stream.size)
            some = min(end - position, stream.size - begin)
            yield stream.read(epoch, begin, stream.draw(epoch, begin, some))
            position += some

    def state_dict(self) -> dict[str, Any]:
        """Return the position after the last batch, for :meth:`load_state_dict`, also in another process."""
        return {
            "version": _VERSION,
            "elements": [stream.fingerprint() for stream in self._streams],
            "order": [type(stream).__name__ for stream in self._streams],
            "seed": self._streams[0].seed,
            "shares": list(self._shares),
            "batch_size": self._batch_size,
            "drawn": list(self._drawn),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue after the batch at which a state was saved.

        Raises:
            ArgumentError: it is the state of another mixture, seed or order.
        """
        own = self.state_dict()
        for key in ("version", "elements", "order", "seed", "shares", "batch_size"):
            if not isinstance(state, Mapping) or state.get(key) != own[key]:
                found = state.get(key) if isinstance(state, Mapping) else state
                raise ArgumentError(
                    f"The state is of batches with {key} {shortened(found)}, and these have {shortened(own[key])}; "
                    f"make them from the same datasets with the same arguments, seed included."
                )
        drawn = state.get("drawn")
        if not isinstance(drawn, list) or not all(type(one) is int and one >= 0 for one in drawn):
            raise ArgumentError(f"The state has drawn {shortened(drawn)}, expected a number for each source.")
        self._drawn, self._total = list(drawn), sum(drawn)


def _structure(batch: Any) -> Any:
    """Return the fields of a batch, with the shape and dtype of an element."""
    if isinstance(batch, dict):
        return {key: _structure(value) for key, value in batch.items()}
    if isinstance(batch, tuple):
        return tuple(map(_structure, batch))
    return (batch.shape[1:], str(batch.dtype)) if isinstance(batch, np.ndarray) else type(batch).__name__
