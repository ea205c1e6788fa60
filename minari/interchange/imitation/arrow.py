"""Directories of Arrow files with trajectories of imitation, in the layout of Hugging Face's ``save_to_disk``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from minari._base.data_file import DataFile
from minari._base.json_text import parse_json, shortened
from minari._model.episode import EpisodeData
from minari._storages.arrow.conversions import pa
from minari._storages.arrow.messages import stream_messages
from minari.dataset.minari_dataset import MinariDataset
from minari.errors import InterchangeError, UnsafePathError
from minari.interchange.format import Report
from minari.interchange.trajectories import is_plain_name
from minari.progress import track


__all__ = ["ArrowTrajectories", "write"]

_DAMAGE: Final = (
    pa.ArrowException,
    OSError,
    UnsafePathError,
    ValueError,
    TypeError,
    KeyError,
    ArithmeticError,
    MemoryError,
    RecursionError,
)
_MOST_JSON: Final = 2**24  # bytes
_DATA: Final = "data-00000-of-00001.arrow"
_MOST_LEVELS: Final = 32  # of nested lists


class _Part:
    """A trajectory in a record batch."""

    def __init__(self, values: dict[str, npt.NDArray[Any]], terminal: bool, infos: dict[str, Any]) -> None:
        self.obs, self.acts, self.rews = values["obs"], values["acts"], values.get("rews")
        self.terminal, self.infos = terminal, infos


class ArrowTrajectories:
    """The trajectories of a directory, read record batch by record batch.

    Args:
        path: the directory.
        report: the report of the conversion.

    Raises:
        InterchangeError: the directory is damaged.
    """

    def __init__(self, path: Path, report: Report) -> None:
        self._path, self._report = path, report
        self._files = self._names()
        self.count: int | None = None

    def _names(self) -> list[Path]:
        state = self._json("state.json")
        entries = state.get("_data_files")
        names = [one.get("filename") for one in entries if isinstance(one, dict)] if isinstance(entries, list) else []
        if not names or not all(map(is_plain_name, names)):
            raise InterchangeError(
                f"state.json in {self._path} has the files {shortened(names)}, expected names of Arrow files there."
            )
        return [self._path / str(name) for name in names]

    def _json(self, name: str) -> dict[str, Any]:
        try:
            with DataFile(self._path / name) as file:
                found = parse_json(file.read_at(0, min(file.size, _MOST_JSON)))
        except (OSError, ValueError) as error:
            raise self._damaged(name, error) from error
        if not isinstance(found, dict):
            raise self._damaged(name, ValueError("it is no JSON object"))
        return found

    def _damaged(self, name: str, error: Exception) -> InterchangeError:
        why = " ".join(str(error).split())[:200] or type(error).__name__
        return InterchangeError(
            f"{name} in {self._path} cannot be read ({why}); it is damaged or incomplete, so copy or download it again."
        )

    def _rows(self) -> Iterator[Any]:
        """Yield each row as a record batch."""
        for file in self._files:
            try:
                with DataFile(file) as opened:
                    for batch in _batches(opened):
                        batch.validate(full=True)
                        for number in range(batch.num_rows):
                            yield batch.slice(number, 1)
            except InterchangeError:
                raise
            except _DAMAGE as error:
                raise self._damaged(file.name, error) from error

    def trajectories(self) -> Iterator[_Part]:
        """Yield the trajectories, with their arrays."""
        for number, row in enumerate(self._rows()):
            try:
                names = set(row.schema.names)
                if missing := sorted({"obs", "acts", "terminal"} - names):
                    raise InterchangeError(f"{self._path} has no column {' and no '.join(missing)}, expected one.")
                values = {name: _dense(row.column(name)) for name in ("obs", "acts", "rews") if name in names}
                terminal = row.column("terminal")[0].as_py()
                infos = self._infos(row.column("infos")[0].as_py()) if "infos" in names else {}
            except InterchangeError:
                raise
            except _DAMAGE as error:
                raise self._damaged(f"Trajectory {number}", error) from error
            if not isinstance(terminal, bool):
                raise InterchangeError(
                    f"terminal of trajectory {number} in {self._path} is not a flag, expected true or false."
                )
            yield _Part(values, terminal, infos)

    def _infos(self, texts: Any) -> dict[str, npt.NDArray[Any]]:
        """Return the infos that have a number in each step, as arrays of T rows; the texts are only parsed."""
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            return {}
        parsed = {text: parse_json(text) for text in set(texts)}  # often the same in all steps
        if parsed == {"{}": {}}:
            return {}
        steps = [parsed[text] for text in texts]
        if not all(isinstance(step, dict) for step in steps):
            self._report.note("missing", "infos that are not JSON objects")
            return {}
        found: dict[str, npt.NDArray[Any]] = {}
        for key in dict.fromkeys(key for step in steps for key in step):
            values = [step.get(key) for step in steps]
            if all(isinstance(value, (bool, int, float)) for value in values):
                column = np.array(values)
                if column.dtype.kind in "bif":
                    found[key] = column
                    continue
            self._report.note("missing", f"the info {shortened(key)}, which is not a number in each step")
        return found

    def action_values(self) -> npt.NDArray[Any]:
        """Return what the space of actions follows from: all of them if they are choices, or one row of others."""
        found = []
        for part in self.trajectories():
            if part.acts.ndim > 1 or part.acts.dtype.kind not in "iu":
                return part.acts[:1]
            found += [part.acts.min(), part.acts.max()] if len(part.acts) else []
        if not found:
            raise InterchangeError(f"{self._path} has no action, expected at least one.")
        return np.array([min(found), max(found)])


def _batches(file: DataFile) -> Iterator[Any]:
    """Yield the record batches of a stream, copied, as a map of a file that is cut cannot be read."""
    messages = stream_messages(file.read_at, file.size)
    schema = pa.ipc.read_schema(pa.py_buffer(next(messages)))
    for message in messages:
        yield pa.ipc.read_record_batch(pa.py_buffer(message), schema)


def _dense(column: Any) -> npt.NDArray[Any]:
    """Return the single row of a column of nested lists as an array.

    Raises:
        ValueError: the lists differ in length, or have other values than numbers.
    """
    values, shape = column, []
    for _ in range(_MOST_LEVELS):
        if values.null_count:
            raise ValueError("there are missing values")
        if not (pa.types.is_list(values.type) or pa.types.is_large_list(values.type)):
            break
        lengths = np.diff(values.offsets.to_numpy())
        if len(lengths) and (lengths != lengths[0]).any():
            raise ValueError("lists of different lengths")
        shape.append(int(lengths[0]) if len(lengths) else 0)
        values = values.flatten()
    flat = values.to_numpy(zero_copy_only=False)
    if flat.dtype.kind not in "biuf" or not shape:
        raise ValueError(f"values of the type {column.type}")
    dense: npt.NDArray[Any] = flat.reshape(shape).copy()
    return dense


def write(dataset: MinariDataset, path: Path, report: Report) -> None:
    """Write the directory.

    Args:
        dataset: its observations and actions are one array a step.
        path: the new directory.
        report: the report of the conversion.
    """
    path.mkdir()
    episodes = iter(track(dataset.iterate_episodes(copy=False), "exporting episodes", total=len(dataset)))
    first = _batch(next(episodes), report)
    features = {field.name: _feature(field.type) for field in first.schema}
    schema = first.schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    with pa.OSFile(str(path / _DATA), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(first.replace_schema_metadata(schema.metadata))
        for episode in episodes:
            batch = _batch(episode, report)
            if batch.schema != first.schema:
                raise InterchangeError(
                    f"The rewards or values of episode {episode.id} have another dtype than those of the first one, "
                    f"expected the same in all episodes."
                )
            writer.write_batch(batch.replace_schema_metadata(schema.metadata))
    info = {"citation": "", "description": "", "features": features, "homepage": "", "license": ""}
    state: dict[str, Any] = {
        "_data_files": [{"filename": _DATA}],
        "_fingerprint": hashlib.sha256(dataset.id.encode()).hexdigest()[:16],
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": None,
    }
    for name, value in (("dataset_info.json", info), ("state.json", state)):
        (path / name).write_text(json.dumps(value, indent=2), encoding="utf-8")


def _batch(episode: EpisodeData, report: Report) -> Any:
    if episode.rewards.ndim > 1:
        raise InterchangeError(f"Episode {episode.id} has {episode.rewards.shape[1]} rewards a step, expected one.")
    if episode.terminations[:-1].any() or episode.truncations[:-1].any():
        report.note("missing", "terminations and truncations before the last step of an episode")
    if episode.terminations[-1] == episode.truncations[-1]:
        report.note("missing", "truncations of steps that are terminations too, and the lack of any at the last step")
    columns = {
        "obs": _nested(np.asarray(episode.observations)),
        "acts": _nested(np.asarray(episode.actions)),
        "infos": pa.ListArray.from_arrays(pa.array([0, len(episode)], pa.int32()), pa.array(["{}"] * len(episode))),
        "terminal": pa.array([bool(episode.terminations[-1])]),
        "rews": _nested(episode.rewards),
    }
    return pa.RecordBatch.from_arrays(list(columns.values()), list(columns))


def _nested(values: npt.NDArray[Any]) -> Any:
    """Return an array as the only row of a column of nested lists."""
    column = pa.array(np.ascontiguousarray(values).reshape(-1))
    for axis in range(values.ndim - 1, -1, -1):
        count = int(np.prod(values.shape[:axis], dtype=np.int64))
        offsets = np.arange(count + 1, dtype=np.int64) * values.shape[axis]
        if offsets[-1] >= 2**31:
            raise InterchangeError("An episode has more than 2,147,483,647 values, which imitation cannot hold.")
        column = pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), column)
    return column


def _feature(kind: Any) -> dict[str, Any]:
    """Return the description of a column for Hugging Face's library."""
    if pa.types.is_list(kind):
        return {"feature": _feature(kind.value_type), "_type": "List"}
    names = {"float": "float32", "double": "float64", "halffloat": "float16"}
    return {"dtype": names.get(str(kind), str(kind)), "_type": "Value"}
