"""Comparison of two datasets: metadata, spaces, and episodes by their values, however these are stored."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import xxhash

from minari._base.checksums import column_checksum
from minari._base.json_text import parse_json, shortened
from minari._base.plain_values import to_tagged
from minari._model.content_digest import content_digest
from minari._model.episode import same_values
from minari._model.episode_metadata import OWN_KEYS
from minari._model.metadata_json import SPACES, TOTALS
from minari._storages.base import MinariStorage, PathLike
from minari.dataset.convert import OF_ONE_COPY
from minari.dataset.minari_dataset import MinariDataset
from minari.dataset.validation import find_data_path
from minari.errors import DatasetCorruptError
from minari.progress import track
from minari.spaces import Column, ColumnPath, Columns, field_of, native, path_name
from minari.spaces.differences import differing_key, differing_leaf


__all__ = ["DatasetDiff", "EpisodeChange", "EpisodesDiff", "MetadataDiff", "diff_datasets"]

_MOST_DESCRIBED = 1000  # changed episodes that are read again to say what differs
_FIELDS: Final = ("observations", "actions", "rewards", "terminations", "truncations", "infos")
_SPECS: Final = ("env_spec", "eval_env_spec")


@dataclass(frozen=True, slots=True)
class MetadataDiff:
    """Differences between the metadata of two datasets; those of spaces and totals follow from the rest.

    Attributes:
        only_in_a: keys of the first dataset, with their values.
        only_in_b: keys of the second dataset.
        changed: keys of both, with both values.
        of_copies: keys that describe a copy, such as its id, size, format and compression, with both values (None if
            there is none); they are no differences of the datasets.
    """

    only_in_a: Mapping[str, Any] = field(default_factory=dict)
    only_in_b: Mapping[str, Any] = field(default_factory=dict)
    changed: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    of_copies: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)

    @property
    def equal(self) -> bool:
        """Return whether there is no difference, except between the copies."""
        return not (self.only_in_a or self.only_in_b or self.changed)


@dataclass(frozen=True, slots=True)
class EpisodeChange:
    """An episode of both datasets that differs.

    Attributes:
        a: its number in the first dataset.
        b: its number in the second dataset, which is the same unless only the metadata differs.
        leaf: the first leaf that differs, such as ``"observations/camera"``; None if there is none.
        step: the first step at which it differs; None if it differs as a whole.
        metadata: the keys of its metadata that differ.
        description: what differs, in words; empty after the first thousand changes of a dataset, for which nothing but
            the numbers is known.
    """

    a: int
    b: int
    leaf: str | None = None
    step: int | None = None
    metadata: tuple[str, ...] = ()
    description: str = ""


@dataclass(frozen=True, slots=True)
class EpisodesDiff:
    """Differences between the episodes of two datasets, by their positions.

    Attributes:
        equal: the number of episodes with the same values and metadata under the same number.
        moved: the numbers in both datasets of episodes with the same values under another number.
        only_in_a: numbers of episodes of the first dataset whose values the second one does not have.
        only_in_b: likewise, of the second dataset.
        changed: episodes with other values under the same number, or with other metadata.
    """

    equal: int
    moved: tuple[tuple[int, int], ...] = ()
    only_in_a: tuple[int, ...] = ()
    only_in_b: tuple[int, ...] = ()
    changed: tuple[EpisodeChange, ...] = ()

    @property
    def are_equal(self) -> bool:
        """Return whether there is no difference."""
        return not (self.moved or self.only_in_a or self.only_in_b or self.changed)


@dataclass(frozen=True, slots=True)
class DatasetDiff:
    """The result of :func:`minari.diff_datasets`.

    Attributes:
        a: id of the first dataset, with its numbers of episodes and steps.
        b: likewise, of the second dataset.
        metadata: differences of the metadata of the datasets.
        spaces: the first difference of the observation spaces and of the action spaces, in words.
        episodes: differences of the episodes.
    """

    a: Mapping[str, Any]
    b: Mapping[str, Any]
    metadata: MetadataDiff
    spaces: tuple[str, ...]
    episodes: EpisodesDiff

    @property
    def equal(self) -> bool:
        """Return whether the datasets are equal."""
        return self.metadata.equal and not self.spaces and self.episodes.are_equal

    def as_dict(self) -> dict[str, Any]:
        """Return the differences as a JSON object."""
        return {"equal": self.equal, **asdict(self)}


def diff_datasets(
    a: MinariDataset | PathLike,
    b: MinariDataset | PathLike,
    *,
    ignore_metadata: bool = False,
    root: PathLike | None = None,
) -> DatasetDiff:
    """Compare two datasets: their metadata, their spaces, and their episodes by values and metadata.

    Formats, compression and the way in which stacks of frames are stored make no difference, as episodes are compared
    by digests of their decoded values. All episodes are read once, and those that changed once more, in pairs.

    Args:
        a: a dataset or view, the id of a local dataset, the path of its directory, or the address of its data.
        b: another one. Episodes of views are numbered from 0.
        ignore_metadata: True to compare neither the metadata of the datasets nor that of the episodes.
        root: root of the catalog; by default that of ``MINARI_DATASETS_PATH``.

    Raises:
        DatasetIdError: it is neither a path nor an id.
        DatasetNotFoundError: there is no dataset with that id.
        DataPathError: the directory contains no dataset.
        DatasetCorruptError: an episode cannot be read.

    Example:
        >>> import minari, numpy as np
        >>> dataset = minari.create_dataset_from_arrays(
        ...     "docs/before-v0",
        ...     observations=np.arange(9.0), actions=np.zeros(6), rewards=np.arange(6.0),
        ...     terminations=np.array([0, 1, 0, 1, 0, 1]),
        ... )
        >>> diff = minari.diff_datasets(dataset, dataset[[0, 2]])
        >>> diff.equal, diff.episodes.equal, diff.episodes.only_in_a, diff.episodes.moved
        (False, 1, (1,), ((2, 1),))
        >>> minari.diff_datasets("docs/before-v0", dataset.convert("docs/after-v0", compression="gzip")).equal
        True
    """
    one, other = (
        dataset if isinstance(dataset, MinariDataset) else MinariDataset(find_data_path(dataset, root))
        for dataset in (a, b)
    )
    return DatasetDiff(
        _described(one),
        _described(other),
        MetadataDiff() if ignore_metadata else _metadata_diff(one.storage, other.storage),
        tuple(_differing_spaces(one, other)),
        _episodes_diff(_Episodes(one, ignore_metadata), _Episodes(other, ignore_metadata)),
    )


def _described(dataset: MinariDataset) -> dict[str, Any]:
    return {
        "id": dataset.id,
        "data_path": str(dataset.storage.data_path),
        "total_episodes": dataset.total_episodes,
        "total_steps": dataset.total_steps,
    }


# Metadata and spaces


def _metadata_diff(a: MinariStorage, b: MinariStorage) -> MetadataDiff:
    ours, theirs = ({**storage.current_metadata.raw, "dataset_id": storage.dataset_id} for storage in (a, b))
    only_in_a: dict[str, Any] = {}
    only_in_b: dict[str, Any] = {}
    changed: dict[str, tuple[Any, Any]] = {}
    of_copies: dict[str, tuple[Any, Any]] = {}
    for key in dict.fromkeys([*ours, *theirs]):
        mine, other = ours.get(key), theirs.get(key)
        if key in (*SPACES, *TOTALS) or (key in ours and key in theirs and same_values(mine, other)):
            continue
        if key in OF_ONE_COPY:
            of_copies[key] = mine, other
        elif key not in theirs:
            only_in_a[key] = mine
        elif key not in ours:
            only_in_b[key] = other
        elif not (key in _SPECS and same_values(_parsed(mine), _parsed(other))):
            changed[key] = mine, other
    return MetadataDiff(only_in_a, only_in_b, changed, of_copies)


def _parsed(text: Any) -> Any:
    try:
        return parse_json(text)
    except (ValueError, TypeError):
        return text


def _differing_spaces(a: MinariDataset, b: MinariDataset) -> Iterator[str]:
    if a.storage.is_multi_agent != b.storage.is_multi_agent:
        counts = [f"{len(one.agents)} agents" if one.storage.is_multi_agent else "one agent" for one in (a, b)]
        yield f"the datasets have {counts[0]} and {counts[1]}"
        return
    for name, ours, theirs in (
        ("observations", a.observation_space, b.observation_space),
        ("actions", a.action_space, b.action_space),
    ):
        if ours != theirs and (difference := differing_leaf(ours, theirs, (name,), exact=True)):
            yield difference


# Episodes


class _Episodes:
    """The episodes of a dataset or view, by their positions.

    Args:
        dataset: the dataset.
        ignore_metadata: True if their metadata is of no interest.
    """

    def __init__(self, dataset: MinariDataset, ignore_metadata: bool) -> None:
        self._storage, self._ignore_metadata = dataset.storage, ignore_metadata
        self._numbers: list[int] = dataset.episode_indices.tolist()

    def __len__(self) -> int:
        return len(self._numbers)

    def digests(self) -> list[tuple[bytes, bytes]]:
        """Return a digest of the values and one of the metadata of each episode."""
        columns = track(self._columns(self._numbers), f"comparing {self._storage.dataset_id}", total=len(self))
        values = [bytes.fromhex(content_digest(one)) for one in columns]
        return list(zip(values, map(_digest, self._metadata(self._numbers)), strict=True))

    def columns(self, position: int) -> Columns:
        """Return the columns of an episode, with decoded frames."""
        return next(self._columns([self._numbers[position]]))

    def metadata(self, position: int) -> dict[str, Any]:
        """Return the metadata of an episode, as values of JSON."""
        return next(self._metadata([self._numbers[position]]))

    def _columns(self, numbers: Iterable[int]) -> Iterator[Columns]:
        return (self._storage.with_frames(columns) for _, columns in self._storage.stored_columns(numbers))

    def _metadata(self, numbers: Sequence[int]) -> Iterator[dict[str, Any]]:
        if self._ignore_metadata:
            yield from ({} for _ in numbers)
            return
        for metadata in self._storage.get_episode_metadata(numbers):
            try:
                yield to_tagged({key: value for key, value in metadata.items() if key not in OWN_KEYS})
            except (TypeError, ValueError) as error:
                raise DatasetCorruptError(
                    f"The metadata of episode {metadata.get('id')} in {self._storage.data_path} cannot be compared "
                    f"({error}); copy or download the dataset again."
                ) from error


def _digest(metadata: dict[str, Any]) -> bytes:
    return xxhash.xxh3_128_digest(json.dumps(metadata, sort_keys=True).encode("utf-8", "surrogatepass"))


def _episodes_diff(a: _Episodes, b: _Episodes) -> EpisodesDiff:
    ours, theirs = a.digests(), b.digests()
    in_place = {place for place, (mine, other) in enumerate(zip(ours, theirs, strict=False)) if mine[0] == other[0]}
    rest_a = [place for place in range(len(ours)) if place not in in_place]
    rest_b = [place for place in range(len(theirs)) if place not in in_place]
    moved = _moved(rest_a, rest_b, ours, theirs)
    left_a, left_b = set(rest_a) - moved.keys(), set(rest_b) - set(moved.values())
    of_values = left_a & left_b
    pairs = [(place, place) for place in in_place | of_values] + list(moved.items())
    different = sorted((one, other) for one, other in pairs if one in of_values or ours[one][1] != theirs[other][1])
    return EpisodesDiff(
        len(in_place) - sum(one in in_place for one, _ in different),
        tuple(sorted(moved.items())),
        tuple(sorted(left_a - of_values)),
        tuple(sorted(left_b - of_values)),
        tuple(
            _change(a, b, one, other) if count < _MOST_DESCRIBED else EpisodeChange(one, other)
            for count, (one, other) in enumerate(track(different, "comparing changed episodes"))
        ),
    )


def _moved(
    rest_a: Iterable[int],
    rest_b: Iterable[int],
    ours: Sequence[tuple[bytes, bytes]],
    theirs: Sequence[tuple[bytes, bytes]],
) -> dict[int, int]:
    """Return the places in both of episodes with the same values, first of those with the same metadata too."""
    moved: dict[int, int] = {}
    taken: set[int] = set()
    for parts in (2, 1):
        waiting: dict[tuple[bytes, ...], deque[int]] = {}
        for place in rest_b:
            if place not in taken:
                waiting.setdefault(theirs[place][:parts], deque()).append(place)
        for place in rest_a:
            if place not in moved and (found := waiting.get(ours[place][:parts])):
                moved[place] = found.popleft()
                taken.add(moved[place])
    return moved


def _change(a: _Episodes, b: _Episodes, place: int, other: int) -> EpisodeChange:
    """Return what differs in an episode."""
    mine, theirs = a.metadata(place), b.metadata(other)
    keys = tuple(key for key in dict.fromkeys([*mine, *theirs]) if _at(mine, key) != _at(theirs, key))
    words = [f"metadata {differing_key(mine, theirs)}"] if keys else []
    leaf, step, difference = (
        _first_difference(a.columns(place), b.columns(other)) if place == other else (None, None, "")
    )
    return EpisodeChange(place, other, leaf, step, keys, "; ".join(filter(None, [difference, *words])))


def _at(metadata: dict[str, Any], key: str) -> bytes:
    return _digest({key: metadata[key]} if key in metadata else {})


def _first_difference(ours: Columns, theirs: Columns) -> tuple[str | None, int | None, str]:
    """Return the first leaf that differs, the first step at which it does, and what differs in words."""
    for path in sorted({*ours, *theirs}, key=_rank):
        name = path_name(path)
        if path not in ours or path not in theirs:
            return name, None, f"{name} is only in the {'second' if path in theirs else 'first'}"
        mine, other = ours[path], theirs[path]
        if column_checksum(mine) == column_checksum(other):
            continue
        if native(mine).dtype != native(other).dtype or mine.shape[1:] != other.shape[1:]:
            kinds = [f"{one.dtype.name} of shape {one.shape[1:]}" for one in (mine, other)]
            return name, None, f"{name} is {kinds[0]} and {kinds[1]}"
        rows = min(len(mine), len(other))
        differing = _differing_rows(mine[:rows], other[:rows])
        if not len(differing):
            return name, rows, f"{name} has {len(mine)} and {len(other)} rows"
        step = int(differing[0])
        return name, step, f"{name} at step {step} is {_values(mine[step], other[step])}"
    return None, None, ""


def _rank(path: ColumnPath) -> tuple[int, str]:
    name = field_of(path)
    return _FIELDS.index(name) if name in _FIELDS else len(_FIELDS), path_name(path)


def _differing_rows(ours: Column, theirs: Column) -> npt.NDArray[np.int_]:
    """Return the numbers of the rows whose bytes differ, of columns with the same dtype and shape."""
    if ours.dtype == object:
        pairs = zip(ours, theirs, strict=True)
        return np.flatnonzero([not same_values(mine, other) for mine, other in pairs])
    return np.flatnonzero(_differing_numbers(ours, theirs).reshape(len(ours), -1).any(axis=1))


def _differing_numbers(ours: Any, theirs: Any) -> npt.NDArray[np.bool_]:
    """Return which numbers of two arrays differ in their bytes."""
    mine, other = (np.ascontiguousarray(native(np.asarray(one))) for one in (ours, theirs))
    if not mine.size:
        return np.zeros(mine.shape, bool)
    unequal = mine.reshape(-1).view(np.uint8) != other.reshape(-1).view(np.uint8)
    found: npt.NDArray[np.bool_] = unequal.reshape(*np.shape(ours), -1).any(axis=-1)
    return found


def _values(mine: Any, other: Any) -> str:
    """Return two values that differ, of an array the first number that does."""
    if np.ndim(mine) and isinstance(mine, np.ndarray) and mine.dtype != object:
        place = tuple(int(index) for index in np.argwhere(_differing_numbers(mine, other))[0])
        return f"{mine[place].item()!r} and {other[place].item()!r}, at {list(place)}"
    plain = [one.item() if isinstance(one, np.generic) else one for one in (mine, other)]
    return f"{shortened(plain[0])} and {shortened(plain[1])}"
