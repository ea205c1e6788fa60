"""The directories of LeRobot's versions: which files have the rows and videos of which episode."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from minari._base.files import FilesBeneath, is_directory, relative_parts
from minari._base.json_text import parse_json, shortened
from minari.errors import InterchangeError
from minari.interchange.damage import damage_as_error
from minari.interchange.foreign_tables import ForeignTable, ParquetTable, open_table, values_of
from minari.interchange.pictures import picture_shape
from minari.interchange.video import VideoFile


__all__ = ["INDEX_COLUMNS", "OWN", "SIDE", "Episode", "Feature", "Layout", "read_layout"]

#: Columns that number the rows, and are no data.
INDEX_COLUMNS = ("timestamp", "frame_index", "episode_index", "index", "task_index")
#: Prefix of the columns of the table of episodes that our export adds.
SIDE = "minari/"
#: The file in which our export keeps the spaces and the structure of the values.
OWN = "meta/minari.json"

_INFO = "meta/info.json"
_INFO_V1 = "meta_data/info.json"
_LARGEST_INFO = 2**24
_LARGEST_TABLE = 2**30  # of episodes, as text
_FIELD = re.compile(r"\{(\w+)(?::0?(\d{1,2})d)?\}")
_PLACES = {"episode_index": 6, "chunk_index": 3, "file_index": 3, "episode_chunk": 3}
_CHANNELS = ("channel", "channels")


@dataclass(frozen=True, slots=True)
class Feature:
    """A column of the dataset.

    Attributes:
        name: such as ``"observation.state"``.
        kind: numbers and texts are in the rows, as the bytes of images are; videos are files of their own.
        shape: the shape of a value; (H, W, channels) for images and videos.
    """

    name: str
    kind: str
    shape: tuple[int, ...]


@dataclass(slots=True)
class Episode:
    """Location of an episode.

    Attributes:
        index: its number.
        length: the number of its steps.
        file: the table with its rows.
        start: its first row there.
        tasks: its texts.
        videos: for each video, the file, and the time in it at which the episode begins.
        row: its row in the table of episodes; -1 if that has no further columns.
    """

    index: int
    length: int
    file: str
    start: int
    tasks: list[str] = field(default_factory=list)
    videos: dict[str, tuple[str, float]] = field(default_factory=dict)
    row: int = -1


@dataclass(slots=True)
class Layout:
    """A dataset of LeRobot.

    Attributes:
        path: its directory.
        version: of the layout, such as ``"v3.0"``.
        info: the content of its info.json.
        fps: rows per second.
        features: the columns by their names, without those that number the rows.
        episodes: the episodes, at least one.
        tasks: the texts by their numbers.
        episode_tables: the tables of episodes, each with the number of its first row.
        guessed: True if the bounds of episodes follow from their rows, as there is no table of episodes.
    """

    path: Path
    version: str
    info: Mapping[str, Any]
    fps: float
    features: dict[str, Feature]
    episodes: list[Episode]
    tasks: dict[int, str] = field(default_factory=dict)
    episode_tables: list[tuple[int, ForeignTable]] = field(default_factory=list)
    guessed: bool = False


def read_layout(path: Path) -> Layout:
    """Return what a directory contains.

    Raises:
        InterchangeError: it is not a dataset of LeRobot, is of an unknown version, or is damaged.
    """
    files = FilesBeneath(str(path))
    if not (path / _INFO).is_file():
        if not (path / _INFO_V1).is_file():
            raise InterchangeError(
                f"{path} has neither {_INFO} nor {_INFO_V1}, expected the directory of a LeRobot dataset."
            )
        return _layout_v1(path, _json(files, _INFO_V1))
    info = _json(files, _INFO)
    version = str(info.get("codebase_version", ""))
    if version.startswith("v3."):
        return _layout_v3(path, version, info)
    if version.startswith("v2."):
        return _layout_v2(path, version, info)
    raise InterchangeError(
        f"{path / _INFO} says codebase_version {shortened(info.get('codebase_version'))}, expected 'v2.0', 'v2.1' or "
        f"'v3.0'; convert the dataset with LeRobot's own scripts."
    )


def _json(files: FilesBeneath, name: str) -> Mapping[str, Any]:
    value = parse_json(files.read(name, _LARGEST_INFO))
    if not isinstance(value, dict):
        raise InterchangeError(f"{files.path}/{name} is {type(value).__name__}, expected an object.")
    return value


def _fps(info: Mapping[str, Any], path: Path) -> float:
    fps = info.get("fps")
    if isinstance(fps, bool) or not isinstance(fps, (int, float)) or not 0 < fps <= 10**6:
        raise InterchangeError(f"The info.json of {path} says fps {shortened(fps)}, expected frames per second.")
    return float(fps)


def _features(info: Mapping[str, Any], path: Path) -> dict[str, Feature]:
    described = info.get("features")
    if not isinstance(described, dict) or not described:
        raise InterchangeError(f"The info.json of {path} describes no features, expected the columns by their names.")
    return {name: _feature(name, feature, path) for name, feature in described.items() if name not in INDEX_COLUMNS}


def _feature(name: str, described: Any, path: Path) -> Feature:
    dtype = described.get("dtype") if isinstance(described, dict) else None
    shape = described.get("shape") if isinstance(described, dict) else None
    if not isinstance(dtype, str) or not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
        raise InterchangeError(
            f"The info.json of {path} describes {name!r} by {shortened(described)}, expected its dtype and shape."
        )
    kind = {"image": "image", "video": "video", "string": "text"}.get(dtype, "number")
    return Feature(
        name, kind, _frame_shape(shape, described.get("names")) if kind in ("image", "video") else tuple(shape)
    )


def _frame_shape(shape: list[int], names: Any) -> tuple[int, ...]:
    """Return the shape of frames as they are stored, with the channels last."""
    first = names[0] if isinstance(names, list) and names else None
    if len(shape) == 3 and (first in _CHANNELS or (first is None and shape[0] in (1, 3) and shape[2] not in (1, 3))):
        return (*shape[1:], shape[0])
    return tuple(shape)


def _filled(pattern: Any, path: Path, **values: Any) -> str:
    """Return a pattern of file names with its fields filled in, without the powers of :meth:`str.format`."""

    def fill(match: re.Match[str]) -> str:
        value = values.get(match[1])
        if value is None:
            raise InterchangeError(f"The info.json of {path} names files {pattern!r}, where {match[1]!r} is not known.")
        return str(value) if isinstance(value, str) else f"{value:0{int(match[2] or 0)}d}"

    if not isinstance(pattern, str):
        raise InterchangeError(f"The info.json of {path} names files {shortened(pattern)}, expected a pattern.")
    name = _FIELD.sub(fill, pattern)
    relative_parts(name)
    return name


def _positive(value: Any, what: str, path: Path) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**48:
        raise InterchangeError(f"An episode of {path} has the {what} {shortened(value)}, expected a whole number.")
    return value


def _texts(value: Any) -> list[str]:
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []


def _json_lines(path: Path, name: str) -> list[Mapping[str, Any]]:
    lines = FilesBeneath(str(path)).read(name, _LARGEST_TABLE).splitlines()
    values = [parse_json(line) for line in lines if line.strip()]
    if not all(isinstance(value, dict) for value in values):
        raise InterchangeError(f"{path / name} has a line that is not an object; it is damaged.")
    return values


def _layout_v2(path: Path, version: str, info: Mapping[str, Any]) -> Layout:
    features, chunk_size = _features(info, path), info.get("chunks_size", 1000)
    if type(chunk_size) is not int or chunk_size < 1:
        raise InterchangeError(f"The info.json of {path} says chunks_size {shortened(chunk_size)}, expected a number.")
    videos = [name for name, feature in features.items() if feature.kind == "video"]
    tasks = {
        line["task_index"]: str(line.get("task", ""))
        for line in _json_lines(path, "meta/tasks.jsonl")
        if type(line.get("task_index")) is int
    }
    episodes = []
    for line in _json_lines(path, "meta/episodes.jsonl"):
        index = _positive(line.get("episode_index"), "episode_index", path)
        place = {"episode_index": index, "episode_chunk": index // chunk_size}
        episode = Episode(
            index,
            _positive(line.get("length"), "length", path),
            _filled(info.get("data_path"), path, **place),
            0,
            _texts(line.get("tasks")),
            {name: (_filled(info.get("video_path"), path, video_key=name, **place), 0.0) for name in videos},
        )
        episodes.append(episode)
    return Layout(path, version, info, _fps(info, path), features, _some(episodes, path), tasks)


def _layout_v3(path: Path, version: str, info: Mapping[str, Any]) -> Layout:
    features = _features(info, path)
    names = _parquet_names(path, "meta/episodes")
    if not names:
        raise InterchangeError(
            f"{path} has no meta/episodes; the recording was not finalized, so call finalize() in the program that "
            f"wrote it, or copy the dataset again."
        )
    episodes: list[Episode] = []
    tables: list[tuple[int, ForeignTable]] = []
    for name in names:
        table = ParquetTable(path, name)
        tables.append((len(episodes), table))
        episodes += _episodes_v3(path, info, features, table, len(episodes))
    first: dict[str, int] = {}
    for episode in episodes:
        first[episode.file] = min(first.get(episode.file, episode.start), episode.start)
    for episode in episodes:
        episode.start -= first[episode.file]
    return Layout(path, version, info, _fps(info, path), features, _some(episodes, path), _tasks_v3(path), tables)


def _episodes_v3(
    path: Path, info: Mapping[str, Any], features: Mapping[str, Feature], table: ForeignTable, row: int
) -> list[Episode]:
    videos = [name for name, feature in features.items() if feature.kind == "video"]

    def column(name: str) -> list[Any]:
        values: list[Any] = table.column(name, 0, table.rows).to_pylist()
        return values

    columns = {
        name: column(name)
        for name in (
            *("episode_index", "length", "data/chunk_index", "data/file_index", "dataset_from_index"),
            *("dataset_to_index", "tasks"),
            *(f"videos/{key}/{part}" for key in videos for part in ("chunk_index", "file_index", "from_timestamp")),
        )
    }
    episodes = []
    for number in range(table.rows):
        value = {name: values[number] for name, values in columns.items()}
        integers = {name: _positive(value[name], name, path) for name in columns if name.endswith(("index", "length"))}
        length = integers["length"]
        if integers["dataset_to_index"] - integers["dataset_from_index"] != length:
            raise InterchangeError(
                f"Episode {integers['episode_index']} of {path} has {length} steps, and other bounds "
                f"than that; the table is damaged."
            )
        places = {}
        for key in videos:
            numbers = {part: integers[f"videos/{key}/{part}"] for part in ("chunk_index", "file_index")}
            start = value[f"videos/{key}/from_timestamp"]
            if not isinstance(start, float) or not 0 <= start < 10**9:
                raise InterchangeError(
                    f"Episode {integers['episode_index']} of {path} begins at {start!r} in a video, expected seconds."
                )
            places[key] = _filled(info.get("video_path"), path, video_key=key, **numbers), start
        numbers = {part: integers[f"data/{part}"] for part in ("chunk_index", "file_index")}
        file = _filled(info.get("data_path"), path, **numbers)
        start = integers["dataset_from_index"]
        episodes.append(
            Episode(integers["episode_index"], length, file, start, _texts(value["tasks"]), places, row + number)
        )
    return episodes


def _tasks_v3(path: Path) -> dict[int, str]:
    """Return the texts of the tasks, which are the index of a table of pandas."""
    if not (path / "meta/tasks.parquet").is_file():
        return {}
    table = ParquetTable(path, "meta/tasks.parquet")
    texts = [name for name in table.schema.names if name != "task_index"]
    if len(texts) != 1 or "task_index" not in table.schema.names:
        return {}
    numbers = table.column("task_index", 0, table.rows).to_pylist()
    return dict(zip(numbers, map(str, table.column(texts[0], 0, table.rows).to_pylist()), strict=True))


def _parquet_names(path: Path, directory: str) -> list[str]:
    """Return the names of the tables of a directory, DIRECTORY/chunk-N/file-N.parquet, in order."""
    names = []
    if is_directory(path / directory):
        for inner in sorted((path / directory).iterdir()):
            if inner.name.startswith("chunk-") and is_directory(inner):
                names += [f"{directory}/{inner.name}/{one.name}" for one in sorted(inner.glob("*.parquet"))]
    return names


def _some(episodes: list[Episode], path: Path) -> list[Episode]:
    if not episodes:
        raise InterchangeError(f"{path} has no episode, expected at least one.")
    if any(episode.length == 0 for episode in episodes):
        raise InterchangeError(f"{path} has an episode without steps; its table of episodes is damaged.")
    numbers = [episode.index for episode in episodes]
    if len(set(numbers)) != len(numbers):
        raise InterchangeError(f"{path} has two episodes of one number; its table of episodes is damaged.")
    return episodes


def _layout_v1(path: Path, info: Mapping[str, Any]) -> Layout:
    names = [f"train/{one.name}" for one in sorted((path / "train").glob("*.arrow"))]
    names = names or [f"data/{one.name}" for one in sorted((path / "data").glob("train-*.parquet"))]
    if not names:
        raise InterchangeError(
            f"{path} has neither train/*.arrow nor data/train-*.parquet, expected the rows of version 1."
        )
    fps = _fps(info, path)
    tables = [open_table(path, name) for name in names]
    features: dict[str, Feature] = {}
    for column in tables[0].schema.names:
        if column not in INDEX_COLUMNS:
            features[column] = _feature_v1(path, tables[0], column, fps)
    episodes: list[Episode] = []
    for name, table in zip(names, tables, strict=True):
        numbers = values_of(table.column("episode_index", 0, table.rows), f"episode_index of {table.where}").tolist()
        start = 0
        for row in range(1, len(numbers) + 1):
            if row == len(numbers) or numbers[row] != numbers[start]:
                episodes.append(Episode(_positive(numbers[start], "episode_index", path), row - start, name, start))
                start = row
    return Layout(path, "v1", info, fps, features, _some(episodes, path), guessed=True)


def _feature_v1(path: Path, table: ForeignTable, name: str, fps: float) -> Feature:
    """Return a column of version 1, whose shape only its first value has."""
    first = table.column(name, 0, min(1, table.rows))
    if not len(first):
        raise InterchangeError(f"{table.where} has no row, expected at least one.")
    value = first[0].as_py()
    if isinstance(value, dict) and isinstance(value.get("bytes"), bytes):
        with damage_as_error(f"The first {name} of {table.where}"):
            shape = picture_shape(value["bytes"])
        return Feature(name, "image", shape if shape[2] > 1 else shape[:2])
    if isinstance(value, dict) and isinstance(value.get("path"), str) and "timestamp" in value:
        relative_parts(value["path"])
        return Feature(name, "video", VideoFile(path, value["path"], fps).shape)
    values = values_of(first, f"{name} of {table.where}")
    return Feature(name, "text" if values.dtype == object else "number", values.shape[1:] or (1,))
