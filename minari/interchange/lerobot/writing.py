"""Writing of LeRobot's version 3.0."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from minari._base.json_text import shortened
from minari._base.plain_values import to_tagged
from minari._model.arguments import check_count
from minari._model.episode import EpisodeData
from minari._storages.arrow.conversions import pa, pq
from minari.dataset.minari_dataset import MinariDataset
from minari.errors import ArgumentError, InterchangeError
from minari.inspection.video import write_video
from minari.interchange.encoded_frames import episodes_as_stored, is_encoded
from minari.interchange.format import Report
from minari.interchange.lerobot.layout import OWN, SIDE
from minari.interchange.lerobot.statistics import Statistics, statistics_of
from minari.interchange.own_columns import OwnColumns, Place, arrow_array, common_columns, leaves_of
from minari.interchange.pictures import encode_picture
from minari.progress import track


__all__ = ["write_lerobot"]

_FILE_SIZE = 100  # MB
_FILES_OF_CHUNK = 1000
_EPISODES_AT_ONCE = 64
_SMALLEST_SIDE = 32  # of an image
_DEFAULT_FPS = 30
_OUTCOMES: Mapping[str, str] = {
    "rewards": "next.reward",
    "terminations": "next.terminated",
    "truncations": "next.truncated",
}
_INDEX_TYPES = {
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of the tables: ``kind`` is ``"number"``, ``"text"``, ``"image"`` or ``"video"``.

    Images that are not encoded yet become pictures of the kind ``encoding``.
    """

    name: str
    place: Place
    kind: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    encoding: str = "png"

    @property
    def has_last(self) -> bool:
        """Return whether there is a value after the last step."""
        return self.place[0] in ("observations", "infos")

    @property
    def row_shape(self) -> tuple[int, ...]:
        return self.shape or (1,)

    def described(self, fps: int) -> dict[str, Any]:
        dtype = {"image": "image", "video": "video", "text": "string"}.get(self.kind, self.dtype.name)
        shape, names = list(self.row_shape), None
        if self.kind in ("image", "video"):
            shape, names = [*self.shape, 1][:3], ["height", "width", "channels"]
        feature: dict[str, Any] = {"dtype": dtype, "shape": shape, "names": names}
        if self.kind == "video":
            feature["info"] = {
                "video.height": shape[0],
                "video.width": shape[1],
                "video.codec": "h264",
                "video.pix_fmt": "yuv444p" if shape[0] % 2 or shape[1] % 2 else "yuv420p",
                "video.is_depth_map": False,
                "video.fps": fps,
                "video.channels": 3,
                "has_audio": False,
            }
        return feature

    def arrow(self, values: Any) -> Any:
        """Return rows as an array of Arrow."""
        if self.kind in ("image", "video"):
            rows = [{"bytes": picture, "path": None} for picture in self._pictures(values)]
            return pa.array(rows, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
        if self.kind == "text":
            return pa.array(list(values), pa.string())
        return arrow_array(np.asarray(values).reshape(len(values), *self.row_shape))

    def _pictures(self, values: Any) -> list[bytes]:
        if is_encoded(values):
            return list(values)
        return [encode_picture(frame.reshape(*frame.shape[:2], -1), self.encoding) for frame in values]


def write_lerobot(
    dataset: MinariDataset, path: Path, *, images: str, fps: int | None, task: str | None, robot_type: str | None
) -> Report:
    """Write a dataset; the arguments are those of :meth:`LeRobot.write`."""
    report = Report("lerobot", "export")
    stored = images == "jpeg" and dataset.storage.jpeg_encoding

    def episodes() -> Iterator[EpisodeData]:
        return episodes_as_stored(dataset, lambda leaf: True) if stored else dataset.iterate_episodes(copy=False)

    columns = _named(common_columns(dataset, episodes(), "LeRobot", report), images, stored, report)
    writer = _Writer(path, columns, _checked_fps(dataset, fps, report), task, report)
    for episode in track(episodes(), "exporting episodes", total=len(dataset)):
        writer.add(episode)
    writer.finish(dataset, robot_type or _facts(dataset).get("robot_type"))
    return report


def _facts(dataset: MinariDataset) -> Mapping[str, Any]:
    facts = dataset.storage.metadata.get("lerobot")
    return facts if isinstance(facts, Mapping) else {}


def _checked_fps(dataset: MinariDataset, fps: int | None, report: Report) -> int:
    if fps is not None:
        check_count("fps", fps, 1, ArgumentError)
        return fps
    known = _facts(dataset).get("fps")
    if isinstance(known, (int, float)) and known >= 1 and int(known) == known:
        return int(known)
    report.note("assumed", f"{_DEFAULT_FPS} steps per second (fps), as the dataset does not say")
    return _DEFAULT_FPS


def _named(known: Mapping[Place, Any], images: str, stored: bool, report: Report) -> list[_Column]:
    columns: dict[str, _Column] = {}
    for place, (dtype, shape) in known.items():
        kind = "text" if dtype.kind == "O" else "number"
        if place[0] == "observations" and _is_image(dtype, shape):
            kind = "video" if images == "video" and shape[2:] == (3,) else "image"
        name = _name(place, kind)
        number = 2
        while name in columns:
            name, number = f"{_name(place, kind)}_{number}", number + 1
        columns[name] = _Column(name, place, kind, dtype, shape, "jpeg" if images == "jpeg" else "png")
        if kind == "video":
            report.note("missing", f"exact values of {name}, as video is lossy (images='video')")
        if kind == "image" and images == "jpeg":
            if stored:
                report.note("taken", f"the JPEG frames of {name}, byte for byte as the dataset stores them")
            else:
                report.note("missing", f"exact values of {name}, as JPEG is lossy (images='jpeg')")
    return list(columns.values())


def _is_image(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bool:
    return (
        dtype == np.uint8
        and len(shape) in (2, 3)
        and min(shape[:2]) >= _SMALLEST_SIDE
        and shape[2:] in ((), (1,), (3,))
    )


def _name(place: Place, kind: str) -> str:
    if place[0] in _OUTCOMES:
        return _OUTCOMES[place[0]]
    prefix = {"observations": "observation", "actions": "action", "infos": "info"}[place[0]]
    keys = [str(key).replace("/", "_") or "_" for key in place[1:]]
    if not keys and place[0] == "observations":
        keys = ["state" if kind in ("number", "text") else "image"]
    return ".".join([prefix, *keys])


@dataclass(slots=True)
class _Writer:
    """The files of a dataset that is being written."""

    path: Path
    columns: list[_Column]
    fps: int
    task: str | None
    report: Report
    tasks: dict[str, int] = field(default_factory=dict)
    total: int = 0
    frames: int = 0
    file: int = 0
    _data: Any = None
    _rows: list[dict[str, Any]] = field(default_factory=list)
    _table: Any = None
    _statistics: dict[str, Statistics] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for directory in ("meta/episodes/chunk-000", "data"):
            (self.path / directory).mkdir(parents=True)

    def add(self, episode: EpisodeData) -> None:
        """Write an episode."""
        steps = len(episode)
        if not steps:
            self.report.note("missing", "episodes without steps")
            return
        leaves = leaves_of(episode)
        values = {one.name: _rows(leaves[one.place], 0, steps) for one in self.columns}
        last = {one.name: _rows(leaves[one.place], steps, steps + 1) for one in self.columns if one.has_last}
        texts = self._texts(episode, steps)
        index = self._index(texts)
        row = {"episode_index": self.total, "tasks": list(dict.fromkeys(texts)), "length": steps}
        if self._data is not None and self._data_path().stat().st_size > _FILE_SIZE * 2**20:
            self._close_data()
            self.file += 1
        self._write_rows(values, index)
        row |= {"data/chunk_index": self.file // _FILES_OF_CHUNK, "data/file_index": self.file % _FILES_OF_CHUNK}
        row |= {"dataset_from_index": self.frames, "dataset_to_index": self.frames + steps}
        row |= self._write_videos(values, steps)
        row |= {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0}
        row |= self._add_statistics(values, index)
        for one in self.columns:
            if one.has_last:
                row[f"{SIDE}final/{one.name}"] = one.arrow(last[one.name])
        row[f"{SIDE}episode"] = json.dumps(to_tagged(dict(episode.metadata)))
        self._rows.append(row)
        if len(self._rows) >= _EPISODES_AT_ONCE:
            self._write_episodes()
        self.total, self.frames = self.total + 1, self.frames + steps

    def _texts(self, episode: EpisodeData, steps: int) -> list[str]:
        """Return the text of the task of each step."""
        told = episode.infos.get("task")
        if isinstance(told, (list, np.ndarray)) and all(isinstance(text, str) for text in told):
            return list(told[:steps])
        text = episode.metadata.get("task", self.task)
        if not isinstance(text, str):
            text = ""
            self.report.note("assumed", "the text of the task is empty for episodes without the metadata 'task' (task)")
        return [text] * steps

    def _index(self, texts: list[str]) -> dict[str, npt.NDArray[Any]]:
        steps = len(texts)
        frame = np.arange(steps)
        return {
            "timestamp": (frame / self.fps).astype(np.float32),
            "frame_index": frame,
            "episode_index": np.full(steps, self.total),
            "index": self.frames + frame,
            "task_index": np.array([self.tasks.setdefault(text, len(self.tasks)) for text in texts]),
        }

    def _data_path(self) -> Path:
        return (
            self.path / f"data/chunk-{self.file // _FILES_OF_CHUNK:03d}/file-{self.file % _FILES_OF_CHUNK:03d}.parquet"
        )

    def _write_rows(self, values: Mapping[str, Any], index: Mapping[str, npt.NDArray[Any]]) -> None:
        arrays = {one.name: one.arrow(values[one.name]) for one in self.columns if one.kind != "video"}
        ended = np.asarray(values["next.terminated"]) | np.asarray(values["next.truncated"])
        arrays["next.done"] = pa.array(ended)
        arrays |= {name: pa.array(array) for name, array in index.items()}
        table = pa.table(arrays)
        if self._data is None:
            self._data_path().parent.mkdir(parents=True, exist_ok=True)
            schema = table.schema.with_metadata(
                {"huggingface": json.dumps({"info": {"features": self._hf_features()}})}
            )
            self._data = pq.ParquetWriter(self._data_path(), schema, compression="snappy")
        self._data.write_table(table.cast(self._data.schema), row_group_size=max(1, len(ended)))

    def _hf_features(self) -> dict[str, Any]:
        """Return the features as the library ``datasets`` describes them."""
        features: dict[str, Any] = {}
        for one in self.columns:
            if one.kind == "image":
                features[one.name] = {"_type": "Image"}
            elif one.kind != "video":
                value = {"dtype": "string" if one.kind == "text" else one.dtype.name, "_type": "Value"}
                size = one.row_shape
                if size == (1,):
                    features[one.name] = value
                elif len(size) == 1:
                    features[one.name] = {"feature": value, "length": size[0], "_type": "List"}
                else:
                    features[one.name] = {"shape": list(size), "dtype": one.dtype.name, "_type": f"Array{len(size)}D"}
        features["next.done"] = {"dtype": "bool", "_type": "Value"}
        return features | {name: {"dtype": dtype, "_type": "Value"} for name, dtype in _INDEX_TYPES.items()}

    def _write_videos(self, values: Mapping[str, Any], steps: int) -> dict[str, Any]:
        places: dict[str, Any] = {}
        chunk, file = self.total // _FILES_OF_CHUNK, self.total % _FILES_OF_CHUNK
        for one in self.columns:
            if one.kind == "video":
                path = self.path / f"videos/{one.name}/chunk-{chunk:03d}/file-{file:03d}.mp4"
                path.parent.mkdir(parents=True, exist_ok=True)
                write_video(path, values[one.name], self.fps)
                numbers = {
                    "chunk_index": chunk,
                    "file_index": file,
                    "from_timestamp": 0.0,
                    "to_timestamp": steps / self.fps,
                }
                places |= {f"videos/{one.name}/{name}": number for name, number in numbers.items()}
        return places

    def _add_statistics(self, values: Mapping[str, Any], index: Mapping[str, Any]) -> dict[str, Any]:
        row: dict[str, Any] = {}
        numbers = {one.name: (values[one.name], one.kind != "number") for one in self.columns if one.kind != "text"}
        for name, (array, is_image) in {**numbers, **{name: (array, False) for name, array in index.items()}}.items():
            found = statistics_of(np.asarray(array), is_image=is_image)
            row |= {f"stats/{name}/{key}": value for key, value in found.as_lists().items()}
            if name in self._statistics:
                self._statistics[name].add(found)
            else:
                self._statistics[name] = found
        return row

    def _write_episodes(self) -> None:
        names = list(self._rows[0])
        arrays = {}
        for name in names:
            values = [row[name] for row in self._rows]
            arrays[name] = pa.concat_arrays(values) if isinstance(values[0], pa.Array) else pa.array(values)
        table = pa.table(arrays)
        if self._table is None:
            place = self.path / "meta/episodes/chunk-000/file-000.parquet"
            self._table = pq.ParquetWriter(place, table.schema, compression="snappy")
        self._table.write_table(table.cast(self._table.schema))
        self._rows.clear()

    def _close_data(self) -> None:
        if self._data is not None:
            self._data.close()
            self._data = None

    def finish(self, dataset: MinariDataset, robot_type: Any) -> None:
        """Write the files about the whole dataset."""
        if not self.total:
            raise InterchangeError(f"{dataset.id} has no episode with steps, expected at least one.")
        self._close_data()
        if self._rows:
            self._write_episodes()
        self._table.close()
        self._write_tasks()
        statistics = {name: one.as_lists() for name, one in self._statistics.items()}
        self._write_json("meta/stats.json", statistics)
        self._write_json("meta/info.json", self._info(robot_type if isinstance(robot_type, str) else None))
        columns = {one.name: (one.place, one.shape) for one in self.columns}
        own = OwnColumns(dataset.observation_space, dataset.action_space, columns)
        self._write_json(OWN, own.as_json())
        self.report.note(
            "taken", "final observations in columns minari/final/* of the table of episodes, spaces in meta/minari.json"
        )
        self.report.note("missing", "metadata of the dataset, such as its author, and quantiles among the statistics")

    def _info(self, robot_type: str | None) -> dict[str, Any]:
        has_video = any(one.kind == "video" for one in self.columns)
        index = {name: {"dtype": dtype, "shape": [1], "names": None} for name, dtype in _INDEX_TYPES.items()}
        done = {"next.done": {"dtype": "bool", "shape": [1], "names": None}}
        return {
            "codebase_version": "v3.0",
            "robot_type": robot_type,
            "total_episodes": self.total,
            "total_frames": self.frames,
            "total_tasks": len(self.tasks),
            "chunks_size": _FILES_OF_CHUNK,
            "data_files_size_in_mb": _FILE_SIZE,
            "video_files_size_in_mb": 200,
            "fps": self.fps,
            "splits": {"train": f"0:{self.total}"},
            "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
            "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4" if has_video else None,
            "features": {**{one.name: one.described(self.fps) for one in self.columns}, **done, **index},
        }

    def _write_tasks(self) -> None:
        """Write the texts as the index of a table of pandas."""
        column = {"name": "task_index", "field_name": "task_index", "pandas_type": "int64", "numpy_type": "int64"}
        text = {"name": None, "field_name": "__index_level_0__", "pandas_type": "unicode", "numpy_type": "object"}
        described = {
            "index_columns": ["__index_level_0__"],
            "column_indexes": [],
            "columns": [{**column, "metadata": None}, {**text, "metadata": None}],
            "creator": {"library": "pyarrow", "version": pa.__version__},
            "pandas_version": "2.0.0",
        }
        numbers, texts = pa.array(list(self.tasks.values()), pa.int64()), pa.array(list(self.tasks), pa.string())
        table = pa.table({"task_index": numbers, "__index_level_0__": texts})
        pq.write_table(
            table.replace_schema_metadata({"pandas": json.dumps(described)}), self.path / "meta/tasks.parquet"
        )

    def _write_json(self, name: str, content: Any) -> None:
        (self.path / name).write_text(json.dumps(content, indent=4, ensure_ascii=False), encoding="utf-8")


def _rows(values: Any, start: int, stop: int) -> Any:
    rows = values[start:stop]
    if len(rows) != stop - start:
        raise InterchangeError(f"A column has {len(values)} rows, expected at least {stop}: {shortened(values)}.")
    return rows
