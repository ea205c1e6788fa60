"""Interface of a library that is measured, and the kinds of values that it may lose."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from benchmarks.rivals.source import FIELDS, Array, Source


#: What a library may lose. The comparison with the source must find exactly what the library says, but for dtypes,
#: which depend on the data.
FLOAT32 = "float64 becomes float32"
DTYPES = "some dtypes change, and no values"
PIXELS = "frames are lossy"
FINALS = "final observations"
SUCCESSORS = "next observations in batches"
FLAGS = "whether an episode was terminated or truncated"
EPISODES = "where episodes end"

#: The environment that runs the benchmarks.
OURS = "ours"

#: Values by field: an array over all steps, or a list with one for each episode. Observations may have one row more for
#: each episode; otherwise `next_observations` has what follows each step, and if neither, final observations are lost.
#: `lengths` are the steps of each episode.
Content = Mapping[str, Any]
#: Returns a batch of random elements, by field, as arrays or tensors that belong to the caller. For windows, the
#: observations have one row more than the steps, or `last_observations` has the one that follows, or
#: `next_observations` has what follows each step; `masks` may tell which of the steps are not padding.
Draw = Callable[[], Mapping[str, Any]]


class Rival:
    """A way to store episodes. Subclasses set the names and write :meth:`write`, :meth:`open` and :meth:`read_all`.

    Attributes:
        NAME: for the command line and the stored results.
        TITLE: for people.
        NOTE: how it is used here, one sentence for the page.
        REQUIREMENTS: for pip. Where the interpreter that runs the benchmarks has them, it is used.
        ENVIRONMENT: the name of the environment; those with the same one share it. By default one of its own.
            :data:`OURS` is the interpreter that runs the benchmarks, whatever it has.
        KINDS: the workloads it takes part in, as beginnings of their names; by default those with stored data.
        LOSES: of what is written, is not in what is read.
        BATCHES_LOSE: what batches may lose further.
        FRAMES_LOSE: what is lost of frames further.
        RECORDS: whether it has :meth:`record`.
        RECORDING_LOSES: what is lost further when it records.
        COLLECTOR: its key in :data:`benchmarks.collectors.WAYS`, if it records vector environments.
    """

    NAME: ClassVar[str]
    TITLE: ClassVar[str]
    NOTE: ClassVar[str] = ""
    REQUIREMENTS: ClassVar[tuple[str, ...]] = ()
    ENVIRONMENT: ClassVar[str] = ""
    KINDS: ClassVar[tuple[str, ...]] = ("vectors", "frames", "short")
    LOSES: ClassVar[frozenset[str]] = frozenset()
    BATCHES_LOSE: ClassVar[frozenset[str]] = frozenset()
    FRAMES_LOSE: ClassVar[frozenset[str]] = frozenset()
    RECORDS: ClassVar[bool] = False
    RECORDING_LOSES: ClassVar[frozenset[str]] = frozenset()
    COLLECTOR: ClassVar[str | None] = None

    def prepare(self) -> None:
        """Import what a program that uses the library imports first; the time counts as that of imports."""

    def write(self, source: Source, path: Path) -> None:
        """Store all episodes below an empty directory, as a user of the library would."""
        raise NotImplementedError

    def open(self, path: Path) -> Any:
        """Return what the other methods get: a handle, or everything if the library can only load everything."""
        raise NotImplementedError

    def read_all(self, opened: Any) -> Content:
        """Return all values, in the order in which they were written, in memory that belongs to the caller."""
        raise NotImplementedError

    def transitions(self, opened: Any, count: int, rng: np.random.Generator) -> Draw | None:
        """Return how batches of transitions are drawn; None if the library has no way.

        By default, everything is read and then indexed with NumPy, which is what users of a library without a sampler
        are left with.
        """
        return Rows(self.read_all(opened)).transitions(count, rng)

    def windows(self, opened: Any, count: int, length: int, rng: np.random.Generator) -> Draw | None:
        """Return how batches of windows of consecutive steps are drawn; None if the library has no way."""
        return Rows(self.read_all(opened)).windows(count, length, rng)

    def record(self, env: Any, actions: Sequence[Any], path: Path) -> None:
        """Play the actions in an environment as :func:`play` does, and store the steps below an empty directory."""
        raise NotImplementedError

    @classmethod
    def losses(cls, has_frames: bool) -> frozenset[str]:
        """Return what is lost of vectors or of frames."""
        return cls.LOSES | cls.FRAMES_LOSE if has_frames else cls.LOSES

    @classmethod
    def environment(cls) -> str:
        """Return the name of the environment."""
        return cls.ENVIRONMENT or cls.NAME


class Rows:
    """Batches by indexing arrays, in memory or mapped.

    Args:
        content: the values; lists of episodes are joined.
    """

    def __init__(self, content: Content) -> None:
        self._columns = {name: joined(content[name]) for name in FIELDS if name in content}
        self._following = joined(content["next_observations"]) if "next_observations" in content else None
        self._lengths = np.asarray(content["lengths"])
        self._total = int(self._lengths.sum())
        self._has_finals = len(self._columns["observations"]) == self._total + len(self._lengths)
        self._episode = np.repeat(np.arange(len(self._lengths)), self._lengths)

    def transitions(self, count: int, rng: np.random.Generator) -> Draw:
        """Return the indexing of random steps."""

        def draw() -> Mapping[str, Any]:
            at = rng.integers(0, self._total, count)
            batch = {name: values[at] for name, values in self._columns.items() if name != "observations"}
            observations = self._columns["observations"]
            seen = at + self._episode[at] if self._has_finals else at
            batch["observations"] = observations[seen]
            if self._following is not None:
                batch["next_observations"] = self._following[at]
            else:
                batch["next_observations"] = observations[np.minimum(seen + 1, len(observations) - 1)]
            return batch

        return draw

    def windows(self, count: int, length: int, rng: np.random.Generator) -> Draw:
        """Return the indexing of random windows."""
        starts = Starts(self._lengths, length)
        offsets = np.arange(length + 1)

        def draw() -> Mapping[str, Any]:
            start, episode = starts.draw(count, rng)
            at = start[:, None] + offsets[:-1]
            batch = {name: values[at] for name, values in self._columns.items() if name != "observations"}
            observations = self._columns["observations"]
            if self._has_finals:
                batch["observations"] = observations[(start + episode)[:, None] + offsets]
            else:
                batch["observations"] = observations[at]
                if self._following is not None:
                    batch["last_observations"] = self._following[at[:, -1]]
            return batch

        return draw


class Starts:
    """The steps at which windows that lie within an episode can begin.

    Args:
        lengths: steps of each episode.
        length: steps of a window.
    """

    def __init__(self, lengths: Array, length: int) -> None:
        room = np.maximum(lengths - length + 1, 0)
        self._ends = np.cumsum(room)
        self._before = np.cumsum(lengths) - lengths - (self._ends - room)

    def draw(self, count: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """Return random steps, counted over all episodes, and their episodes."""
        place = rng.integers(0, self._ends[-1], count)
        episode = np.searchsorted(self._ends, place, "right")
        return place + self._before[episode], episode


def joined(values: Any) -> Array:
    """Return one array of a list of arrays of episodes; an array as it is."""
    return np.concatenate(values) if isinstance(values, list) else values


def play(env: Any, actions: Sequence[Any], keep: Callable[..., None] | None = None) -> None:
    """Play actions, and reset with the number of the episode as the seed whenever one ends.

    Args:
        env: the environment.
        actions: the actions; the last one ends an episode.
        keep: is called with None, or the action, and what the environment returned.
    """
    number, is_over = 0, True
    for action in actions:
        if is_over:
            first = env.reset(seed=number)
            number += 1
            if keep is not None:
                keep(None, first)
        result = env.step(action)
        if keep is not None:
            keep(action, result)
        is_over = result[2] or result[3]
