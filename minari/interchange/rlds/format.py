"""RLDS: directories of TensorFlow Datasets with one record for each episode, as of Open X-Embodiment and Bridge.

A step has an observation, and the action, reward and discount that follow on it. By the specification, the last step of
an episode has only an observation that counts, and its action and reward are padding; ``last_step_action="drop"``, the
default, takes it so, and T + 1 steps become T steps. Many data sets of robots have a real action in their last step
instead, and lack the observation after it; ``last_step_action="keep"`` keeps it, and the option ``final_observation``
says where that observation comes from. No file says which of the two it is. ``is_terminal`` marks a terminal
observation and becomes a termination of the step that leads to it, or, with ``keep``, of the step itself; an episode
that does not end so is truncated. A record is an episode, whether ``is_last`` is set or not.

Nested features are ``Dict`` spaces, pictures boxes of uint8, features of any length ``Sequence`` spaces. What a step
has beside these, such as ``discount``, ``language_instruction`` and embeddings, becomes an info, and what a record has
beside its steps becomes metadata of the episode. Episodes that are marked ``invalid`` are left out. Floats of 64 bits
are stored with 32 bits, unless they are encoded as bytes. The layout is that of
https://github.com/google-research/rlds and https://github.com/tensorflow/datasets (``example_serializer.py``).

An export has T + 1 steps with padding in the last one, in TFRecord files that ``tfds.builder_from_directory`` opens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from minari._base.json_text import shortened
from minari._base.suggestions import did_you_mean
from minari._model.episode_buffer import EpisodeBuffer
from minari.dataset.minari_dataset import MinariDataset
from minari.errors import ArgumentError, InterchangeError
from minari.interchange.encoded_frames import encoded_paths, episodes_as_stored, part_at
from minari.interchange.flat_rows import LOST_TERMINATIONS, map_rows, with_missing_row
from minari.interchange.format import Format, ImportedImages, Report, Source
from minari.interchange.pictures import is_jpeg
from minari.interchange.rlds.directory import INFO, Shard, TfdsDirectory, find_directories
from minari.interchange.rlds.features import FeatureTree, Leaf, Record, leaves_of, space_of
from minari.interchange.rlds.output import write_directory
from minari.interchange.tf_example import parse_example
from minari.interchange.tfrecord import damaged
from minari.progress import track
from minari.spaces import ColumnPath, is_utf8_text


__all__ = ["RLDS"]

LastStepAction: TypeAlias = Literal["drop", "keep"]
Rewards: TypeAlias = Literal["error", "zeros"]
FinalStep: TypeAlias = Literal["error", "repeat", "drop_last_step"]

_ALL = "all"
_FLAGS = ("is_first", "is_last", "is_terminal")
_MALFORMED = (ValueError, LookupError, TypeError, OverflowError, MemoryError)


class RLDS(Format):
    """Format of RLDS."""

    NAME = "rlds"

    def sniff(self, path: Path) -> bool:
        """Return whether there is a data set of TensorFlow Datasets that has steps."""
        found = find_directories(path)
        return bool(found) and isinstance(TfdsDirectory(found[0]).features.get("steps"), dict)

    def read(
        self,
        path: Path,
        *,
        last_step_action: LastStepAction = "drop",
        final_observation: FinalStep = "error",
        rewards: Rewards = "error",
        split: str | None = None,
        images: ImportedImages = "decoded",
    ) -> Source:
        """Return the episodes of a data set.

        Args:
            path: the directory with ``features.json``, or one around it.
            last_step_action: whether the action of the last step is padding and dropped, or real and kept.
            final_observation: where the observation after the last step comes from if its action is kept.
            rewards: ``"zeros"`` for rewards of zero if the data set has none.
            split: the name of a split, or ``"all"``, which stores their names in the metadata of the episodes; by
                default ``"train"``, and all if there is no split of that name.
            images: ``"encoded"`` for JPEG frames that are stored as they are.

        Raises:
            InterchangeError: the data set is damaged, or lacks something.
        """
        found = _only_directory(path)
        directory, report = TfdsDirectory(found), Report(self.NAME, "import")
        layout = _Layout.of(directory, report)
        if last_step_action == "keep" and final_observation == "error":
            raise InterchangeError(
                f"{found} has no observation after the last step of an episode if the action of that step is kept; "
                f"choose final_observation='repeat' or 'drop_last_step' to leave out the last step."
            )
        if layout.reward is None and rewards == "error":
            raise InterchangeError(f"{found} has no rewards; choose rewards='zeros' if they are to be zeros.")
        names = _chosen_splits(directory, split, report)
        shards = [(name, shard) for name in names for shard in directory.splits[name]]
        first = _first_record(directory, [shard for _, shard in shards], layout)
        known = _spaces_of_values(directory, [shard for _, shard in shards], layout)
        spaces = space_of(layout.observation, known), space_of(layout.action, known)
        report.note("assumed", "the spaces follow from dtypes, shapes, classes and values")
        names_splits = split == _ALL or (split is None and names != ["train"])
        encoded = frozenset[ColumnPath]()
        if images == "encoded":
            encoded = encoded_paths(spaces, lambda path: _is_jpeg(first, part_at(layout.observation, path)), report)
        kept = frozenset(part_at(layout.observation, path).name for path in encoded)
        reader = _Reader(directory, layout, report, last_step_action, final_observation, names_splits, kept)
        total = sum(shard.count for _, shard in shards)
        return Source(*spaces, reader.episodes(shards), report, total, _metadata(directory), encoded=encoded)

    def write(
        self,
        dataset: MinariDataset,
        path: Path,
        *,
        name: str | None = None,
        split: str = "train",
        images: Literal["png", "jpeg", "tensor"] = "png",
    ) -> Report:
        """Write a directory of TFRecord files that TensorFlow Datasets opens.

        Args:
            dataset: the dataset.
            path: the new directory.
            name: name of the data set; by default that of the dataset.
            split: name of the split with all episodes.
            images: how frames are stored: as PNG; as JPEG, which loses details unless the dataset has JPEG frames,
                which are copied; or as plain bytes.

        Raises:
            InterchangeError: the dataset has many agents, or a space that features cannot describe.
        """
        report = Report(self.NAME, "export")
        if images == "jpeg" and dataset.storage.jpeg_encoding:
            stored = episodes_as_stored(dataset, lambda leaf: len(leaf.shape) == 3)
        else:
            stored = dataset.iterate_episodes(copy=False)
        episodes = track(stored, "exporting episodes", total=len(dataset))
        write_directory(dataset, episodes, path, name=name, split=split, images=images, report=report)
        return report


def _only_directory(path: Path) -> Path:
    found = find_directories(path)
    if not found:
        raise InterchangeError(
            f"{path} has no features.json beside a dataset_info.json, expected the directory of a data set of "
            f"TensorFlow Datasets; give the path of its version, such as .../bridge_dataset/1.0.0."
        )
    if len(found) > 1:
        raise InterchangeError(
            f"{path} has {len(found)} data sets or versions ({', '.join(shortened(str(one)) for one in found[:5])}), "
            f"expected one; give the path of one of them."
        )
    return found[0]


@dataclass(frozen=True, slots=True)
class _Layout:
    """The parts of an episode among the features."""

    observation: FeatureTree | Leaf
    action: FeatureTree | Leaf
    reward: Leaf | None
    flags: Mapping[str, Leaf]
    infos: FeatureTree
    metadata: FeatureTree
    invalid: list[Leaf]
    countable: list[Leaf]

    @staticmethod
    def of(directory: TfdsDirectory, report: Report) -> _Layout:
        features, where = directory.features, directory.path
        steps = features.get("steps")
        if not isinstance(steps, dict) or not all(leaf.sequences for leaf in leaves_of(steps)):
            raise InterchangeError(f"{where} has no steps, expected a data set with one record for each episode.")
        for name in ("observation", "action"):
            if not any(leaves_of(steps.get(name, {}))):
                raise InterchangeError(
                    f"The steps of {where} have no {name}, expected a data set for learning from it."
                )
        reward = steps.get("reward")
        if reward is not None and not (isinstance(reward, Leaf) and reward.kind == "tensor" and not reward.is_ragged):
            raise InterchangeError(f"The rewards of {where} are no numbers, expected one, or an array, for each step.")
        flags = {name: leaf for name in _FLAGS if isinstance(leaf := steps.get(name), Leaf) and leaf.kind == "tensor"}
        outer = {key: part for key, part in features.items() if key not in ("steps", "episode_metadata")}
        inner = features.get("episode_metadata", {})
        is_plain = isinstance(inner, dict) and outer.keys().isdisjoint(inner)
        metadata = {**outer, **inner} if is_plain else {**outer, "episode_metadata": inner}
        infos = {key: part for key, part in steps.items() if key not in ("observation", "action", "reward", *_FLAGS)}
        infos, metadata = (_readable(tree, report) for tree in (infos, metadata))
        invalid = [leaf for leaf in (metadata.get("invalid"),) if isinstance(leaf, Leaf)]
        sized = sorted(leaves_of(steps), key=lambda leaf: (leaf.kind != "tensor", len(leaf.shape), len(leaf.sequences)))
        layout = _Layout(steps["observation"], steps["action"], reward, flags, infos, metadata, invalid, sized)
        _note_layout(layout, features, report)
        return layout


def _note_layout(layout: _Layout, features: FeatureTree, report: Report) -> None:
    for leaf in leaves_of(features):
        if leaf.dtype == np.float64 and leaf.encoding == "none" and leaf.kind == "tensor":
            report.note("missing", f"the precision of {leaf.name}, whose float64 values are stored with 32 bits")
    if "is_terminal" in layout.flags:
        report.note("taken", "is_terminal as terminations, and other ends as truncations")
    else:
        report.note("assumed", "all episodes are truncated, as the data set has no is_terminal")
    if layout.infos:
        report.note("taken", f"{', '.join(layout.infos)} of the steps as infos")
    if layout.metadata:
        report.note("taken", f"{', '.join(layout.metadata)} of the records as metadata of the episodes")


def _readable(tree: FeatureTree, report: Report) -> FeatureTree:
    """Return features without those that cannot be read."""
    found: FeatureTree = {}
    for key, part in tree.items():
        if not isinstance(part, Leaf):
            found[key] = _readable(part, report)
        elif part.kind == "unknown":
            report.note("missing", f"{part.name}, a feature of a kind that is not supported")
        else:
            found[key] = part
    return found


def _chosen_splits(directory: TfdsDirectory, split: str | None, report: Report) -> list[str]:
    names = list(directory.splits)
    if not names:
        raise damaged(directory.path / INFO, "it names no split")
    if split is None:
        chosen = ["train"] if "train" in names else names
    else:
        chosen = names if split == _ALL and _ALL not in names else [split]
    if chosen[0] not in names:
        expected = ", ".join(map(repr, [*names, _ALL]))
        raise ArgumentError(
            f"split is {shortened(split)}, expected one of {expected} in {directory.path}."
            f"{did_you_mean(str(split), names)}"
        )
    report.note("taken", f"the episodes of {'the split' if len(chosen) == 1 else 'the splits'} {', '.join(chosen)}")
    if others := [name for name in names if name not in chosen]:
        report.note("missing", f"the splits {', '.join(others)}, which split='all' would take too")
    return chosen


@dataclass(slots=True)
class _Seen:
    """The extremes of numbers, or of the lengths of texts, and the characters of texts."""

    leaf: Leaf
    low: int | None = None
    high: int = 0
    characters: set[str] = field(default_factory=set)

    def add(self, values: Any) -> None:
        """Add the values of an episode."""
        if self.leaf.kind == "text":
            self.characters.update(*_checked_texts(self.leaf, values))
            values = np.array([len(value) for value in values])
        if len(values):
            low, high = int(values.min()), int(values.max())
            self.low, self.high = low if self.low is None else min(low, self.low), max(high, self.high)

    def space(self) -> gym.Space[Any] | None:
        """Return the space of the values; None if they are no choices."""
        if self.leaf.kind == "text":
            charset = "".join(sorted(self.characters)) or "a"
            return gym.spaces.Text(max(1, self.high), min_length=self.low or 0, charset=charset)
        low = min(0, self.low or 0)
        return gym.spaces.Discrete(self.high - low + 1, start=low) if self.high - low < 2**62 else None


def _spaces_of_values(directory: TfdsDirectory, shards: list[Shard], layout: _Layout) -> dict[str, gym.Space[Any]]:
    """Return the spaces that follow from values only: of texts, and of actions that are numbers of choices."""
    texts = [leaf for tree in (layout.observation, layout.action) for leaf in leaves_of(tree) if leaf.kind == "text"]
    seen = [_Seen(leaf) for leaf in texts if not leaf.is_ragged]
    seen += [_Seen(leaf) for leaf in leaves_of(layout.action) if leaf.is_choice and leaf.high is None]
    for shard in shards if seen else []:
        for number, record in _parsed(directory, shard):
            try:
                count = record.count(layout.countable)
                for one in seen:
                    one.add(record.steps(one.leaf, count))
            except _MALFORMED as error:
                raise damaged(f"Record {number} of {shard.path}", error) from error
    return {one.leaf.name: space for one in seen if (space := one.space()) is not None}


def _first_record(directory: TfdsDirectory, shards: list[Shard], layout: _Layout) -> Record:
    """Return the first episode with a step, decoded once so that spaces are made of shapes that values have."""
    leaves = [
        leaf for tree in (layout.observation, layout.action) for leaf in leaves_of(tree) if leaf.kind != "unknown"
    ]
    for shard in shards:
        for number, record in _parsed(directory, shard):
            try:
                if count := record.count(layout.countable):
                    for leaf in leaves:
                        record.steps(leaf, count)
                    return record
            except _MALFORMED as error:
                raise damaged(f"Record {number} of {shard.path}", error) from error
    raise InterchangeError(f"{directory.path} has no episode with a step, expected at least one.")


def _is_jpeg(record: Record, leaf: Leaf) -> bool:
    """Return whether the pictures of the first episode begin with a JPEG."""
    return leaf.kind == "picture" and is_jpeg(record.frames(leaf)[0])


def _parsed(directory: TfdsDirectory, shard: Shard) -> Iterator[tuple[int, Record]]:
    for number, data in enumerate(directory.records(shard)):
        try:
            record = Record(parse_example(data))
        except _MALFORMED as error:
            raise damaged(f"Record {number} of {shard.path}", error) from error
        yield number, record


def _checked_texts(leaf: Leaf, values: list[Any]) -> list[str]:
    for value in values:
        if not isinstance(value, str) or not is_utf8_text(value):
            raise ValueError(f"{shortened(leaf.name)} has {shortened(value)}, which is no text")
    return values


@dataclass(slots=True)
class _Reader:
    """Reader of episodes, which counts what the report says at the end."""

    directory: TfdsDirectory
    layout: _Layout
    report: Report
    last_step_action: LastStepAction
    final_observation: FinalStep
    names_splits: bool
    encoded: frozenset[str] = frozenset()  # names of features
    counts: dict[tuple[Literal["assumed", "missing"], str], int] = field(default_factory=dict)

    def episodes(self, shards: list[tuple[str, Shard]]) -> Iterator[EpisodeBuffer]:
        """Yield the episodes, and complete the report."""
        self._note_choices()
        for split, shard in shards:
            for number, record in _parsed(self.directory, shard):
                try:
                    episode = self._episode(record, split)
                except _MALFORMED as error:
                    raise damaged(f"Record {number} of {shard.path}", error) from error
                if episode is not None:
                    yield episode
        for (kind, sentence), count in self.counts.items():
            self.report.note(kind, f"{count} episodes {sentence}")

    def _note_choices(self) -> None:
        note = self.report.note
        if self.last_step_action == "drop":
            note("assumed", "the last step of a record has only an observation (last_step_action='drop')")
        else:
            note("assumed", "the action of the last step is real (last_step_action='keep')")
            note("assumed", _FINAL[self.final_observation])
        if self.layout.reward is None:
            note("assumed", "rewards, which the data set does not have, are zeros (rewards='zeros')")

    def _count(self, kind: Literal["assumed", "missing"], sentence: str) -> None:
        self.counts[kind, sentence] = self.counts.get((kind, sentence), 0) + 1

    def _episode(self, record: Record, split: str) -> EpisodeBuffer | None:
        layout = self.layout
        if any(leaf in record and bool(record.value(leaf)) for leaf in layout.invalid):
            self._count("missing", "that are marked as invalid")
            return None
        count = record.count(layout.countable)
        repeats = self.last_step_action == "keep" and self.final_observation == "repeat"
        steps = count if repeats else count - 1
        if steps < 1:
            self._count("missing", "without a step")
            return None
        observations, actions = (
            _map_leaves(lambda leaf: self._values_for_space(record, leaf, count), tree)
            for tree in (layout.observation, layout.action)
        )
        if self.last_step_action == "drop" and any(np.any(values[-1]) for values in _arrays(actions)):
            self._count(
                "assumed",
                "whose last step has an action that is not zero, and may be a real one (keep it with "
                "last_step_action='keep')",
            )
        terminations = self._terminations(record, count, steps)
        truncations = np.zeros(steps, np.bool_)
        truncations[-1] = not terminations[-1]
        return EpisodeBuffer(
            observations=_map_values(_with_last_repeated, observations) if repeats else observations,
            actions=_map_values(lambda values: values[:steps], actions),
            rewards=self._rewards(record, count)[:steps],
            terminations=terminations,
            truncations=truncations,
            infos=_infos(record, layout.infos, count, repeats),
            metadata=self._episode_metadata(record, split),
        )

    def _values_for_space(self, record: Record, leaf: Leaf, count: int) -> Any:
        if leaf.name in self.encoded:
            return record.frames(leaf, count)
        values = record.steps(leaf, count)
        return _checked_texts(leaf, values) if leaf.kind == "text" else values

    def _terminations(self, record: Record, count: int, steps: int) -> npt.NDArray[np.bool_]:
        flags = self.layout.flags
        ends = _flag(record, flags.get("is_last"), count)
        if not ends.any():
            self._count("assumed", "in which is_last is never set end with their records")
        elif ends[:-1].any():
            self._count("assumed", "in which is_last is set before the last step end with their records")
        terminal = _flag(record, flags.get("is_terminal"), count)
        if self.last_step_action == "drop":
            return terminal[1:]
        if terminal[steps:].any():
            self.report.note("missing", LOST_TERMINATIONS)
        return terminal[:steps]

    def _rewards(self, record: Record, count: int) -> npt.NDArray[Any]:
        if self.layout.reward is None:
            return np.zeros(count, np.float32)
        rewards: npt.NDArray[Any] = record.steps(self.layout.reward, count)
        return rewards.reshape(count) if rewards.size == count else rewards

    def _episode_metadata(self, record: Record, split: str) -> dict[str, Any]:
        found = _nested_values(record, self.layout.metadata)
        for key in [key for key, value in found.items() if _is_reserved(key, value)]:
            found[f"rlds_{key}"] = found.pop(key)
            self.report.note("taken", f"{key} of the episodes as rlds_{key}")
        return {**found, "split": split} if self.names_splits else found


_FINAL: Mapping[str, str] = {
    "repeat": "the observation after the last step of an episode is the one before it (final_observation='repeat')",
    "drop_last_step": "the last step of each episode, whose next observation is missing, is left out, and the one "
    "before it is truncated (final_observation='drop_last_step')",
}


def _is_reserved(key: str, value: Any) -> bool:
    """Return whether a key of metadata has another meaning in this library."""
    if key == "seed":
        return not isinstance(value, np.integer)
    return key in ("id", "total_steps") or (key == "options" and not isinstance(value, dict))


def _map_leaves(function: Any, tree: FeatureTree | Leaf) -> Any:
    return (
        function(tree) if isinstance(tree, Leaf) else {key: _map_leaves(function, part) for key, part in tree.items()}
    )


def _map_values(function: Any, values: Any) -> Any:
    return map_rows(function, values)


def _arrays(values: Any) -> Iterator[npt.NDArray[Any]]:
    """Yield the arrays of nested dicts."""
    if isinstance(values, dict):
        for part in values.values():
            yield from _arrays(part)
    elif isinstance(values, np.ndarray):
        yield values


def _with_last_repeated(values: Any) -> Any:
    return np.concatenate([values, values[-1:]]) if isinstance(values, np.ndarray) else [*values, values[-1]]


def _flag(record: Record, leaf: Leaf | None, count: int) -> npt.NDArray[np.bool_]:
    if leaf is None:
        return np.zeros(count, np.bool_)
    values = record.steps(leaf, count)
    if values.size != count:
        raise ValueError(f"{shortened(leaf.name)} has {values.size} values for {count} steps")
    flags: npt.NDArray[np.bool_] = values.reshape(count) != 0
    return flags


def _infos(record: Record, tree: FeatureTree, count: int, lacks_last: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, part in tree.items():
        if isinstance(part, dict):
            found[key] = _infos(record, part, count, lacks_last)
        elif lacks_last:
            found[key], found[f"_{key}"] = with_missing_row(record.steps(part, count))
        else:
            found[key] = record.steps(part, count)
    return found


def _nested_values(record: Record, tree: FeatureTree) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, part in tree.items():
        if isinstance(part, dict):
            found[key] = _nested_values(record, part)
        elif part in record:
            found[key] = record.value(part)
    return found


def _metadata(directory: TfdsDirectory) -> dict[str, Any]:
    """Return what the directory says about the data set."""
    info = directory.info
    texts = {key: info[key] for key in ("name", "configName", "version", "citation") if isinstance(info.get(key), str)}
    license = info.get("redistributionInfo")
    if isinstance(license, dict) and isinstance(license.get("license"), str):
        texts["license"] = license["license"]
    if isinstance(location := info.get("location"), dict) and isinstance(location.get("urls"), list):
        texts["urls"] = [url for url in location["urls"] if isinstance(url, str)]
    if labels := directory.labels():
        texts["labels"] = labels
    if descriptions := {leaf.name: leaf.description for leaf in leaves_of(directory.features) if leaf.description}:
        texts["descriptions"] = descriptions
    description = info.get("description")
    has_text = isinstance(description, str) and bool(description)
    return {"rlds": texts, **({"description": description} if has_text else {})}
