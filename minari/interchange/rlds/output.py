"""Directories of TensorFlow Datasets that are written: TFRecord files, ``features.json`` and ``dataset_info.json``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, TypeAlias

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from minari._base.json_text import shortened
from minari._model.dataset_id import DatasetId
from minari._model.episode import EpisodeData
from minari.dataset.minari_dataset import MinariDataset
from minari.errors import ArgumentError, InterchangeError
from minari.interchange.encoded_frames import is_encoded
from minari.interchange.flat_rows import with_missing_row
from minari.interchange.format import Report
from minari.interchange.pictures import encode_picture, picture_shape
from minari.interchange.rlds.directory import FEATURES, INFO, TEMPLATE, shard_name
from minari.interchange.tf_example import FeatureList, written_example
from minari.interchange.tfrecord import RecordWriter
from minari.interchange.trajectories import is_plain_name


__all__ = ["Images", "write_directory"]

Images: TypeAlias = Literal["png", "jpeg", "tensor"]

_CLASSES: Final = "tensorflow_datasets.core.features."
_SHARD: Final = 2**28  # bytes of records
_NAME = re.compile(r"[A-Za-z]\w*", re.ASCII)
_SMALLEST_SIDE = 32  # of a frame
_EXACT: Final = frozenset(
    {"bool", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64", "float16", "float32"}
)
_AS_BYTES: Final = frozenset({"uint8", "float64"})
_STEPS, _METADATA = "steps", "episode_metadata"
_RESERVED: Final = frozenset({"observation", "action", "reward", "is_first", "is_last", "is_terminal"})


@dataclass(frozen=True, slots=True)
class _Kind:
    """The type of a feature.

    Attributes:
        name: ``"tensor"``, ``"picture"`` or ``"text"``.
        dtype: of the values; empty for text.
        shape: of a value, or of an item of a sequence.
        is_sequence: whether a step has any number of items.
        bounds: the least and greatest choice of a ``Discrete`` space.
    """

    name: Literal["tensor", "picture", "text"]
    dtype: str = ""
    shape: tuple[int, ...] = ()
    is_sequence: bool = False
    bounds: tuple[int, int] | None = None

    @property
    def is_encoded(self) -> bool:
        """Return whether values are stored as their bytes: those of 64 bits exactly, and those of 8 bits in 8."""
        return self.name == "tensor" and (self.dtype == "float64" or (self.dtype == "uint8" and bool(self.shape)))

    def described(self, images: Images) -> dict[str, Any]:
        """Return the feature as ``features.json`` has it."""
        shape = {"dimensions": [str(size) for size in self.shape]} if self.shape else {}
        if self.name == "text":
            inner: dict[str, Any] = {"pythonClassName": f"{_CLASSES}text_feature.Text", "text": {}}
        elif self.name == "picture":
            image = {"dtype": self.dtype, "encodingFormat": images, "shape": shape}
            inner = {"pythonClassName": f"{_CLASSES}image_feature.Image", "image": image}
        else:
            tensor: dict[str, Any] = {"dtype": self.dtype, "shape": shape}
            tensor["encoding"] = "bytes" if self.is_encoded else "none"
            if self.bounds is not None:
                tensor["minimum"], tensor["maximum"] = map(str, self.bounds)
            is_scalar = not self.shape and not self.is_encoded  # that class knows no encoding
            name = "scalar.Scalar" if is_scalar else "tensor_feature.Tensor"
            inner = {"pythonClassName": _CLASSES + name, "tensor": tensor}
        return _sequence("sequence_feature.Sequence", inner) if self.is_sequence else inner


def write_directory(
    dataset: MinariDataset,
    episodes: Iterable[EpisodeData],
    path: Path,
    *,
    name: str | None,
    split: str,
    images: Images,
    report: Report,
) -> None:
    """Write the episodes of a dataset.

    Args:
        dataset: the dataset.
        episodes: its episodes.
        path: the new directory.
        name: name of the data set; by default that of the dataset.
        split: name of the split.
        images: how frames are stored.
        report: the report, which is completed.

    Raises:
        InterchangeError: features cannot describe the dataset.
    """
    identity = DatasetId.parse(dataset.id)
    if name is None:
        name = re.sub(r"\W", "_", f"{identity.namespace or 'minari'}_{identity.name}", flags=re.ASCII).lstrip(
            "_0123456789"
        )
    for what, text in (("name", name), ("split", split)):
        if not _NAME.fullmatch(text):
            raise ArgumentError(f"{what} is {shortened(text)}, expected a letter, and letters, digits and '_'.")
    path.mkdir()
    schema = _Schema(images, report)
    shards = _Shards(path)
    try:
        for episode in episodes:
            if len(episode):
                shards.append(written_example(schema.example(dataset, episode)))
            else:
                report.note("missing", "episodes without a step")
    finally:
        shards.close()
    if not shards.counts:
        raise InterchangeError(f"{dataset.id} has no episode with a step, expected at least one.")
    shards.rename(name, split)
    version = f"{identity.version}.0.0"
    _write_json(path / FEATURES, schema.described(dataset))
    _write_json(path / INFO, _info(dataset, name, version, split, shards))
    report.note("missing", "bounds of boxes, and metadata of the dataset other than its description")


def _info(dataset: MinariDataset, name: str, version: str, split: str, shards: _Shards) -> dict[str, Any]:
    metadata = dataset.storage.metadata
    description, source = metadata.get("description"), metadata.get("rlds")
    citation = source.get("citation") if isinstance(source, Mapping) else None
    counts = [str(count) for count in shards.counts]
    split_info = {"name": split, "filepathTemplate": TEMPLATE, "numBytes": str(shards.size), "shardLengths": counts}
    return {
        "name": name,
        "version": version,
        "description": description if isinstance(description, str) else f"The dataset {dataset.id} of Minari.",
        **({"citation": citation} if isinstance(citation, str) else {}),
        "fileFormat": "tfrecord",
        "splits": [split_info],
    }


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


class _Shards:
    """Files of records, of which a new one begins when the last one is large."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._writer: RecordWriter | None = None
        self.counts: list[int] = []
        self.size = 0

    def append(self, record: bytes) -> None:
        """Append a record."""
        if self._writer is None or self._writer.size + len(record) > _SHARD:
            self.close()
            self._file = (self._path / f"shard-{len(self.counts)}").open("xb")
            self._writer = RecordWriter(self._file)
            self.counts.append(0)
        self._writer.append(record)
        self.counts[-1] += 1
        self.size += len(record)

    def close(self) -> None:
        """Close the last file."""
        if self._file is not None:
            self._file.close()

    def rename(self, name: str, split: str) -> None:
        """Give the files their names, in which their number stands."""
        for number in range(len(self.counts)):
            final = shard_name(name, split, number, len(self.counts))
            (self._path / f"shard-{number}").rename(self._path / final)


@dataclass(slots=True)
class _Schema:
    """The features of the episodes so far.

    Attributes:
        images: how frames are stored.
        report: the report.
        stored: names of the frames that are JPEG as the dataset stores them.
        kinds: the types of the features, by their names; None for one that differs between episodes.
        counts: the number of episodes that have a feature.
        episodes: the number of episodes.
    """

    images: Images
    report: Report
    stored: set[str] = field(default_factory=set)
    kinds: dict[str, _Kind | None] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    episodes: int = 0

    def example(self, dataset: MinariDataset, episode: EpisodeData) -> dict[str, FeatureList]:
        """Return the features of an episode."""
        self.episodes += 1
        _note_flags(episode, self.report)
        found: dict[str, FeatureList] = {}
        for name, values, bounds in self._step_values(dataset, episode):
            kind = _kind_of(values, self.images)
            if kind is None:
                if not name.startswith(_REQUIRED):
                    self.report.note("missing", f"{name}, which is neither numbers nor text")
                    continue
                raise InterchangeError(f"{name} of {dataset.id} has values that are neither numbers nor text.")
            if is_encoded(values):
                self.stored.add(name)
            self._add(found, name, replace(kind, bounds=bounds), values)
        for name, value in _metadata_values(episode.metadata, _METADATA, self.report):
            self._add(found, name, _kind_of([value] if isinstance(value, str) else value, self.images), value)
        return found

    def _step_values(
        self, dataset: MinariDataset, episode: EpisodeData
    ) -> Iterator[tuple[str, Any, tuple[int, int] | None]]:
        steps = len(episode)
        yield from _space_values(dataset.observation_space, episode.observations, f"{_STEPS}/observation", self.report)
        for name, values, bounds in _space_values(
            dataset.action_space, episode.actions, f"{_STEPS}/action", self.report
        ):
            yield name, with_missing_row(values)[0], bounds
        yield f"{_STEPS}/reward", with_missing_row(episode.rewards)[0], None
        rows = np.arange(steps + 1)
        yield f"{_STEPS}/is_first", rows == 0, None
        yield f"{_STEPS}/is_last", rows == steps, None
        yield f"{_STEPS}/is_terminal", np.concatenate([[False], episode.terminations]), None
        for name, values in _info_values(episode.infos, _STEPS, self.report):
            yield name, values, None

    def _add(self, found: dict[str, FeatureList], name: str, kind: _Kind | None, values: Any) -> None:
        if kind is None:
            self.report.note("missing", f"{name}, which is neither a number nor text")
            return
        known = self.kinds.setdefault(name, kind)
        if known != kind:
            self.kinds[name] = None
            return
        self.counts[name] = self.counts.get(name, 0) + 1
        found.update(_lists(name, kind, values, self.images))

    def described(self, dataset: MinariDataset) -> dict[str, Any]:
        """Return the content of ``features.json``, with the features that all episodes have.

        Raises:
            InterchangeError: observations, actions or rewards differ between episodes.
        """
        for required in _REQUIRED:
            if not any(name.startswith(required) for name in self.kinds):
                raise InterchangeError(
                    f"{required} of {dataset.id} is empty, expected at least one value a step; RLDS has no others."
                )
        tree: dict[str, Any] = {}
        for name, kind in self.kinds.items():
            if kind is None or self.counts[name] < self.episodes:
                if name.startswith(_REQUIRED):
                    raise InterchangeError(
                        f"{name} of {dataset.id} differs in dtype or shape between episodes, expected the same in "
                        f"all of them; export views of episodes that are alike."
                    )
                self.report.note("missing", f"{name}, which not all episodes have with one dtype and shape")
                continue
            self._note(name, kind)
            *outer, last = name.split("/")
            inner = tree
            for part in outer:
                inner = inner.setdefault(part, {})
            inner[last] = kind.described(self.images)
        tree[_STEPS] = _sequence("dataset_feature.Dataset", _features_dict(tree[_STEPS]))
        return _features_dict(tree)

    def _note(self, name: str, kind: _Kind) -> None:
        if kind.dtype == "float64":
            self.report.note(
                "taken", "floats of 64 bits (float64) with the encoding 'bytes', which keeps their precision"
            )
        if kind.name == "picture":
            if name in self.stored:
                how = ", byte for byte as the dataset stores them"
            else:
                how = " and lose details" if self.images == "jpeg" else ""
            self.report.note("taken", f"{name} as pictures, which are {self.images.upper()}{how}")


#: What every episode has.
_REQUIRED = tuple(f"{_STEPS}/{name}" for name in ("observation", "action", "reward"))


def _note_flags(episode: EpisodeData, report: Report) -> None:
    terminated, truncated = episode.terminations, episode.truncations
    if np.any(terminated & truncated):
        report.note("missing", "truncations of steps that are terminations too, which RLDS has no flag for")
    if np.any(truncated[:-1]):
        report.note("missing", "truncations before the last step of an episode, which RLDS has no flag for")
    if not (terminated[-1] or truncated[-1]):
        report.note("assumed", "episodes without an end are truncated, as RLDS has no other ends")
    report.note("taken", "a last step with the last observation, whose action and reward are padding")


def _space_values(
    space: gym.Space[Any], values: Any, name: str, report: Report
) -> Iterator[tuple[str, Any, tuple[int, int] | None]]:
    """Yield the names and values of the leaves of a space, and the bounds of choices."""
    if isinstance(space, gym.spaces.Dict):
        if not space.spaces:
            report.note("missing", f"the dict {name}, which has no keys")
        for key, part in space.spaces.items():
            if not is_plain_name(key):
                raise InterchangeError(
                    f"{name} has the key {shortened(key)}, expected a name without '/', as of features; rename "
                    f"it before recording."
                )
            yield from _space_values(part, values[key], f"{name}/{key}", report)
    elif isinstance(space, gym.spaces.Tuple):
        report.note("missing", f"the tuple {name}, which becomes a dict with the keys 0, 1, ...")
        for position, part in enumerate(space.spaces):
            yield from _space_values(part, values[position], f"{name}/{position}", report)
    elif isinstance(space, gym.spaces.Sequence):
        yield name, _sequence_values(space, values, name), None
    elif isinstance(values, np.ndarray) or isinstance(space, gym.spaces.Text):
        is_choice = isinstance(space, gym.spaces.Discrete) and space.dtype == np.int64
        yield name, values, (int(space.start), int(space.start + space.n) - 1) if is_choice else None  # type: ignore[attr-defined]
    else:
        raise _no_feature(name, space)


def _sequence_values(space: gym.spaces.Sequence, values: Any, name: str) -> list[npt.NDArray[Any]]:
    inner = space.feature_space
    if not isinstance(inner, (gym.spaces.Box, gym.spaces.Discrete, gym.spaces.MultiDiscrete, gym.spaces.MultiBinary)):
        raise _no_feature(name, space)
    return [np.array(value, inner.dtype).reshape(len(value), *(inner.shape or ())) for value in values]


def _no_feature(name: str, space: gym.Space[Any]) -> InterchangeError:
    return InterchangeError(
        f"{name} is of the space {type(space).__name__}, expected arrays, text, sequences of arrays or dicts, as "
        f"RLDS has no others; convert it with a wrapper before recording."
    )


def _info_values(infos: Mapping[Any, Any], prefix: str, report: Report) -> Iterator[tuple[str, Any]]:
    for key, values in infos.items():
        name = f"{prefix}/{key}"
        if not is_plain_name(key) or (prefix == _STEPS and key in _RESERVED):
            report.note("missing", f"the info {shortened(key)}, whose name RLDS does not allow or uses otherwise")
        elif isinstance(values, Mapping):
            yield from _info_values(values, name, report)
        else:
            yield name, values


def _metadata_values(metadata: Mapping[Any, Any], prefix: str, report: Report) -> Iterator[tuple[str, Any]]:
    for key, value in metadata.items():
        name = f"{prefix}/{key}"
        if not is_plain_name(key):
            report.note("missing", f"the metadata {shortened(key)} of episodes, whose name RLDS does not allow")
        elif isinstance(value, Mapping):
            yield from _metadata_values(value, name, report)
        elif isinstance(value, str):
            yield name, value
        elif isinstance(value, (bool, int, float, np.generic, np.ndarray)):
            yield name, np.asarray(value)[None]
        elif value is not None:
            report.note("missing", f"{name}, which is neither a number nor text")


def _kind_of(values: Any, images: Images) -> _Kind | None:
    """Return the type of the values of steps; None if features have none for them."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "biuf":
        dtype, shape = str(values.dtype), values.shape[1:]
        if dtype not in _EXACT | _AS_BYTES:
            return None
        is_picture = dtype == "uint8" and len(shape) == 3 and min(shape[:2]) >= _SMALLEST_SIDE and shape[2] in (1, 3)
        return _Kind("picture" if is_picture and images != "tensor" else "tensor", dtype, shape)
    if is_encoded(values):
        return _Kind("picture", "uint8", picture_shape(values[0]))
    items = list(values)
    if all(isinstance(item, str) for item in items):
        return _Kind("text")
    kinds = {_kind_of(item, "tensor") if isinstance(item, np.ndarray) and item.ndim else None for item in items}
    kind = kinds.pop() if len(kinds) == 1 else None
    return None if kind is None or kind.name != "tensor" else replace(kind, is_sequence=True)


def _lists(name: str, kind: _Kind, values: Any, images: Images) -> dict[str, FeatureList]:
    """Return the lists of a feature, by their names in a record."""
    if kind.name == "text":
        return {name: [text.encode() for text in ([values] if isinstance(values, str) else values)]}
    if kind.is_sequence:
        lengths = np.array([len(value) for value in values])
        flat = np.concatenate(list(values))
        return {f"{name}/ragged_row_lengths_0": lengths, f"{name}/ragged_flat_values": _list(kind, flat, images)}
    return {name: _list(kind, values, images)}


def _list(kind: _Kind, values: npt.NDArray[Any], images: Images) -> FeatureList:
    if is_encoded(values):
        frames: list[bytes] = values.tolist()
        return frames
    if kind.name == "picture":
        return [encode_picture(frame, images) for frame in values]
    if kind.is_encoded:
        stored = values.astype(values.dtype.newbyteorder("<"), copy=False)
        return [row.tobytes() for row in stored]
    return values.astype(np.float32) if values.dtype.kind == "f" else values


def _features_dict(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested dicts of features as ``features.json`` has them."""
    features = {
        key: part if "pythonClassName" in part and isinstance(part["pythonClassName"], str) else _features_dict(part)
        for key, part in tree.items()
    }
    return {"pythonClassName": f"{_CLASSES}features_dict.FeaturesDict", "featuresDict": {"features": features}}


def _sequence(name: str, inner: dict[str, Any]) -> dict[str, Any]:
    return {"pythonClassName": _CLASSES + name, "sequence": {"feature": inner, "length": "-1"}}
