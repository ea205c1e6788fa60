"""Datasets as rows of lists: what people see of each, whatever is missing or wrong in its metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from minari._model.metadata_json import size_of, texts_of


__all__ = ["DatasetRow", "dataset_row", "dataset_rows"]

_MOST = 1e19  # larger than any total; NaN is not smaller


@dataclass(frozen=True, slots=True)
class DatasetRow:
    """One dataset, or a namespace of several, as a row of the table.

    Attributes:
        name: id, address of a dataset of the community, or label of the namespace.
        namespace: namespace of the dataset, empty without one; everything before the last part of an address.
        datasets: number of datasets in the row.
        episodes: number of their episodes; None if unknown.
        steps: number of their steps; None if unknown.
        size: size in MB; None if unknown.
        authors: sorted names.
    """

    name: str
    namespace: str
    datasets: int
    episodes: int | None
    steps: int | None
    size: float | None
    authors: tuple[str, ...]


def dataset_rows(datasets: Mapping[str, Mapping[str, Any]]) -> list[DatasetRow]:
    """Return a row for each dataset, whatever is missing or wrong in its metadata."""
    return [dataset_row(name, metadata) for name, metadata in datasets.items()]


def dataset_row(name: str, metadata: Mapping[str, Any]) -> DatasetRow:
    """Return the row of a dataset."""
    episodes, steps = (
        int(total) if isinstance(total, (int, float)) and not isinstance(total, bool) and abs(total) < _MOST else None
        for total in (metadata.get("total_episodes"), metadata.get("total_steps"))
    )
    return DatasetRow(
        name=name,
        namespace=name.rpartition("/")[0],
        datasets=1,
        episodes=episodes,
        steps=steps,
        size=size_of(metadata),
        authors=tuple(sorted(texts_of(metadata.get("author")))),
    )
