"""Fingerprints of the episodes of a dataset as short texts, created without the code under test."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np


#: One text an episode.
Fingerprint = tuple[str, ...]

FIELDS = ("observations", "actions", "rewards", "terminations", "truncations", "infos")


def fingerprint_of(dataset: Any) -> Fingerprint:
    """The fingerprint of all episodes of a dataset, which are read one after the other."""
    return fingerprint_of_episodes(dataset)


def fingerprint_of_episodes(episodes: Iterable[Any]) -> Fingerprint:
    """The fingerprint of these episodes."""
    return tuple(fingerprint_of_episode(episode) for episode in episodes)


def fingerprint_of_episode(episode: Any) -> str:
    """The fingerprint of one: of every value, its dtype and shape, and how they are nested."""
    digest = hashlib.blake2b(digest_size=12)
    for name in FIELDS:
        digest.update(name.encode())
        _add(digest, getattr(episode, name))
    return digest.hexdigest()


def _add(digest: Any, value: Any) -> None:
    if isinstance(value, Mapping):
        digest.update(b"{")
        for key, part in sorted(value.items(), key=lambda item: str(item[0])):  # formats may keep another order
            digest.update(f"{key!r}:".encode("utf-8", "surrogatepass"))
            _add(digest, part)
        digest.update(b"}")
    elif isinstance(value, (list, tuple)):
        digest.update(f"[{len(value)}".encode())
        for part in value:
            _add(digest, part)
    elif isinstance(value, (np.ndarray, np.generic)):
        array = np.asarray(value)
        digest.update(f"<{array.dtype.str}{array.shape}>".encode())
        if array.dtype == object:
            for part in array.ravel():
                _add(digest, part)
        else:
            digest.update(np.ascontiguousarray(array).tobytes())
    else:
        digest.update(f"{type(value).__name__}:{value!r}".encode("utf-8", "surrogatepass"))
