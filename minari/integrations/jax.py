"""JAX: whole views on a device, sampled inside ``jit``."""

from __future__ import annotations

from typing import Any

import numpy as np

from minari._base.json_text import shortened
from minari._model.arguments import checked_count
from minari.errors import ArgumentError, MissingDependencyError
from minari.sampling.samples import Samples


try:
    import jax
    import jax.numpy as jnp
except ImportError as error:
    raise MissingDependencyError(
        'minari.integrations.jax needs JAX, which is not installed; run pip install "minari[jax]".', name="jax"
    ) from error


__all__ = ["DeviceSamples", "to_device"]


@jax.tree_util.register_pytree_node_class
class DeviceSamples:
    """All elements of a sequence as arrays on one device, a pytree that can be an argument of jitted functions.

    Attributes:
        data: the batch of all elements.
    """

    def __init__(self, data: dict[str, Any], count: int) -> None:
        self.data, self._count = data, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, indices: jax.Array) -> dict[str, Any]:
        """Return the batch of some elements."""
        batch: dict[str, Any] = jax.tree_util.tree_map(lambda values: values[indices], self.data)
        return batch

    def sample(self, key: jax.Array, batch_size: int) -> dict[str, Any]:
        """Return a batch of elements drawn at random with replacement; inside ``jit``, the size is static.

        Args:
            key: a random key.
            batch_size: the number of elements.
        """
        return self[jax.random.randint(key, (checked_count("batch_size", batch_size),), 0, self._count)]

    def tree_flatten(self) -> tuple[tuple[Any], int]:
        """Return the arrays and the number of elements, for JAX."""
        return (self.data,), self._count

    @classmethod
    def tree_unflatten(cls, count: int, children: tuple[Any]) -> DeviceSamples:
        """Return the object of its arrays, for JAX."""
        return cls(children[0], count)


def to_device(samples: Samples, device: jax.Device | None = None) -> DeviceSamples:
    """Return all elements of a sequence as arrays on a device.

    JAX represents float64 and int64 with 32 bits unless ``jax_enable_x64`` is set.

    Args:
        samples: transitions or windows; use ``fields`` to leave out what is not needed.
        device: by default the first one.

    Raises:
        ArgumentError: a field has values without a fixed shape, or whole numbers that do not fit into 32 bits.

    Example:
        >>> import minari, numpy as np
        >>> dataset = minari.create_dataset_from_arrays(
        ...     "docs/jitted-v0", observations=np.arange(9.0), actions=np.zeros(8), rewards=np.ones(8),
        ...     terminations=np.arange(8) == 7,
        ... )
        >>> samples = to_device(dataset.transitions())
        >>> jax.jit(lambda samples, key: samples.sample(key, 3)["rewards"])(samples, jax.random.PRNGKey(0))
        Array([1., 1., 1.], dtype=float32)
    """
    return DeviceSamples(_placed(samples.arrays(), device), len(samples))


def _placed(batch: Any, device: jax.Device | None) -> Any:
    if isinstance(batch, dict):
        return {key: _placed(value, device) for key, value in batch.items()}
    if isinstance(batch, tuple):
        return tuple(_placed(value, device) for value in batch)
    if batch is None:
        return None
    if not isinstance(batch, np.ndarray):
        raise ArgumentError(
            f"A field has values without a fixed shape ({shortened(batch)}), which cannot be arrays; leave it out of "
            f"fields."
        )
    narrow = jnp.asarray(batch[:0]).dtype
    if batch.dtype.kind in "iu" and batch.size and narrow.itemsize < batch.dtype.itemsize:
        limits = np.iinfo(narrow)
        if batch.min() < limits.min or batch.max() > limits.max:
            raise ArgumentError(
                f"A field has whole numbers up to {batch.max()}, which JAX would cut to {narrow}; set jax_enable_x64, "
                f"or leave it out of fields."
            )
    return jax.device_put(batch, device)
