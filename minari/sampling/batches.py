"""Batches: the iterator over the batches of a sequence, whose position can be saved."""

from __future__ import annotations

import os
import secrets
import time
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

import numpy.typing as npt

from minari._base.json_text import shortened
from minari._model.arguments import check_count, check_seed, checked_count
from minari.errors import ArgumentError, ArgumentTypeError
from minari.sampling.nested import Batch, as_batch, as_fields
from minari.sampling.streams import Drawn, Stream, WeightedStream


__all__ = ["Batches"]

_VERSION: Final = 1
_WORTH_A_THREAD: Final = 5e-4  # seconds for a batch, from which on it is read ahead


class Batches(Iterator[Batch]):
    """An iterator over batches, endless unless ``epochs`` is given; made by ``batches`` of transitions or windows.

    The same seed gives the same batches, whatever is read ahead, and in whichever process.

    Args:
        stream: the order of the elements.
        batch_size: the number of elements of a batch.
        epochs: the number of epochs; None for no end.
        drop_last: True to leave out the last batch of an epoch if it would be smaller.
        prefetch: the number of batches to read ahead in a thread, where reading one takes long enough.
        out: a batch whose arrays are filled again and again.
        replaces: True if elements are drawn with replacement.
        any_seed: True if the seed is a random one, so that a saved state may have another.
    """

    def __init__(
        self,
        stream: Stream,
        batch_size: int,
        *,
        epochs: int | None,
        drop_last: bool,
        prefetch: int,
        out: Batch | None,
        replaces: bool,
        any_seed: bool,
    ) -> None:
        self._batch_size = checked_count("batch_size", batch_size)
        check_count("prefetch", prefetch)
        if epochs is not None:
            check_count("epochs", epochs)
        if batch_size > stream.size and not replaces:
            raise ArgumentError(
                f"batch_size is {batch_size} and there are {stream.size} elements"
                f"{'' if stream.world == 1 else ' in this shard'}; give a smaller one, or replace=True."
            )
        self._stream, self._epochs = stream, epochs
        self._out = None if out is None else as_fields(out)
        self._prefetch = prefetch if out is None else 0
        whole, rest = divmod(stream.size, self._batch_size)
        self._per_epoch = max(1, whole + (rest > 0 and not drop_last))
        self._replaces, self._any_seed = replaces, any_seed
        self._epoch = self._number = 0  # of the next batch
        self._pending: deque[Future[Batch]] = deque()
        self._ahead = (0, 0)  # the batch after the pending ones
        self._seconds = 0.0
        self._pool: ThreadPoolExecutor | None = None
        self._process = os.getpid()

    @property
    def batches_per_epoch(self) -> int:
        """Return the number of batches of an epoch."""
        return self._per_epoch

    def __len__(self) -> int:
        """Return the number of all batches.

        Raises:
            TypeError: there is no end.
        """
        if self._epochs is None:
            raise TypeError("The batches have no end, as epochs is None; see batches_per_epoch.")
        return self._epochs * self._per_epoch

    def __iter__(self) -> Batches:
        return self

    def __next__(self) -> Batch:
        if self._process != os.getpid():  # a forked child has no thread
            self._process, self._pool = os.getpid(), None
            self._pending.clear()
        if self._epochs is not None and self._epoch >= self._epochs:
            self.close()
            raise StopIteration
        if self._pending:
            batch = self._pending.popleft().result()
        else:
            self._ahead = self._epoch, self._number
            started = time.perf_counter()
            batch = self._read(*self._drawn())
            self._seconds = time.perf_counter() - started
        self._epoch, self._number = self._after(self._epoch, self._number)
        if self._prefetch and self._seconds > _WORTH_A_THREAD:
            self._pool = self._pool or ThreadPoolExecutor(1, thread_name_prefix="minari-batches")
            while len(self._pending) < self._prefetch and (self._epochs is None or self._ahead[0] < self._epochs):
                self._pending.append(self._pool.submit(self._read, *self._drawn()))
        return batch

    def drawn_in_epoch(self) -> Iterator[tuple[int, int, Drawn]]:
        """Yield what the batches from the current position to the end of its epoch are made of, for other readers."""
        self.close()
        self._ahead = epoch, _ = self._epoch, self._number
        while self._ahead[0] == epoch:
            yield self._drawn()

    def advance(self) -> None:
        """Count a batch that another reader has returned."""
        self._epoch, self._number = self._after(self._epoch, self._number)

    def _after(self, epoch: int, number: int) -> tuple[int, int]:
        return (epoch, number + 1) if number + 1 < self._per_epoch else (epoch + 1, 0)

    def _drawn(self) -> tuple[int, int, Drawn]:
        """Return the next batch to be read: its epoch, its first position in it, and its elements."""
        epoch, number = self._ahead
        begin = number * self._batch_size
        count = self._batch_size if self._replaces else min(self._batch_size, self._stream.size - begin)
        self._ahead = self._after(epoch, number)
        return epoch, begin, self._stream.draw(epoch, begin, count)

    def _read(self, epoch: int, begin: int, drawn: Drawn) -> Batch:
        return as_batch(self._stream.read(epoch, begin, drawn, self._out))

    def close(self) -> None:
        """Stop reading ahead; the iterator continues if it is used again."""
        for future in self._pending:
            future.cancel()
        self._pending.clear()
        if self._pool is not None and self._process == os.getpid():
            self._pool.shutdown(wait=True, cancel_futures=True)
        self._pool = None

    def __enter__(self) -> Batches:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __del__(self) -> None:
        pool = getattr(self, "_pool", None)
        if pool is not None and self._process == os.getpid():
            pool.shutdown(wait=False, cancel_futures=True)

    # Weights

    def set_weights(self, indices: npt.ArrayLike, values: npt.ArrayLike) -> None:
        """Change the weights of some elements, in O(log N) for each; the next batch is drawn by the new ones.

        Args:
            indices: of the elements, shape (K,).
            values: their weights, finite and not negative, shape (K,).

        Raises:
            ArgumentError: elements are not drawn by weights, or a weight is invalid.
            SampleIndexError: there is no such element.
        """
        if not isinstance(self._stream, WeightedStream):
            raise ArgumentError("The batches are not drawn by weights; give weights to batches() first.")
        self._stream.set(indices, values)
        for future in self._pending:
            future.cancel()
        self._pending.clear()

    # State

    def state_dict(self) -> dict[str, Any]:
        """Return the position after the last batch, for :meth:`load_state_dict`, also in another process.

        It holds numbers and texts, and an array of the weights if elements are drawn by weights.
        """
        weights = self._stream.weights.copy() if isinstance(self._stream, WeightedStream) else None
        return {
            "version": _VERSION,
            "elements": self._stream.fingerprint(),
            "order": type(self._stream).__name__,
            "seed": self._stream.seed,
            "batch_size": self._batch_size,
            "batches_per_epoch": self._per_epoch,
            "epoch": self._epoch,
            "batch": self._number,
            "weights": weights,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue after the batch at which a state was saved.

        Args:
            state: a result of :meth:`state_dict`, of batches of the same elements made with the same arguments.

        Raises:
            ArgumentError: it is the state of another dataset, seed or order.
        """
        if not isinstance(state, Mapping):
            raise ArgumentTypeError(f"The state is {shortened(state)}, expected a result of state_dict().")
        own = self.state_dict()
        for key in ("version", "elements", "order", "seed", "batch_size", "batches_per_epoch"):
            if key not in state or (state[key] != own[key] and not (key == "seed" and self._any_seed)):
                raise ArgumentError(
                    f"The state is of batches with {key} {shortened(state.get(key))}, and these have "
                    f"{shortened(own[key])}; make them from the same dataset with the same arguments, seed included."
                )
        check_count("epoch", state.get("epoch"))
        check_count("batch", state.get("batch"))
        check_seed("seed", state["seed"])
        self.close()
        self._stream.reseed(int(state["seed"]))
        if isinstance(self._stream, WeightedStream):
            self._stream.restore(state["weights"])
        self._epoch, self._number = int(state["epoch"]), int(state["batch"])


def checked_seed(seed: object) -> int:
    """Return a seed, drawn at random for None."""
    check_seed("seed", seed)
    return secrets.randbits(63) if seed is None else int(seed)  # type: ignore[call-overload]
