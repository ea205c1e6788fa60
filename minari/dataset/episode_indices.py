"""Numbers of episodes as a caller gives them, checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from minari.errors import EpisodeIndexError


def checked_indices(indices: Iterable[int], total: int, place: object) -> Iterator[int]:
    """The numbers one by one, as ints.

    Args:
        indices: of any kind that can be gone through once.
        total: how many episodes there are.
        place: where, for the message.

    Raises:
        EpisodeIndexError: there is no episode of that number.
    """
    if isinstance(indices, np.ndarray) and indices.dtype.kind in "iu" and indices.size:
        least, greatest = indices.min(), indices.max()
        if indices.ndim == 1 and least >= 0 and greatest < total:
            return iter(indices.tolist())  # looked at together, which takes a tenth of the time
    return _one_by_one(indices, total, place)


def _one_by_one(indices: Iterable[int], total: int, place: object) -> Iterator[int]:
    for index in indices:
        if not isinstance(index, (int, np.integer)) or isinstance(index, bool) or not 0 <= index < total:
            raise EpisodeIndexError(
                f"There is no episode {index!r} in {place}, expected a number from 0 to {total - 1}."
            )
        yield int(index)
