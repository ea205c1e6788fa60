"""PyTorch: data loaders over transitions and windows, and whole views on a device.

``torch.utils.data.DataLoader(transitions, batch_size)`` works as well; :func:`loader` reads a batch at once in each
worker, shards it over the processes of ``torch.distributed``, and can be resumed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import numpy as np

from minari._base.json_text import shortened
from minari._model.arguments import check_count, checked_count
from minari.errors import ArgumentError, MissingDependencyError
from minari.sampling.batches import Batches, checked_seed
from minari.sampling.samples import Samples
from minari.sampling.streams import Drawn, Stream, Weights, checked_shard, stream_of


try:
    import torch
    from torch import distributed
    from torch.utils.data import DataLoader, Dataset, Sampler
except ImportError as error:
    raise MissingDependencyError(
        'minari.integrations.torch needs PyTorch, which is not installed; run pip install "minari[torch]".',
        name="torch",
    ) from error


__all__ = ["DeviceSamples", "Loader", "loader", "to_device", "to_tensors"]


def to_tensors(batch: Any) -> Any:
    """Return a batch with tensors in place of arrays, which share their memory; lists and texts stay as they are."""
    if isinstance(batch, dict):
        return {key: to_tensors(value) for key, value in batch.items()}
    if isinstance(batch, tuple):
        return tuple(map(to_tensors, batch))
    return torch.from_numpy(batch) if isinstance(batch, np.ndarray) else batch


class _Reader(Dataset[Any]):
    """A dataset whose index is a drawn batch."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def __getitem__(self, index: tuple[int, int, Drawn]) -> Any:
        return self._stream.read(*index)


class _Places(Sampler[Any]):
    """The batches of one epoch, from a position on."""

    def __init__(self, batches: Batches) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Any]:
        return self.batches.drawn_in_epoch()

    def __len__(self) -> int:
        return self.batches.batches_per_epoch


class Loader(DataLoader[Any]):
    """A ``DataLoader`` of batches of tensors, made by :func:`loader`.

    Iterating over it is one epoch, or the rest of one after :meth:`load_state_dict`; the next iteration is the next
    epoch, in another order.
    """

    def __init__(self, stream: Stream, batches: Batches, **options: Any) -> None:
        self._batches = batches
        super().__init__(_Reader(stream), batch_size=None, sampler=_Places(batches), collate_fn=to_tensors, **options)

    def __iter__(self) -> Iterator[Any]:
        for batch in super().__iter__():
            self._batches.advance()
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Return the position after the last batch, whatever the workers have read ahead."""
        return self._batches.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue after the batch at which a state was saved, with any number of workers.

        Raises:
            ArgumentError: it is the state of another dataset, seed or order.
        """
        self._batches.load_state_dict(state)


def loader(
    samples: Samples,
    batch_size: int,
    *,
    seed: int | None = None,
    shuffle: bool = True,
    replace: bool = False,
    weights: Weights | Literal["return"] | None = None,
    drop_last: bool = True,
    shard: tuple[int, int] | None = None,
    order: Literal["uniform", "blocks"] = "uniform",
    num_workers: int = 0,
    pin_memory: bool = False,
    **options: Any,
) -> Loader:
    """Return a ``DataLoader`` that reads whole batches in its workers.

    The workers share the map of the file, or its cache on disk. The batches are those of
    :meth:`~minari.sampling.Samples.batches` with the same arguments, whatever the number of workers.

    Args:
        samples: transitions or windows.
        batch_size: the number of elements of a batch.
        seed: of the order; None for another one each time. With several processes, give all of them the same.
        shuffle: False for the order of the dataset.
        replace: True to draw each element at random, independent of the others.
        weights: to draw elements in proportion to these numbers.
        drop_last: True to leave out the last batch of an epoch if it would be smaller.
        shard: the rank of this process and the number of processes; by default those of ``torch.distributed`` if it
            is initialized.
        order: ``"blocks"`` to shuffle blocks of neighbors.
        num_workers: the number of processes that read.
        pin_memory: True for tensors in page-locked memory.
        **options: of ``torch.utils.data.DataLoader``, such as ``prefetch_factor`` and ``persistent_workers``.

    Raises:
        ArgumentError: an argument is invalid, or the batch is larger than the data.

    Example:
        >>> import minari, numpy as np
        >>> dataset = minari.create_dataset_from_arrays(
        ...     "docs/loaded-v0", observations=np.arange(9.0), actions=np.zeros(8), rewards=np.ones(8),
        ...     terminations=np.arange(8) == 7,
        ... )
        >>> for batch in loader(dataset.transitions(), 4, seed=1):
        ...     print(batch["observations"].shape, batch["rewards"].sum())
        torch.Size([4]) tensor(4., dtype=torch.float64)
        torch.Size([4]) tensor(4., dtype=torch.float64)
    """
    taken = {"batch_size", "sampler", "batch_sampler", "collate_fn", "dataset"} & options.keys()
    if taken:
        raise ArgumentError(f"{sorted(taken)} are set by the loader; leave them out.")
    check_count("num_workers", num_workers)
    if shard is None:
        ready = distributed.is_available() and distributed.is_initialized()
        shard = (distributed.get_rank(), distributed.get_world_size()) if ready else (0, 1)
        if seed is None and shard[1] > 1:
            raise ArgumentError(
                "seed is None, expected the same seed in all processes, so that their parts are disjoint."
            )
    stream = stream_of(
        samples,
        checked_seed(seed),
        shuffle=shuffle,
        replace=replace,
        weights=weights,
        shard=checked_shard(shard),
        order=order,
    )
    batches = Batches(
        stream,
        batch_size,
        epochs=None,
        drop_last=drop_last,
        prefetch=0,
        out=None,
        replaces=replace or weights is not None,
        any_seed=seed is None,
    )
    return Loader(stream, batches, num_workers=num_workers, pin_memory=pin_memory, **options)


class DeviceSamples:
    """All elements of a sequence as tensors on one device, made by :func:`to_device`.

    Attributes:
        data: the batch of all elements.
    """

    def __init__(self, data: dict[str, Any], count: int, device: torch.device) -> None:
        self.data, self.device, self._count = data, device, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, indices: torch.Tensor) -> dict[str, Any]:
        """Return the batch of some elements."""
        batch: dict[str, Any] = _each(self.data, lambda values: values[indices])
        return batch

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> dict[str, Any]:
        """Return a batch of elements drawn at random with replacement, without a copy from the host.

        Args:
            batch_size: the number of elements.
            generator: of random numbers, on the device.
        """
        size = checked_count("batch_size", batch_size)
        return self[torch.randint(self._count, (size,), generator=generator, device=self.device)]


def to_device(samples: Samples, device: torch.device | str) -> DeviceSamples:
    """Return all elements of a sequence as tensors on a device.

    Args:
        samples: transitions or windows; use ``fields`` to leave out what is not needed.
        device: such as ``"cuda"``.

    Raises:
        ArgumentError: a field has values without a fixed shape, which cannot be tensors.

    Example:
        >>> import minari, numpy as np
        >>> dataset = minari.create_dataset_from_arrays(
        ...     "docs/placed-v0", observations=np.arange(9.0), actions=np.zeros(8), rewards=np.ones(8),
        ...     terminations=np.arange(8) == 7,
        ... )
        >>> to_device(dataset.transitions(), "cpu").sample(3)["rewards"]
        tensor([1., 1., 1.], dtype=torch.float64)
    """
    target = torch.device(device)
    data = _each(to_tensors(samples.arrays()), lambda values: values.to(target))
    return DeviceSamples(data, len(samples), target)


def _each(batch: Any, function: Callable[[torch.Tensor], Any]) -> Any:
    if isinstance(batch, dict):
        return {key: _each(value, function) for key, value in batch.items()}
    if isinstance(batch, tuple):
        return tuple(_each(value, function) for value in batch)
    if batch is None:
        return None
    if not isinstance(batch, torch.Tensor):
        raise ArgumentError(
            f"A field has values without a fixed shape ({shortened(batch)}), which cannot be tensors; leave it out of "
            f"fields."
        )
    return function(batch)
