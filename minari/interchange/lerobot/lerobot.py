"""The format of LeRobot's datasets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from minari._base.files import FilesBeneath
from minari._base.json_text import parse_json
from minari._base.plain_values import from_tagged
from minari._model.episode_buffer import EpisodeBuffer
from minari.dataset.minari_dataset import MinariDataset
from minari.errors import InterchangeError
from minari.interchange.damage import damage_as_error
from minari.interchange.encoded_frames import encoded_paths, part_at
from minari.interchange.flat_rows import FlatRows
from minari.interchange.format import FinalObservation, Format, ImportedImages, Report, Source
from minari.interchange.lerobot.layout import OWN, SIDE, Feature, Layout, read_layout
from minari.interchange.lerobot.rows import FeatureRows, RowStore, SideRows
from minari.interchange.lerobot.writing import write_lerobot
from minari.interchange.own_columns import OwnColumns
from minari.spaces import ColumnPath
from minari.spaces.inference import infer_action_space, infer_observation_space


__all__ = ["LeRobot"]

_FLAGS = "next.terminated", "next.truncated"
_OUTCOMES = ("next.reward", "next.done", *_FLAGS)
_FINAL = f"{SIDE}final/"
_EPISODE = f"{SIDE}episode"
_LARGEST_OWN = 2**26

Done = Literal["terminated", "truncated", "success"]


class LeRobot(Format):
    """Format of LeRobot."""

    NAME = "lerobot"

    def sniff(self, path: Path) -> bool:
        """Return whether a directory has the info.json of LeRobot."""
        if (path / "meta_data/info.json").is_file():
            return True
        if not (path / "meta/info.json").is_file():
            return False
        info = parse_json(FilesBeneath(str(path)).read("meta/info.json", 2**24))
        return isinstance(info, dict) and str(info.get("codebase_version", "")).startswith("v")

    def read(
        self,
        path: Path,
        *,
        final_observation: FinalObservation = "error",
        rewards: Literal["error", "zeros"] = "error",
        done: Done = "terminated",
        images: ImportedImages = "decoded",
    ) -> Source:
        """Return the episodes of a directory.

        Args:
            path: the directory, with ``meta/info.json`` (in version 1 ``meta_data/info.json``).
            final_observation: where the observation after the last step of an episode comes from, unless our export
                has stored it.
            rewards: ``"zeros"`` for rewards of 0 where there are none.
            done: the meaning of ``next.done`` in the last row of an episode; with ``"success"``, it is a termination if
                ``next.success`` is set, and a truncation otherwise.
            images: ``"encoded"`` for JPEG images that are stored as they are.

        Raises:
            InterchangeError: it is damaged, or lacks something.
            MissingDependencyError: it has videos, and PyAV is not installed.
        """
        report = Report(self.NAME, "import")
        with damage_as_error(path):
            layout = read_layout(path)
            return _source(layout, final_observation, rewards, done, images, report)

    def write(
        self,
        dataset: MinariDataset,
        path: Path,
        *,
        images: Literal["png", "jpeg", "video"] = "png",
        fps: int | None = None,
        task: str | None = None,
        robot_type: str | None = None,
    ) -> Report:
        """Write a directory of version 3.0.

        Args:
            dataset: the dataset; its values are numbers and texts of fixed shapes.
            path: the new directory.
            images: ``"png"`` for lossless images in the tables; ``"jpeg"`` for images that lose details unless the
                dataset has JPEG frames, which are copied; ``"video"`` for lossy H.264.
            fps: steps per second; by default those of the dataset that was imported, or 30.
            task: the text of the task for episodes without the metadata ``task``.
            robot_type: the name of the robot.

        Raises:
            InterchangeError: its spaces are of other kinds.
            MissingDependencyError: video is asked for, and PyAV is not installed.
        """
        return write_lerobot(dataset, path, images=images, fps=fps, task=task, robot_type=robot_type)


def _source(
    layout: Layout, final: FinalObservation, rewards: str, done: Done, images: ImportedImages, report: Report
) -> Source:
    store = RowStore(layout)
    _check_files(store, report)
    own = _own_columns(layout, report)
    trees = _trees(store, own, report)
    terminated, truncated = _flags(store, done, report)
    metadata = _metadata(layout)
    rows = FlatRows(
        trees.observations,
        trees.actions,
        _rewards(store, own, rewards, report),
        terminated,
        truncated,
        store.bounds[:-1],
        store.bounds[1:],
        trees.next_observations,
        trees.infos,
        trees.next_infos,
        metadata,
    )
    rows.check_final_observation(final, layout.path)
    if own is None:
        spaces = _inferred(trees.observations), _inferred(trees.actions, infer_action_space)
        report.note("assumed", "the spaces, which the files do not have, follow from dtypes and shapes")
    else:
        spaces = own.observation_space, own.action_space
    encoded = _encoded(trees, spaces, report) if images == "encoded" else frozenset()
    episodes = _episodes(store, rows, final, report)
    return Source(*spaces, episodes, report, len(layout.episodes), {"lerobot": _facts(layout)}, encoded=encoded)


def _encoded(trees: _Trees, spaces: tuple[gym.Space[Any], gym.Space[Any]], report: Report) -> frozenset[ColumnPath]:
    """Let images stay encoded that are JPEG, and return their paths."""
    paths = encoded_paths(spaces, lambda path: part_at(trees.observations, path).begins_with_jpeg(), report)
    for tree in (trees.observations, trees.next_observations):
        for path in paths if tree is not None else ():
            part_at(tree, path).is_encoded = True
    return paths


def _check_files(store: RowStore, report: Report) -> None:
    """Check that all rows and videos are there, and note what is known without reading episodes."""
    layout = store.layout
    for number in range(len(layout.episodes)):
        store.check_episode(number)
    for feature in layout.features.values():
        if feature.kind == "video":
            for name in sorted({episode.videos[feature.name][0] for episode in layout.episodes if episode.videos}):
                if not (layout.path / name).is_file():
                    raise InterchangeError(
                        f"The video {layout.path / name} is missing; copy or download the dataset with its videos."
                    )
            first = layout.episodes[0].videos.get(feature.name)
            codec = "" if first is None else f" ({store.video(first[0], feature).codec})"
            report.note("taken", f"{feature.name}, frames that were decoded from video{codec}, which is lossy")
    announced = layout.info.get("total_episodes")
    if announced is not None and announced != len(layout.episodes):
        report.note("missing", f"episodes: info.json announces {announced}, the table has {len(layout.episodes)}")
    if layout.guessed:
        report.note("assumed", "episodes are bounded by changes of episode_index, as version 1 has no table of them")


@dataclass(slots=True)
class _Trees:
    """The rows of a dataset in the nesting of its values."""

    observations: Any
    actions: Any
    next_observations: Any
    infos: dict[str, Any]
    next_infos: dict[str, Any]


def _own_columns(layout: Layout, report: Report) -> OwnColumns | None:
    """Return the description that our export has written, if all of its columns are still there."""
    if not (layout.path / OWN).is_file():
        return None
    content = parse_json(FilesBeneath(str(layout.path)).read(OWN, _LARGEST_OWN))
    own = OwnColumns.from_json(content, layout.path / OWN)
    if set(own.columns) <= set(layout.features) and layout.episode_tables:
        return own
    report.note("missing", f"the spaces of {OWN}, which does not fit the columns: the dataset was edited")
    return None


def _side(store: RowStore, feature: Feature, rows: FeatureRows) -> SideRows | None:
    column, tables = f"{_FINAL}{feature.name}", store.layout.episode_tables
    if tables and all(column in table.schema.names for _, table in tables):
        return SideRows(store, feature, column, rows)
    return None


def _trees(store: RowStore, own: OwnColumns | None, report: Report) -> _Trees:
    layout = store.layout
    if own is not None:
        return _own_trees(store, own)
    features = [one for one in layout.features.values() if one.name not in _OUTCOMES]
    texts = [one for one in features if one.kind == "text" and one.name.startswith(("observation", "action"))]
    for feature in texts:
        report.note("taken", f"{feature.name}, which is text, as an info")
    trees = {
        prefix: _nested(store, [one for one in features if one not in texts and _belongs(one.name, prefix)], prefix)
        for prefix in ("observation", "action", "next")
    }
    for prefix in ("observation", "action"):
        if trees[prefix] == {}:
            expected = "observation.*" if prefix == "observation" else "action"
            raise InterchangeError(f"{layout.path} has no feature {expected}, expected some.")
    rest = [one for one in features if one in texts or not any(_belongs(one.name, prefix) for prefix in trees)]
    infos, next_infos = _nested(store, rest, ""), trees["next"]
    if any(len(episode.tasks) > 1 for episode in layout.episodes):
        infos["task"] = _TaskRows(store)
    if infos:
        report.note("taken", "columns that are no observations and actions as infos; there is none for the last one")
    if next_infos:
        report.note("taken", "columns next.* as infos of the observation after the step")
    sides = _nested_sides(store, features, texts)
    return _Trees(trees["observation"], trees["action"], sides, infos, next_infos)


def _belongs(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}.")


def _nested_sides(store: RowStore, features: list[Feature], texts: list[Feature]) -> Any:
    """Return the final observations; None if one is missing."""
    observed = [one for one in features if one not in texts and _belongs(one.name, "observation")]
    sides = {one.name: _side(store, one, FeatureRows(store, one)) for one in observed}
    if any(side is None for side in sides.values()):
        return None
    return _nested(store, observed, "observation", sides)


def _nested(store: RowStore, features: list[Feature], prefix: str, values: Mapping[str, Any] | None = None) -> Any:
    """Return rows in dicts, nested by the dots in their names; a single feature without further name is rows itself."""
    names = [one.name.removeprefix(prefix).lstrip(".") for one in features]
    is_nested = all(not other.startswith(f"{name}.") for name in names for other in names)
    tree: dict[str, Any] = {}
    for name, feature in zip(names, features, strict=True):
        rows = FeatureRows(store, feature) if values is None else values[feature.name]
        if not name and len(names) == 1:
            return rows
        *outer, last = name.split(".") if is_nested and all(name.split(".")) else [name or prefix]
        inner = tree
        for part in outer:
            inner = inner.setdefault(part, {})
        inner[last] = rows
    return tree


def _own_trees(store: RowStore, own: OwnColumns) -> _Trees:
    """Return the rows of a dataset that our export has written."""
    features, where = store.layout.features, store.layout.path / OWN
    rows = {name: FeatureRows(store, features[name], shape) for name, (_, shape) in own.columns.items()}
    sides = {name: _side(store, features[name], one) for name, one in rows.items()}

    def tree(section: str, values: Mapping[str, Any]) -> Any:
        return own.tree(section, lambda name, _: values[name], where)

    observed = [name for name, (place, _) in own.columns.items() if place[:1] == ("observations",)]
    infos = {name for name, (place, _) in own.columns.items() if place[:1] == ("infos",)}
    has_infos = all(sides[name] is not None for name in infos)
    return _Trees(
        tree("observations", rows),
        tree("actions", rows),
        tree("observations", sides) if all(sides[name] is not None for name in observed) else None,
        tree("infos", rows),
        tree("infos", sides) if has_infos else {},
    )


class _TaskRows:
    """The text of the task in each row."""

    def __init__(self, store: RowStore) -> None:
        self._store = store
        self.shape, self.dtype = (store.total,), np.dtype(object)

    def __getitem__(self, rows: slice) -> npt.NDArray[Any]:
        start, stop, _ = rows.indices(self._store.total)
        tasks = self._store.layout.tasks
        numbers = [self._store.values("task_index", *part) for part in self._store.parts(start, stop)]
        texts = [tasks.get(int(number), "") for part in numbers for number in part]
        values = np.empty(len(texts), object)
        values[:] = texts
        return values


def _inferred(tree: Any, infer: Any = infer_observation_space) -> gym.Space[Any]:
    if isinstance(tree, Mapping):
        return gym.spaces.Dict({key: _inferred(part, infer) for key, part in tree.items()})
    space: gym.Space[Any] = infer(np.zeros((1, *tree.shape[1:]), tree.dtype))
    return space


def _rewards(store: RowStore, own: OwnColumns | None, choice: str, report: Report) -> Any:
    feature = store.layout.features.get("next.reward")
    if feature is not None:
        shape = None if own is None or feature.name not in own.columns else own.columns[feature.name][1]
        return FeatureRows(store, feature, shape)
    if choice != "zeros":
        raise InterchangeError(
            f"{store.layout.path} has no rewards (next.reward); give rewards='zeros' for rewards of 0."
        )
    report.note("assumed", "rewards are 0, as there are none (rewards='zeros')")
    return np.zeros(store.total, np.float32)


def _column(store: RowStore, name: str) -> npt.NDArray[np.bool_]:
    found = np.zeros(store.total, np.bool_)
    for number, episode in enumerate(store.layout.episodes):
        values = store.values(name, number, 0, episode.length)
        if values.size != len(values) or not ((values == 0) | (values == 1)).all():
            raise InterchangeError(f"{name} of {store.layout.path} has other values than flags, 0 or 1.")
        found[store.bounds[number] : store.bounds[number + 1]] = values.reshape(len(values))
    return found


def _flags(store: RowStore, done: Done, report: Report) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return terminations and truncations of all rows."""
    features, last = store.layout.features, store.bounds[1:] - 1
    if all(name in features for name in _FLAGS):
        terminated, truncated = (_column(store, name) for name in _FLAGS)
        return terminated, truncated
    terminated, truncated = np.zeros(store.total, np.bool_), np.zeros(store.total, np.bool_)
    if "next.done" not in features:
        truncated[last] = True
        report.note("assumed", "episodes are truncated, as nothing says how they ended (there is no next.done)")
        return terminated, truncated
    ended = _column(store, "next.done")
    if extra := int(ended.sum() - ended[last].sum()):
        report.note(
            "taken", f"bounds of episodes from their table: next.done is set in {extra} rows before the last one too"
        )
    if done == "success":
        if "next.success" not in features:
            raise InterchangeError(
                f"{store.layout.path} has no next.success, give done='terminated' or done='truncated'."
            )
        terminated[last] = ended[last] & _column(store, "next.success")[last]
    elif done == "terminated":
        terminated[last] = ended[last]
    truncated[last] = ~terminated[last]
    report.note(
        "assumed",
        f"next.done of the last row of an episode is {_DONE[done]} (done={done!r}), and its absence a truncation",
    )
    return terminated, truncated


_DONE: Mapping[str, str] = {
    "terminated": "a termination",
    "truncated": "a truncation",
    "success": "a termination where next.success is set and a truncation otherwise",
}


def _metadata(layout: Layout) -> list[dict[str, Any]]:
    return [
        {"task": episode.tasks[0]} if len(episode.tasks) == 1 else {"tasks": episode.tasks} if episode.tasks else {}
        for episode in layout.episodes
    ]


def _facts(layout: Layout) -> dict[str, Any]:
    """Return what info.json says beside the files, for the metadata of the dataset."""
    facts: dict[str, Any] = {"codebase_version": layout.version, "fps": layout.fps}
    if isinstance(robot := layout.info.get("robot_type"), str):
        facts["robot_type"] = robot
    described = layout.info.get("features")
    names = {name: described[name].get("names") for name in layout.features} if isinstance(described, dict) else {}
    if found := {name: value for name, value in names.items() if value}:
        facts["names"] = found
    return facts


def _episodes(store: RowStore, rows: FlatRows, final: FinalObservation, report: Report) -> Iterator[EpisodeBuffer]:
    """Yield the episodes, each with its own metadata if our export has stored them."""
    layout = store.layout
    has_metadata = all(_EPISODE in table.schema.names for _, table in layout.episode_tables) and bool(
        layout.episode_tables
    )
    with damage_as_error(layout.path):
        if not has_metadata or rows.next_observations is None:
            yield from rows.episodes(final, report)
            return
        for number, episode in enumerate(rows.episodes(final, report)):
            yield _with_own_metadata(store, number, episode)


def _with_own_metadata(store: RowStore, number: int, episode: EpisodeBuffer) -> EpisodeBuffer:
    row = store.layout.episodes[number].row
    first, table = next((first, table) for first, table in reversed(store.layout.episode_tables) if first <= row)
    metadata = from_tagged(parse_json(table.column(_EPISODE, row - first, row - first + 1)[0].as_py() or "{}"))
    if not isinstance(metadata, dict):
        raise InterchangeError(
            f"The metadata of episode {number} of {store.layout.path} are damaged, expected an object."
        )
    seed, options = metadata.pop("seed", None), metadata.pop("options", None)
    return replace(episode, seed=seed, options=options, metadata=metadata)
