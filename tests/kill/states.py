"""The state of a root and of the remote beside it, as seen by a fresh process."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

import minari
from fuzz.fingerprints import Fingerprint, fingerprint_of
from minari._catalog.recordings import list_recordings

from .operations import Place


@dataclass(frozen=True)
class State:
    """All that counts.

    Attributes:
        datasets: by id, fingerprints of episodes and a text of all metadata.
        recordings: the fingerprints of those that can be recovered.
        namespaces: with their metadata, as text.
        remote: the datasets on the remote.
    """

    datasets: dict[str, tuple[Fingerprint, str]] = field(default_factory=dict)
    recordings: tuple[Fingerprint, ...] = ()
    namespaces: dict[str, str] = field(default_factory=dict)
    remote: dict[str, tuple[Fingerprint, str]] = field(default_factory=dict)

    def difference(self, other: State) -> str:
        """Return a short description of the difference from another state."""
        parts = []
        for name in ("datasets", "namespaces", "remote"):
            mine, theirs = getattr(self, name), getattr(other, name)
            for key in sorted({*mine, *theirs}):
                if mine.get(key) != theirs.get(key):
                    parts.append(f"{name} {key}: {_apart(mine.get(key), theirs.get(key))}")
        if self.recordings != other.recordings:
            parts.append(f"recordings: {_apart(self.recordings, other.recordings)}")
        return "; ".join(parts)


def _apart(mine: Any, theirs: Any) -> str:
    """Two values from where they differ."""
    first, second = repr(mine), repr(theirs)
    pairs = enumerate(zip(first, second, strict=False))
    start = max(0, next((i for i, (a, b) in pairs if a != b), min(len(first), len(second))) - 30)
    return f"{first[start : start + 120]}, expected {second[start : start + 120]}"


def observe(place: Place) -> State:
    """Look at all of it."""
    datasets = {
        dataset_id: _dataset(minari.load_dataset(dataset_id, root=place.root))
        for dataset_id in minari.list_local_datasets(root=place.root)
    }
    remote = {
        dataset_id: _dataset(minari.open_dataset(place.remote / dataset_id))
        for dataset_id in minari.list_remote_datasets(place.address)
    }
    namespaces = {
        name: repr(minari.namespace.get_namespace_metadata(name, root=place.root))
        for name in minari.namespace.list_local_namespaces(root=place.root)
    }
    recordings = tuple(
        fingerprint_of(minari.MinariDataset(recording.storage)) for recording in list_recordings(place.root)
    )
    return State(datasets, recordings, namespaces, remote)


#: What may differ without anybody having noticed.
_OF_NO_ACCOUNT = ("dataset_size", "revision")


def _dataset(dataset: Any) -> tuple[Fingerprint, str]:
    storage = dataset.storage
    described = {key: _plain(value) for key, value in storage.metadata.items() if key not in _OF_NO_ACCOUNT}
    episodes = [_plain(metadata) for metadata in storage.get_episode_metadata(range(storage.total_episodes))]
    return fingerprint_of(dataset), f"{storage.total_steps} steps, {episodes}, {sorted(described.items(), key=str)}"


def _plain(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if isinstance(value, dict):
        return {key: _plain(value[key]) for key in sorted(value)}
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return value
