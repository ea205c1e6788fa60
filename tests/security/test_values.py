"""Columns that do not fit the spaces, in every format: an error of ours, and no wrong value, wherever they are read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from minari.dataset.encoding import EpisodeCodec
from minari.dataset.episode_buffer import EpisodeBuffer
from minari.dataset.minari_storage import MinariStorage
from minari.errors import DatasetCorruptError
from minari.spaces import Columns, object_column


STEPS = 6
SPACE = spaces.Dict(
    {
        "box": spaces.Box(-1, 1, (2, 3), np.float32),
        "text": spaces.Text(5),
        "sequence": spaces.Sequence(spaces.Discrete(9)),
        "empty": spaces.Sequence(spaces.Box(0, 1, (0,))),
        "graph": spaces.Graph(spaces.Box(0, 1, (2,)), spaces.Discrete(3)),
        "one": spaces.OneOf((spaces.Discrete(2), spaces.Box(0, 1, (1,)))),
    }
)
CODEC = EpisodeCodec(SPACE, spaces.Discrete(4))
BOX = ("observations", "box")
SHAPES = ("infos", "ragged", "_ragged_shapes")


def columns_of() -> dict[Any, Any]:
    SPACE.seed(5)
    buffer = EpisodeBuffer(
        observations=[SPACE.sample() for _ in range(STEPS + 1)],
        actions=np.arange(STEPS) % 4,
        rewards=np.arange(float(STEPS)),
        terminations=np.zeros(STEPS, np.bool_),
        truncations=np.zeros(STEPS, np.bool_),
        infos={"ragged": [np.arange(step) for step in range(STEPS + 1)], "json": [None, *[{"a": 1}] * STEPS]},
    )
    return dict(CODEC.encode(buffer).columns)


COLUMNS = columns_of()
LENGTHS_PATH, VALUES = (("observations", "sequence", name) for name in ("_lengths", "_values"))
COUNTS_PATH, CHOICE = ("observations", "graph", "_node_counts"), ("observations", "one", "_choice")
LENGTHS, COUNTS, CHOICES = COLUMNS[LENGTHS_PATH], COLUMNS[COUNTS_PATH], COLUMNS[CHOICE]


def changed(column: Any, row: int, value: Any) -> Any:
    column = column.copy()
    column[row] = value
    return column


ODD: dict[str, tuple[Any, Any]] = {
    "a column is missing": (BOX, None),
    "rewards are missing": (("rewards",), None),
    "one row too few": (BOX, COLUMNS[BOX][:-1]),
    "one row too many": (BOX, np.zeros((STEPS + 2, 2, 3), np.float32)),
    "no rows": (BOX, np.float32(3).reshape(())),
    "turned round": (BOX, np.zeros((STEPS + 1, 3, 2), np.float32)),
    "flattened": (BOX, np.zeros((STEPS + 1, 6), np.float32)),
    "objects": (BOX, np.full((STEPS + 1, 2, 3), "x", object)),
    "text for numbers": (("actions",), np.full(STEPS, "1")),
    "dates for numbers": (("actions",), np.zeros(STEPS, "M8[ns]")),
    "actions of one more step": (("actions",), np.arange(STEPS + 1) % 4),
    "rewards of one more step": (("rewards",), np.arange(STEPS + 1.0)),
    "rewards without rows": (("rewards",), np.array(3.0)),
    "rewards that are text": (("rewards",), object_column(["1"] * STEPS)),
    "flags of another length": (("terminations",), np.zeros(STEPS - 1, np.bool_)),
    "flags of two dimensions": (("truncations",), np.zeros((STEPS, 2), np.bool_)),
    "text that is bytes": (("observations", "text"), object_column([b"a"] * (STEPS + 1))),
    "text that is numbers": (("observations", "text"), np.arange(STEPS + 1)),
    "text of another length": (("observations", "text"), object_column(["a"] * STEPS)),
    "a negative length": (LENGTHS_PATH, changed(LENGTHS, 1, -1)),
    "a huge length": (LENGTHS_PATH, changed(LENGTHS, 1, 2**62)),
    "lengths that wrap round": (LENGTHS_PATH, np.full(STEPS + 1, 2**62)),
    "lengths of floats": (LENGTHS_PATH, LENGTHS.astype(float)),
    "one element too few": (VALUES, COLUMNS[VALUES][:-1]),
    "a count below -1": (COUNTS_PATH, changed(COUNTS, 0, -2)),
    "a huge count": (COUNTS_PATH, changed(COUNTS, 0, 2**60)),
    "a choice too many": (CHOICE, changed(CHOICES, 0, 2)),
    "a huge choice": (CHOICE, changed(CHOICES, 0, 2**40)),
    "a negative choice": (CHOICE, changed(CHOICES, 0, -1)),
    "shapes that wrap round": (SHAPES, np.full((STEPS + 1, 4), 2**32)),
    "shapes that are too large": (SHAPES, np.full((STEPS + 1, 1), 2**60)),
    "shapes of floats": (SHAPES, np.full((STEPS + 1, 1), 0.5)),
    "shapes that leave something": (SHAPES, np.zeros((STEPS + 1, 1), np.int64)),
    "JSON that is none": (("infos", "json", "_json"), object_column(["{"] * (STEPS + 1))),
    "JSON that is nested deeply": (("infos", "json", "_json"), object_column(["[" * 100_000] * (STEPS + 1))),
    "JSON that is no text": (("infos", "json", "_json"), np.arange(STEPS + 1)),
}


@pytest.mark.parametrize("name", ODD)
def test_columns_that_do_not_fit(name: str) -> None:
    path, column = ODD[name]
    columns = {**COLUMNS, path: column} if column is not None else {k: v for k, v in COLUMNS.items() if k != path}
    with pytest.raises(DatasetCorruptError, match=r"(E|e)pisode 3 ") as caught:
        CODEC.decode(3, columns)
    assert len(str(caught.value)) < 700


def test_elements_without_bytes_are_limited() -> None:
    """They take no room in a file, so a number is all it takes to claim any number of them."""
    lengths = np.full(STEPS + 1, 2**40)
    values = np.empty((int(lengths.sum()), 0), np.float32)
    parts = {("observations", "empty", "_lengths"): lengths, ("observations", "empty", "_values"): values}
    with pytest.raises(DatasetCorruptError, match="Episode 3 "):
        CODEC.decode(3, {**COLUMNS, **parts})
    nothing = EpisodeCodec(spaces.Sequence(spaces.Dict({})), spaces.Discrete(4))
    columns = {path: column for path, column in COLUMNS.items() if path[0] not in ("observations", "infos")}
    with pytest.raises(DatasetCorruptError, match="Episode 3 "):
        nothing.decode(3, {**columns, ("observations", "_lengths"): lengths})


@pytest.mark.parametrize(
    ("path", "column"),
    [
        (BOX, COLUMNS[BOX].astype(np.float64)),
        (BOX, COLUMNS[BOX].astype(">f2")),
        (BOX, np.zeros((STEPS + 1, 1, 2, 3), np.int8)),
        (("actions",), np.zeros((STEPS, 1), np.int32)),
        (("actions",), np.zeros(STEPS, np.float64)),
        (("rewards",), np.zeros((STEPS, 2), np.float32)),
        (("terminations",), np.zeros((STEPS, 1), np.int8)),
    ],
)
def test_what_other_releases_store(path: Any, column: Any) -> None:
    """Values of an environment may deviate from its space, and are read as they were stored."""
    CODEC.decode(3, {**COLUMNS, path: column})


def make_odd(storage: MinariStorage, change: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a storage read other columns of episode 1 than are stored."""
    original = type(storage)._read_columns

    def read(self: MinariStorage, indices: Iterable[int]) -> Iterator[tuple[int, Columns]]:
        for index, columns in original(self, indices):
            yield index, change(dict(columns)) if index == 1 else columns

    monkeypatch.setattr(type(storage), "_read_columns", read)
    monkeypatch.setattr(type(storage), "_read_episode", MinariStorage._read_episode)  # which calls it


@contextmanager
def corrupt() -> Iterator[None]:
    with pytest.raises(DatasetCorruptError, match=r"(E|e)pisode 1 "):
        yield


def one_less(columns: dict[Any, Any]) -> dict[Any, Any]:
    """A step less of everything, so that only the number of steps tells."""
    return {path: column[:-1] for path, column in columns.items()}


def without(columns: dict[Any, Any]) -> dict[Any, Any]:
    return {path: column for path, column in columns.items() if path != ("observations",)}


def doubled(columns: dict[Any, Any]) -> dict[Any, Any]:
    return {**columns, ("actions",): np.zeros((STEPS, 2))}


@pytest.mark.parametrize("data_format", ["hdf5", "arrow", "parquet", "zarr"])
@pytest.mark.parametrize("change", [one_less, without, doubled])
def test_episodes_are_not_copied_either(
    tmp_path: Path, data_format: str, change: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Converting, combining and rewriting read columns without decoding them."""
    if data_format != "hdf5":
        pytest.importorskip({"zarr": "zarr"}.get(data_format, "pyarrow"))
    storage = MinariStorage.new(tmp_path / "data", spaces.Discrete(3), spaces.Discrete(4), data_format=data_format)
    numbers, flags = np.zeros(STEPS + 1, np.int64), np.zeros(STEPS, np.bool_)
    storage.update_episodes([EpisodeBuffer(None, None, None, numbers, numbers[1:], np.zeros(STEPS), flags, flags)] * 3)
    other = "hdf5" if data_format == "arrow" else "arrow"
    copy = MinariStorage.new(tmp_path / "copy", spaces.Discrete(3), spaces.Discrete(4), data_format=other)
    make_odd(storage, change, monkeypatch)
    with corrupt():
        copy.update_from_storage(storage)
    assert copy.total_episodes == 0
    with corrupt():
        storage.repack()
    if change is not one_less:  # the number of steps is the format's affair there
        with corrupt():
            list(storage.get_episodes([1]))
    list(storage.get_episodes([0, 2]))
