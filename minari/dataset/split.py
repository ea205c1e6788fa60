"""Splitting a dataset into parts without common episodes, as views or as new datasets."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from minari._base.json_text import shortened
from minari._base.system_errors import failures_logged
from minari._catalog.layout import free_dataset_path, remove_directory
from minari._model.arguments import check_seed, no_dataset
from minari._storages.base import PathLike
from minari.dataset.convert import write_as_dataset
from minari.dataset.minari_dataset import MinariDataset
from minari.errors import ArgumentError, ArgumentTypeError, CombineError, DatasetExistsError, EpisodeError
from minari.sampling.episode_statistics import outcomes_of


__all__ = ["SPLIT_FROM", "save_parts", "split_dataset"]

#: The metadata key of a part, which says where its episodes come from.
SPLIT_FROM = "split_from"


def split_dataset(
    dataset: MinariDataset,
    sizes: Sequence[int] | Sequence[float],
    seed: int | None = None,
    *,
    by: Literal["episode", "return"] = "episode",
) -> list[MinariDataset]:
    """Return views of a dataset without common episodes, drawn at random or by return.

    Args:
        dataset: the dataset to split.
        sizes: number of episodes of each view, or, as floats, its fraction of them: ``[0.8, 0.2]``. Fractions that
            add up to 1 leave out no episode.
        seed: seed for the permutation of the episodes.
        by: ``"episode"`` for a random permutation of the episodes; ``"return"`` for their order by return, the highest
            first and equal ones by their numbers. With many agents it is the return of all together.

    Raises:
        ArgumentTypeError: an argument has an invalid type.
        ArgumentError: ``by`` is not a choice; or it is ``"return"``, and the rewards have several components, or a seed
            is given.
        CombineError: a size is not a number or fraction of episodes, or they add up to more than there are.

    Example:
        >>> import minari
        >>> dataset = minari.create_dataset_from_arrays(
        ...     "docs/to-split-v0", observations=np.arange(9.0), actions=np.zeros(6),
        ...     rewards=np.array([0, 1, 5, 5, 0, 3]), terminations=np.array([0, 1, 0, 1, 0, 1]),
        ... )
        >>> best, rest = minari.split_dataset(dataset, [1, 2], by="return")
        >>> best.episode_indices, rest.episode_indices
        (array([1]), array([2, 0]))
    """
    if not isinstance(dataset, MinariDataset):
        raise no_dataset("dataset", dataset)
    if isinstance(sizes, str) or not isinstance(sizes, (Iterable)):
        raise ArgumentTypeError(f"sizes is {shortened(sizes)}, expected a list of numbers of episodes.")
    given = list(sizes)
    check_seed("seed", seed)
    if by not in ("episode", "return"):
        raise ArgumentError(f"by is {shortened(by)}, expected 'episode' or 'return'.")
    if by == "return" and seed is not None:
        raise ArgumentError(f"seed is {seed} and by is 'return', which draws nothing at random; leave out one of them.")
    counts = _counts_of(given, dataset.total_episodes)
    if sum(counts) > dataset.total_episodes:
        raise CombineError(
            f"The sizes {given} add up to {sum(counts)}, which exceeds the {dataset.total_episodes} episodes "
            f"of {dataset.id}; ask for less."
        )
    if by == "return":
        order = _by_return(dataset)
    else:
        order = np.random.default_rng(seed).permutation(dataset.episode_indices)
    ends = np.cumsum(counts)
    return [MinariDataset(dataset.storage, order[end - size : end]) for size, end in zip(counts, ends, strict=True)]


def _by_return(dataset: MinariDataset) -> npt.NDArray[np.int_]:
    """Return the numbers of the episodes of a view, those with the highest returns first.

    Raises:
        ArgumentError: the rewards have several components.
    """
    numbers = dataset.episode_indices
    returns = outcomes_of(dataset.storage, numbers).returns
    components = math.prod(returns.shape[1:])
    if components != 1:
        raise ArgumentError(
            f"by is 'return', and the rewards of {dataset.id} have {components} components, expected one; split by "
            f"'episode', or sort the episodes by a component of statistics().returns."
        )
    return numbers[np.lexsort((numbers, -returns.reshape(-1)))]  # (NaN is last)


def _counts_of(sizes: list[Any], total: int) -> list[int]:
    """Return numbers of episodes for numbers or fractions of them.

    Raises:
        CombineError: they are neither, or fractions that add up to more than 1.
    """
    if sizes and all(isinstance(size, (float, np.floating)) for size in sizes):
        fractions = np.array(sizes, np.float64)
        if not ((fractions >= 0) & (fractions <= 1)).all() or fractions.sum() > 1 + 1e-9:
            raise CombineError(f"The sizes are {sizes}, expected fractions from 0 to 1 that add up to at most 1.")
        ends = np.rint(np.minimum(np.cumsum(fractions), 1) * total).astype(int)
        return [int(size) for size in np.diff(ends, prepend=0)]
    if any(isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 0 for size in sizes):
        raise CombineError(
            f"The sizes are {sizes}, expected numbers of episodes from 0, or only fractions such as 0.8."
        )
    return [int(size) for size in sizes]


def save_parts(
    parts: Sequence[MinariDataset],
    dataset_ids: Sequence[str],
    origin: Mapping[str, Any] | None = None,
    *,
    root: PathLike | None = None,
) -> list[MinariDataset]:
    """Create a dataset of each part of a dataset, all or none, with all metadata of the episodes and the dataset.

    Args:
        parts: views of one dataset.
        dataset_ids: the id of each new dataset.
        origin: how they were chosen; stored under :data:`SPLIT_FROM`, with the id of the dataset and the number of the
            part.
        root: root of the catalog; by default that of ``MINARI_DATASETS_PATH``.

    Raises:
        ArgumentError: the numbers of parts and ids differ, or an id is given twice.
        DatasetIdError: an id is malformed.
        DatasetExistsError: a dataset with one of these ids already exists.
        EpisodeError: a part has no episode.
        StorageError: writing failed, and the parts that had been written are removed.
    """
    if len(parts) != len(dataset_ids):
        raise ArgumentError(f"There are {len(parts)} parts and {len(dataset_ids)} ids, expected one for each part.")
    paths = {dataset_id: free_dataset_path(dataset_id, root=root) for dataset_id in dataset_ids}
    if len(paths) < len(parts):
        raise DatasetExistsError(f"The ids {shortened(list(dataset_ids))} have one twice, expected different ones.")
    for number, part in enumerate(parts, 1):
        if not len(part):
            raise EpisodeError(f"Part {number} of {part.id} has no episode, expected at least one; choose other sizes.")
    written: list[str] = []
    try:
        for number, (part, dataset_id) in enumerate(zip(parts, dataset_ids, strict=True), 1):
            described = {"dataset_id": part.id, "part": number, "parts": len(parts), **(origin or {})}
            indices = part.episode_indices.tolist()
            write_as_dataset(part.storage, indices, dataset_id, root=root, metadata={SPLIT_FROM: described})
            written.append(dataset_id)
    except BaseException:
        for dataset_id in written:
            with failures_logged(f"Removing {paths[dataset_id]}, which is one of several parts,"):
                remove_directory(paths[dataset_id])
        raise
    return [MinariDataset(path / "data") for path in paths.values()]
