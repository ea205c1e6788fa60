"""Datasets that stay open between requests, with what was computed from them, until they change."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import anyio
import numpy as np
import numpy.typing as npt

from minari._base.settings import get_datasets_root
from minari._catalog.listing import did_you_mean_local
from minari._storages.metadata_file import stamp_of
from minari.dataset.minari_dataset import MinariDataset
from minari.dataset.selection import select_episodes
from minari.errors import DatasetChangedError, DatasetNotFoundError
from minari.inspection import EpisodeReader
from minari.sampling.episode_statistics import EpisodeOutcomes, outcomes_of
from minari.storage.local import load_dataset, open_dataset
from minari.viewer.work import Workers


__all__ = ["Opened", "OpenedDatasets", "Places", "revision_of"]

T = TypeVar("T")

_MOST_DATASETS: Final = 16  # that are kept open
_MOST_RESULTS: Final = 32  # that are kept of each
_ATTEMPTS: Final = 5  # to open a dataset that others are changing


@dataclass(frozen=True, slots=True)
class Places:
    """The datasets that can be asked for: those of a catalog, and some by their path.

    Attributes:
        root: root of the catalog; None for the default one.
        paths: the data directories of further datasets, by the text of the path that requests name.
    """

    root: Path | None
    paths: Mapping[str, Path] = field(default_factory=dict)

    def open(self, name: str) -> MinariDataset:
        """Open a dataset by its id, or by one of the paths.

        Raises:
            DatasetIdError: the name is not an id, nor one of the paths.
            DatasetNotFoundError: there is no such dataset.
            DatasetCorruptError: its files are damaged.
        """
        if name in self.paths:
            return open_dataset(self.paths[name])
        try:
            return load_dataset(name, root=self.root)
        except DatasetChangedError:
            raise
        except DatasetNotFoundError as error:
            raise DatasetNotFoundError(
                f"There is no dataset {name} in {get_datasets_root(self.root)}.{did_you_mean_local(name, self.root)}"
            ) from error


def revision_of(state: object) -> str:
    """Return a short text that differs for every state of a dataset."""
    return hashlib.blake2b(repr(state).encode(), digest_size=9).hexdigest()


class Opened:
    """A dataset that stays open.

    Attributes:
        name: the name by which requests ask for it.
        dataset: the dataset.
        revision: a text that changes with every change of the data or metadata.
        lock: held by a request while it reads rewards and metadata of all episodes, so that nothing is computed twice.
        leaves_lock: held by one that reads all leaves of many episodes.
    """

    def __init__(self, name: str, dataset: MinariDataset, state: object) -> None:
        self.name, self.dataset, self.revision = name, dataset, revision_of(state)
        self.lock, self.leaves_lock = anyio.Lock(), anyio.Lock()
        self._reader: EpisodeReader | None = None
        self._state = state
        self._results: OrderedDict[object, Any] = OrderedDict()

    @classmethod
    def open(cls, places: Places, name: str) -> Opened:
        """Open a dataset by the name that a request gives, as :meth:`Places.open` does."""
        for _ in range(_ATTEMPTS - 1):
            storage = places.open(name).storage
            state = storage.state
            try:
                return cls(name, MinariDataset(storage), state)  # with the episodes of that state, or of a later one
            except DatasetChangedError:
                continue
        storage = places.open(name).storage
        return cls(name, MinariDataset(storage), storage.state)

    def is_current(self) -> bool:
        """Return whether the dataset has not changed since it was opened."""
        storage = self.dataset.storage
        return stamp_of(storage.data_path) is not None and storage.state == self._state

    def check_revision(self, revision: str) -> None:
        """Raise unless a request was made for the dataset as it is.

        Raises:
            DatasetChangedError: it was made for an earlier state.
        """
        if revision != self.revision:
            raise DatasetChangedError(
                f"{self.name} has changed since it was shown, so that its episodes may be others now; load it again."
            )

    def computed(self, key: object, compute: Callable[[], T]) -> T:
        """Return a result that is computed once and kept; :attr:`lock` is held if that takes long."""
        found = self._results.get(key, self)
        if found is self:
            found = self._results[key] = compute()
            while len(self._results) > _MOST_RESULTS:
                self._results.popitem(last=False)
        return found  # type: ignore[no-any-return]

    def episode(self, number: int) -> EpisodeReader:
        """Return the reader of an episode; that of the last one is kept, with its infos.

        Raises:
            EpisodeIndexError: there is no such episode.
        """
        reader = self._reader
        if reader is None or reader.number != number:
            known: EpisodeOutcomes | None = self._results.get("outcomes")
            outcomes = known.take(np.array([number])) if known is not None and number < len(known) else None
            reader = self._reader = EpisodeReader(self.dataset.storage, number, outcomes)
        return reader

    def outcomes(self) -> EpisodeOutcomes:
        """Return the outcomes of all episodes; computed once."""
        dataset = self.dataset
        return self.computed("outcomes", lambda: outcomes_of(dataset.storage, dataset.episode_indices))

    def selected(self, where: str) -> npt.NDArray[np.int_]:
        """Return the numbers of the episodes for which a condition is true; of all if it is empty.

        Raises:
            ArgumentError: it is not a condition.
        """
        if not where.strip():
            return self.dataset.episode_indices
        return self.computed(
            ("where", where), lambda: np.array(select_episodes(self.dataset, where, self.outcomes()), np.int_)
        )


class OpenedDatasets:
    """The datasets that are open, those that were used last.

    Args:
        places: the datasets that can be opened.
        workers: the threads in which they are opened.
    """

    def __init__(self, places: Places, workers: Workers) -> None:
        self.places, self._workers = places, workers
        self._kept: OrderedDict[str, Opened] = OrderedDict()
        self._opening: dict[str, tuple[anyio.Lock, list[None]]] = {}

    async def get(self, name: str) -> Opened:
        """Return a dataset as it is now, opened again if it has changed; raises like :meth:`Places.open`."""
        async with self._only_one(name):
            opened = self._kept.pop(name, None)
            if opened is None or not await self._workers.run(opened.is_current):
                opened = await self._workers.run(Opened.open, self.places, name)
            self._kept[name] = opened
            while len(self._kept) > _MOST_DATASETS:
                self._kept.popitem(last=False)
            return opened

    @asynccontextmanager
    async def _only_one(self, name: str) -> AsyncIterator[None]:
        """Let requests for one dataset wait until one of them has opened it."""
        lock, users = self._opening.setdefault(name, (anyio.Lock(), []))
        users.append(None)
        try:
            async with lock:
                yield
        finally:
            users.pop()
            if not users:
                self._opening.pop(name, None)
