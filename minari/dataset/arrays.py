"""The values of all episodes of a view as one array for each leaf."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt

from minari._storages.base import MinariStorage
from minari._storages.rows import LeafRequest
from minari.errors import EpisodeError
from minari.sampling.fields import FieldTree, Part, Positions, checked_names, select
from minari.sampling.nested import EpisodeArrays
from minari.sampling.reader import FLAGS, EpisodeTable, StepReader


__all__ = ["arrays_of"]

_OUTCOMES: Final = ("rewards", "terminations", "truncations")


def arrays_of(
    storage: MinariStorage, numbers: npt.ArrayLike, fields: Iterable[str] | None, infos: Iterable[str]
) -> EpisodeArrays:
    """Return the values of episodes, see :meth:`minari.MinariDataset.arrays`.

    Args:
        storage: of the dataset.
        numbers: of the episodes.
        fields: the fields to read; None for all.
        infos: the names of infos to read.

    Raises:
        EpisodeError: the view has none.
    """
    codec = storage.episode_codec
    spaces = {"observations": codec.observations, "actions": codec.actions}
    names = (*spaces, *_OUTCOMES) if fields is None else checked_names("fields", fields)
    chosen, info_names = select(names, spaces, _OUTCOMES), checked_names("infos", infos)
    table = EpisodeTable.of(storage, numbers)
    if not len(table.numbers):
        raise EpisodeError(f"The view of {storage.dataset_id} has no episode, expected at least one to read.")
    reader = StepReader(storage, table)
    outcomes = dict(zip(_OUTCOMES, (reader.rewards, *FLAGS), strict=True))
    trees = {name: FieldTree(spaces[name], paths) for name, paths in chosen.items() if name in spaces}
    parts = {name: trees[name].parts if name in trees else [outcomes[name]] for name in chosen}
    values = iter(_values_of(reader, [part for several in parts.values() for part in several]))
    found: dict[str, Any] = {}
    for name, several in parts.items():
        read = [next(values) for _ in several]
        found[name] = trees[name].nest(read) if name in trees else read[0]
    for name in _OUTCOMES[1:]:
        if name in found:
            found[name] = found[name].astype(bool, copy=False)
    if info_names:
        episodes, rows = _all_rows(table, table.lengths + 1)
        found["infos"] = {name: reader.infos(name, episodes, rows) for name in info_names}
    found["episode_ids"], found["episode_starts"] = table.numbers.copy(), table.starts
    return cast("EpisodeArrays", found)


def _values_of(reader: StepReader, parts: list[Part]) -> list[Any]:
    """Return the values of each part: an array, or a list of values without a fixed shape."""
    storage, table = reader.storage, reader.table

    def counts_of(part: Part) -> Positions:
        return table.lengths + storage.rows_beyond_steps(part.path)

    leaves = [LeafRequest(part.path, part.shape, counts_of(part)) for part in parts if part.shape is not None]
    found = iter(storage.read_concatenated(table.numbers, leaves) if leaves else ())
    return [
        next(found) if part.shape is not None else reader.read([part.at(*_all_rows(table, counts_of(part)))])[0]
        for part in parts
    ]


def _all_rows(table: EpisodeTable, counts: Positions) -> tuple[Positions, Positions]:
    """Return the number of the episode of each row, and the number of the row in it."""
    rows = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(table.numbers, counts), rows
