"""HDF5 files made of bytes, episodes to put into them, and the tools of HDF5 to look at them."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Iterable, Mapping
from typing import Any

import h5py
import hypothesis.strategies as st
import numpy as np
import pytest

from minari._model.episode_metadata import OWN_KEYS, checked_metadata
from minari._storages.hdf5.appender import EpisodeAppender
from minari._storages.hdf5.attributes import flatten_metadata
from minari._storages.hdf5.format.btree import MemberTable, empty_group, find_table
from minari._storages.hdf5.format.headers import read_attributes, read_messages
from minari._storages.hdf5.format.source import ReadAt, Source
from minari._storages.hdf5.format.superblock import (
    NEW_SUPERBLOCK_SIZE,
    SUPERBLOCK_SIZE,
    new_superblock,
    read_superblock,
)
from minari._storages.hdf5.index import PlacedEpisodes
from minari._storages.hdf5.names import group_name, to_hdf5_name
from minari.spaces import EpisodeColumns, object_column
from minari.spaces.columns import ColumnPath
from minari.testing.comparison import assert_metadata


#: Every dtype of numbers that episodes may have, in both orders of the bytes.
NUMBERS = [np.dtype(code).newbyteorder(order) for code in "?bhilqBHILQefdFD" for order in "<>"]


class BytesFile:
    """A file on disk, read and written at any place."""

    def __init__(self, path: ColumnPath) -> None:
        self.path = path

    def read_at(self, offset: int, size: int) -> bytes:
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.read(size)

    def write_at(self, offset: int, view: memoryview) -> None:
        with self.path.open("r+b") as file:
            file.seek(offset)
            file.write(view)


def attributes_at(read_at: ReadAt, size: int, address: int) -> list[tuple[str, Any]] | None:
    """The attributes of an object of a file; None where they are damaged or not understood."""
    source = Source(read_at, size)
    try:
        return read_attributes(source, read_messages(source, address))
    except (ValueError, IndexError, OverflowError, struct.error):
        return None


def new_file(path: ColumnPath) -> ColumnPath:
    """A file without members, by ourselves."""
    root = empty_group(NEW_SUPERBLOCK_SIZE)
    path.write_bytes(new_superblock(NEW_SUPERBLOCK_SIZE, NEW_SUPERBLOCK_SIZE + len(root)) + root)
    return path


def write_episodes(path: ColumnPath, episodes: Mapping[int, EpisodeColumns]) -> list[PlacedEpisodes]:
    """Add episodes to a file, which is made where there is none; where they lie."""
    if not path.exists():
        new_file(path)
    appender = appender_of(path)
    for index, episode in episodes.items():
        appender.add(index, episode)
    return finish(path, appender)


def appender_of(path: ColumnPath) -> EpisodeAppender:
    """Return an appender of episodes to a file, which has to be finished."""
    return EpisodeAppender(BytesFile(path).write_at, path.stat().st_size)


def finish(path: ColumnPath, appender: EpisodeAppender) -> list[PlacedEpisodes]:
    """Make the episodes that an appender has written members of the file; where they lie."""
    placed, end = appender.finish()
    numbers = [index for part in placed for index in part.indices.tolist()]
    add_members(path, map(group_name, numbers), [address for part in placed for address in part.headers.tolist()], end)
    return placed


def add_members(path: ColumnPath, names: Iterable[str], addresses: list[int], end: int) -> None:
    """Make objects in a file, which ends there, members of its root group."""
    file = BytesFile(path)
    superblock = superblock_of(path)
    table = find_table(file, superblock.root)
    assert table is not None
    members = MemberTable(file, table, end, superblock.leaf_k, superblock.node_k)
    file.write_at(0, memoryview(superblock.with_end(members.add(list(names), addresses))))


def superblock_of(path: ColumnPath) -> Any:
    """Return the superblock of a file."""
    return read_superblock(BytesFile(path).read_at(0, SUPERBLOCK_SIZE))


def run_tool(name: str, *arguments: str | ColumnPath) -> str:
    """The output of a tool of HDF5, which must not complain."""
    tool = shutil.which(name)
    if tool is None:
        pytest.skip(f"{name} of HDF5 is not installed")
    done = subprocess.run([tool, *map(str, arguments)], capture_output=True, text=True, errors="replace", check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout[-1000:]
    return done.stdout


# Episodes


def numbers_of(dtype: np.dtype[Any], shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Numbers of any bits, also those that are none."""
    count = int(np.prod(shape))
    rng = np.random.default_rng(seed)
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(dtype)
    return np.frombuffer(rng.bytes(count * dtype.itemsize), dtype).reshape(shape)


def steps_of(count: int) -> dict[ColumnPath, np.ndarray]:
    """The columns that every episode has."""
    rng = np.random.default_rng(count)
    return {
        ("rewards",): rng.standard_normal(count),
        ("terminations",): rng.integers(0, 2, count).astype(bool),
        ("truncations",): np.arange(count) == count - 1,
    }


def is_part(name: str) -> bool:
    return "/" not in name and "\0" not in name and name != "."


PARTS = st.one_of(
    st.sampled_from(["x", "y", "a b", "größe", "漢🎉", "_index_x", ".."]),
    st.sampled_from([255, 256, 3000]).map(lambda length: "n" * length),
    st.sampled_from([127, 128]).map(lambda length: "é" * length),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6).filter(is_part),
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


@st.composite
def columns_of(draw: st.DrawFn, rows: int) -> np.ndarray:
    """A column with this many rows."""
    kind = draw(st.sampled_from(["numbers"] * 5 + ["texts", "bytes", "bytes of one length"]))
    if kind == "numbers":
        row_shape = draw(st.lists(st.integers(0, 3), max_size=3))
        return numbers_of(draw(st.sampled_from(NUMBERS)), (rows, *row_shape), draw(st.integers(0, 2**32)))
    length = draw(st.integers(0, 9))
    elements = {"texts": TEXTS, "bytes": st.binary(max_size=20)}.get(kind, st.binary(min_size=length, max_size=length))
    return object_column(draw(st.lists(elements, min_size=rows, max_size=rows)))


def trees(rows: int) -> st.SearchStrategy[Any]:
    """Columns, in dicts and tuples of any depth."""
    return st.recursive(
        columns_of(rows),
        lambda part: st.one_of(st.dictionaries(PARTS, part, max_size=4), st.lists(part, max_size=3).map(tuple)),
        max_leaves=6,
    )


def flat(tree: Any, path: ColumnPath) -> dict[ColumnPath, np.ndarray]:
    """The columns of a tree by their paths."""
    if isinstance(tree, np.ndarray):
        return {path: tree}
    items: Iterable[tuple[Any, Any]] = tree.items() if isinstance(tree, dict) else enumerate(tree)
    return {at: column for key, part in items for at, column in flat(part, (*path, key)).items()}


KEYS = st.one_of(PARTS, st.sampled_from(["a:json", "b:npy"]), st.just(6000).map(lambda length: "n" * length))
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from([[], {}, [1, 2.5], [[1], [2, 3]], ["a"], {"deep": {"er": [True, None]}}]),
    # Text beyond a collection of the heap; arrays too large for an attribute, nearly so, and with all dimensions.
    st.just(30_000).map(lambda length: "漢" * length),
    st.sampled_from([(8000,), (7499,), (1,) * 32]).map(np.zeros),
    st.builds(numbers_of, st.sampled_from(NUMBERS), st.lists(st.integers(0, 3), max_size=3).map(tuple), st.just(7)),
    st.sampled_from([np.float32(0.5), np.int8(-3), np.uint64(2**64 - 1), np.bool_(True), np.complex64(1 + 2j)]),
)
OUTER_KEYS = KEYS.filter(lambda key: key not in OWN_KEYS)
METADATA = st.dictionaries(OUTER_KEYS, VALUES | st.dictionaries(KEYS, VALUES, max_size=2), max_size=5).map(
    checked_metadata
)


@st.composite
def episodes(draw: st.DrawFn) -> EpisodeColumns:
    """An episode as formats take it."""
    steps = draw(st.integers(0, 3))
    columns = {
        **flat(draw(trees(steps + 1)), ("observations",)),
        **flat(draw(trees(steps)), ("actions",)),
        **steps_of(steps),
        **flat(draw(st.dictionaries(PARTS, trees(steps + 1), max_size=2)), ("infos",)),
    }
    return EpisodeColumns(steps, columns, draw(METADATA))


# What plain h5py finds


def assert_episode_in(file: h5py.File, index: int, episode: EpisodeColumns) -> None:
    """Require that the group of an episode has these leaves and attributes, and nothing else."""
    group = file[group_name(index)]
    found: dict[str, Any] = {}
    group.visititems(lambda name, item: found.update({name: item}))
    wanted = {to_hdf5_name(path): column for path, column in episode.columns.items()}
    groups = {"observations", "actions", "infos"} | {
        name[:end] for name in wanted for end, letter in enumerate(name) if letter == "/"
    }
    assert found.keys() == wanted.keys() | groups
    for item in (group, *found.values()):
        assert h5py.h5o.get_info(item.id).rc == 1, item.name
    for item in (group, *(item for item in found.values() if isinstance(item, h5py.Group))):
        assert list(item) == sorted(item, key=str.encode)
    for name, column in wanted.items():
        assert_column(found[name], column)
    attributes = dict(flatten_metadata({"id": index, "total_steps": episode.total_steps, **episode.metadata}))
    assert set(group.attrs) == attributes.keys()
    for name, value in attributes.items():
        assert_value(group.attrs[name], value, name)


def assert_column(dataset: h5py.Dataset, column: np.ndarray) -> None:
    """Require that a dataset holds a column bit for bit."""
    assert dataset.id.get_create_plist().get_layout() == h5py.h5d.CONTIGUOUS
    if column.dtype != object:
        assert (dataset.dtype, dataset.shape) == (column.dtype, column.shape)
        assert dataset[()].tobytes() == column.tobytes()
        return
    assert len(dataset) == len(column)
    if len(column) == 0 or isinstance(column[0], str):
        kind = h5py.check_string_dtype(dataset.dtype)
        assert kind == ("utf-8", None)
        assert dataset.asstr()[:].tolist() == column.tolist()
        return
    if dataset.name.split("/")[2] == "infos" and not any(b"\0" in value for value in column):
        assert h5py.check_string_dtype(dataset.dtype) == ("ascii", None)
        assert dataset[:].tolist() == column.tolist()
        return
    is_matrix = dataset.name.split("/")[2] != "infos" and len(set(map(len, column))) == 1
    assert dataset.dtype == np.uint8 if is_matrix else h5py.check_vlen_dtype(dataset.dtype) == np.uint8
    assert [row.tobytes() for row in dataset[:]] == column.tolist()


def assert_value(found: Any, value: Any, name: str) -> None:
    """Require that two values of attributes are the same, bit for bit."""
    assert isinstance(found, str) == isinstance(value, str), name
    if isinstance(value, str):
        assert found == value, name
    else:
        found, value = np.asarray(found), np.asarray(value)
        assert (found.dtype, found.shape, found.tobytes()) == (value.dtype, value.shape, value.tobytes()), name


def assert_same_metadata(found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Require the same keys; what is NumPy's bit for bit, the rest as all formats promise it."""
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        if isinstance(value, dict) and value:
            assert_same_metadata(found[key], value)
        elif isinstance(value, (np.ndarray, np.generic)):
            assert_value(found[key], value[()], key)  # scalars have no order of bytes of their own
        else:
            assert_metadata({key: found[key]}, {key: value})
