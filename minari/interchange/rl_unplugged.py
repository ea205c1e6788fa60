"""RL Unplugged: gzip files of records with one episode each, of Atari games and of the DeepMind Control Suite.

An episode of T steps has T + 1 rows. In those of Atari, row *t* has an observation, the action that was taken and the
reward that followed on it, and the last row only an observation; there are rewards as they were, and clipped ones, of
which the option ``rewards`` chooses. In those of the Control Suite and of locomotion, the reward of row *t* is that of
the step that led to its observation, so rewards are shifted by one row; the first reward and the last action are
padding. In both, the discount of a row came with its observation: one of 0 in the last row is a termination, and all
other ends are truncations. Discounts become infos, single values of a record metadata of the episode. The final
observation is always there. The layout is that which TensorFlow Datasets reads,
https://github.com/tensorflow/datasets (``rl_unplugged``: ``atari_utils``, ``rlu_control_suite``, ``rlu_locomotion``).
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from minari._base.json_text import shortened
from minari._model.episode_buffer import EpisodeBuffer
from minari.errors import InterchangeError
from minari.interchange.format import Format, Report, Source
from minari.interchange.pictures import decode_picture, picture_shape
from minari.interchange.tf_example import Feature, parse_example
from minari.interchange.tfrecord import damaged, is_gzip_of_records, read_gzip_records
from minari.spaces.inference import infer_observation_space


__all__ = ["RLUnplugged"]

Rewards: TypeAlias = Literal["unclipped", "clipped"]

_ATARI: Final = frozenset({"observations", "actions", "discounts"})
_CONTROL: Final = frozenset({"action", "discount", "reward", "step_type"})
_OBSERVATION = "observation/"
_SHARD = re.compile(r"(.+)-([0-9]{5})-of-([0-9]{5})")
_RAW_CAMERA: Final = (64, 64, 3)  # of locomotion, without any encoding
_MOST_LEVELS = 3  # of directories
_MOST_DIRECTORIES = 1000  # that are looked at on a level
_MOST_FILES = 10_000
_LAST = 2.0  # step_type of the last row
_MALFORMED = (ValueError, LookupError, TypeError, OverflowError, MemoryError)


class RLUnplugged(Format):
    """Format of RL Unplugged."""

    NAME = "rl_unplugged"

    def sniff(self, path: Path) -> bool:
        """Return whether the first file begins with a compressed record that has the features of an episode."""
        first = (
            path if path.is_file() else next((file for group in _groups(path) for file in group.files.values()), None)
        )
        if first is None or not is_gzip_of_records(first):
            return False
        names = parse_example(next(read_gzip_records(first))).keys()
        return names >= _ATARI or names >= _CONTROL

    def read(self, path: Path, *, rewards: Rewards = "unclipped", name: str | None = None) -> Source:
        """Return the episodes of a file, or of all files of a run or task.

        Args:
            path: a file, or the directory with files such as ``run_1-00000-of-00050``.
            rewards: which rewards of Atari are taken, those as they were or those within -1 and 1.
            name: the beginning of the names of the files, such as ``"run_1"``, where a directory has several.

        Raises:
            InterchangeError: the files are damaged, some are missing, or they are of another format.
        """
        report = Report(self.NAME, "import")
        files = _chosen_files(path, name, report)
        first = next(_episodes(files, rewards), None)
        if first is None:
            raise InterchangeError(f"{files[0]} has no episode with a step, expected at least one.")
        is_atari = isinstance(first.observations, np.ndarray)
        if is_atari:
            other = "clipped" if rewards == "unclipped" else "unclipped"
            report.note("missing", f"the {other} rewards, which rewards='{other}' would take")
        else:
            report.note("taken", "the reward of a row for the step that led to it")
        report.note("taken", "a last discount of 0 as a termination, other ends as truncations, discounts as infos")
        report.note("assumed", "the spaces follow from dtypes, shapes and values")
        spaces = (
            infer_observation_space(first.observations),
            _choices(files) if is_atari else infer_observation_space(first.actions),
        )
        return Source(*spaces, _episodes(files, rewards, report), report)


@dataclass(frozen=True, slots=True)
class _Group:
    """Files of one name, by their numbers; total is what their names say."""

    name: str
    total: int
    files: dict[int, Path]


def _groups(path: Path) -> list[_Group]:
    """Return the files below a directory whose names say that they are some of several."""
    found: dict[tuple[str, int], dict[int, Path]] = {}
    level = [path] if path.is_dir() else []
    for _ in range(_MOST_LEVELS):
        inner = []
        for directory in level:
            with os.scandir(directory) as entries:
                names = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
            for name, is_directory in names:
                if is_directory and not name.startswith("."):
                    inner.append(directory / name)
                elif not is_directory and (match := _SHARD.fullmatch(name)):
                    key = str((directory / match[1]).relative_to(path)), int(match[3])
                    found.setdefault(key, {})[int(match[2])] = directory / name
        level = inner[:_MOST_DIRECTORIES]
    return [_Group(*key, files) for key, files in found.items()]


def _chosen_files(path: Path, name: str | None, report: Report) -> list[Path]:
    if path.is_file():
        match = _SHARD.fullmatch(path.name)
        if match and int(match[3]) > 1:
            report.note("missing", f"the other {int(match[3]) - 1} files of {match[1]}")
        return [path]
    groups = [group for group in _groups(path) if name is None or name in (group.name, Path(group.name).name)]
    if len(groups) != 1:
        raise InterchangeError(
            f"{path} has files of {len(groups)} names ({', '.join(shortened(group.name) for group in groups[:9])}), "
            f"such as NAME-00000-of-00002, expected one; choose it with the option name, or give the path of one file."
        )
    (group,) = groups
    if missing := [number for number in range(min(group.total, _MOST_FILES)) if number not in group.files]:
        raise InterchangeError(
            f"{path} lacks {len(missing)} of {group.total} files of {group.name}, such as number {missing[0]}; copy or "
            f"download them."
        )
    return [group.files[number] for number in sorted(group.files)]


def _examples(files: list[Path]) -> Iterator[tuple[str, dict[str, Feature]]]:
    """Yield what each record is called in messages, and its features."""
    for file in files:
        for number, data in enumerate(read_gzip_records(file)):
            where = f"Record {number} of {file}"
            try:
                example = parse_example(data)
            except _MALFORMED as error:
                raise damaged(where, error) from error
            if not (example.keys() >= _ATARI or example.keys() >= _CONTROL):
                raise InterchangeError(
                    f"{where} has the features {shortened(sorted(example))}, expected those of an episode of Atari or "
                    f"of the Control Suite; is it another kind of file?"
                )
            yield where, example


def _choices(files: list[Path]) -> gym.Space[Any]:
    """Return the space of the actions of Atari, which are numbers of choices."""
    low, high = 0, 0
    for where, example in _examples(files):
        try:
            actions = example["actions"].integers() if "actions" in example else np.zeros(0, np.int64)
        except _MALFORMED as error:
            raise damaged(where, error) from error
        low, high = int(actions.min(initial=low)), int(actions.max(initial=high))
    if high - low >= 2**62:
        raise InterchangeError(f"The actions of {files[0]} are from {low} to {high}, expected numbers of choices.")
    return gym.spaces.Discrete(high - low + 1, start=low)


def _episodes(files: list[Path], rewards: Rewards, report: Report | None = None) -> Iterator[EpisodeBuffer]:
    odd: Counter[str] = Counter()
    for where, example in _examples(files):
        try:
            steps = len(example["discounts" if "discounts" in example else "discount"].floats()) - 1
            if steps < 1:
                odd["without a step are left out"] += 1
                continue
            episode, oddity = _atari(example, steps, rewards) if example.keys() >= _ATARI else _control(example, steps)
        except _MALFORMED as error:
            raise damaged(where, error) from error
        if oddity is not None:
            odd[oddity] += 1
        yield episode
    if report is not None:
        for oddity, count in odd.items():
            report.note("assumed", f"{count} episodes {oddity}")


def _atari(example: Mapping[str, Feature], steps: int, rewards: Rewards) -> tuple[EpisodeBuffer, str | None]:
    """Return an episode, and what is unusual about its last row."""
    name = f"{rewards}_rewards"
    if name not in example:
        raise ValueError(f"it has no {name}")
    values = _floats(example, name, steps)
    discounts = _floats(example, "discounts", steps)
    actions = example["actions"].integers()
    if len(actions) != steps + 1:
        raise ValueError(f"{len(actions)} actions for {steps} steps")
    episode = EpisodeBuffer(
        observations=_pictures(example["observations"].strings(), steps),
        actions=actions[:-1].copy(),
        rewards=values[:-1].copy(),
        **_flags(discounts, steps),
        infos={"discount": discounts},
        metadata=_metadata(example, _ATARI | {"clipped_rewards", "unclipped_rewards"}),
    )
    return episode, "whose last row has a reward end without it" if values[-1] else None


def _control(example: Mapping[str, Feature], steps: int) -> tuple[EpisodeBuffer, str | None]:
    """Return an episode, and what is unusual about its last row."""
    discounts = _floats(example, "discount", steps)
    observations: dict[str, Any] = {}
    for name, feature in sorted(example.items()):
        if name.startswith(_OBSERVATION):
            *outer, last = name.removeprefix(_OBSERVATION).split("/")
            inner = observations
            for part in outer:
                inner = inner.setdefault(part, {})
            inner[last] = _observation(feature, steps)
    if not observations:
        raise ValueError("it has no observation")
    actions = _matrix(example["action"], steps)
    episode = EpisodeBuffer(
        observations=observations,
        actions=actions[:-1].copy(),
        rewards=_floats(example, "reward", steps)[1:].copy(),
        **_flags(discounts, steps),
        infos={"discount": discounts},
        metadata=_metadata(example, _CONTROL),
    )
    is_marked = _floats(example, "step_type", steps)[-1] == _LAST
    return episode, None if is_marked else "whose last row is not marked as the last one end with it"


def _flags(discounts: npt.NDArray[np.float32], steps: int) -> dict[str, Any]:
    ends = np.arange(steps) == steps - 1
    is_terminal = discounts[-1] == 0
    return {"terminations": ends & is_terminal, "truncations": ends & ~is_terminal}


def _floats(example: Mapping[str, Feature], name: str, steps: int) -> npt.NDArray[np.float32]:
    values = example[name].floats()
    if len(values) != steps + 1:
        raise ValueError(f"{len(values)} values of {name} for {steps} steps")
    return values.astype(np.float32)


def _matrix(feature: Feature, steps: int) -> npt.NDArray[np.float32]:
    values = feature.floats()
    if not len(values) or len(values) % (steps + 1):
        raise ValueError(f"{len(values)} numbers for {steps} steps")
    return values.astype(np.float32).reshape(steps + 1, -1)


def _observation(feature: Feature, steps: int) -> npt.NDArray[Any]:
    if feature.kind != "byte strings":
        return _matrix(feature, steps)
    frames = feature.strings()
    if set(map(len, frames)) != {math.prod(_RAW_CAMERA)}:
        return _pictures(frames, steps)
    if len(frames) != steps + 1:
        raise ValueError(f"{len(frames)} frames for {steps} steps")
    return np.stack([np.frombuffer(frame, np.uint8).reshape(_RAW_CAMERA) for frame in frames])


def _pictures(frames: list[memoryview], steps: int) -> npt.NDArray[np.uint8]:
    if len(frames) != steps + 1:
        raise ValueError(f"{len(frames)} frames for {steps} steps")
    shape = picture_shape(frames[0])
    return np.stack([decode_picture(frame, shape, np.dtype(np.uint8)) for frame in frames])


def _metadata(example: Mapping[str, Feature], known: Iterable[str]) -> dict[str, Any]:
    """Return the features that have a single number."""
    found: dict[str, Any] = {}
    for name, feature in example.items():
        if name in known or name.startswith(_OBSERVATION) or feature.kind not in ("integers", "floats"):
            continue
        values = feature.integers() if feature.kind == "integers" else feature.floats()
        if len(values) == 1:
            found[f"rlu_{name}" if name in _OWN_NAMES else name] = values[0]
    return found


#: Names of metadata that have another meaning in this library.
_OWN_NAMES: Final = frozenset({"id", "total_steps", "seed", "options"})
