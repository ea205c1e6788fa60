"""Attributes read from the bytes of headers, against what h5py reads, whoever wrote or damaged them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from minari._base.data_file import DataFile
from minari._storages.hdf5.format.btree import find_table
from minari._storages.hdf5.format.datatypes import TEXT, encode_datatype
from minari._storages.hdf5.format.objects import (
    ATTRIBUTE,
    CONTINUATION,
    HEADER,
    MESSAGE,
    SYMBOL_TABLE,
    Field,
    Message,
    attribute,
    group_messages,
    object_header,
)
from minari._storages.hdf5.names import group_name
from minari.spaces import EpisodeColumns
from support.hdf5_files import (
    METADATA,
    NUMBERS,
    PARTS,
    BytesFile,
    assert_value,
    attributes_at,
    numbers_of,
    steps_of,
    write_episodes,
)


#: Texts that fill a collection of the heap, and those that need none.
TEXTS = ["", "x", "größe 漢🎉", "x" * 5000, "é" * 100_000]


def in_memory(content: bytes) -> Callable[[int, int], bytes]:
    """As a map of a file with this content reads."""

    def read_at(offset: int, size: int) -> bytes:
        if offset + max(0, min(size, len(content) - offset)) > len(content):
            raise ValueError
        return content[offset : offset + size]

    return read_at


def attributes_in(path: Path, address: int) -> Any:
    with DataFile(path) as file:
        return attributes_at(file.read_at, file.size, address)


def assert_agrees(path: Path, name: str, is_understood: bool | None = True) -> None:
    """Require what h5py reads; or None, if it may be or has to be."""
    with h5py.File(path) as file:
        expected, address = dict(file[name].attrs), h5py.h5o.get_info(file[name].id).addr
    found = attributes_in(path, address)
    if is_understood is not None:
        assert (found is not None) == is_understood
    if found is not None:
        assert len(found) == len(dict(found)) == len(expected)
        for key, value in found:
            assert type(value) is type(expected[key])
            assert_value(value, expected[key], key)


# Written by h5py

VALUES = st.one_of(
    st.sampled_from(TEXTS),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(),
    st.booleans(),
    st.builds(
        numbers_of,
        st.sampled_from([dtype for dtype in NUMBERS if dtype.kind in "biuf"]),
        st.lists(st.integers(0, 3), max_size=3).map(tuple),
        st.integers(0, 99),
    ),
)
ATTRIBUTES = st.dictionaries(PARTS | st.sampled_from(["a/b", "a", ""]).filter(bool), VALUES, max_size=20)


@pytest.mark.parametrize("options", [{}, {"libver": "earliest"}], ids=["default", "earliest"])
@given(attributes=ATTRIBUTES, changes=ATTRIBUTES, gone=st.sets(st.integers(0, 19)))
def test_as_h5py_writes(tmp_path_factory: Any, options: Any, attributes: Any, changes: Any, gone: set[int]) -> None:
    """Added, changed, which moves them to continuations of the header, and deleted, which leaves holes."""
    path = tmp_path_factory.mktemp("headers") / "file.h5"
    with h5py.File(path, "w", **options) as file:
        group = file.create_group("group")
        for name, value in attributes.items():
            group.attrs[name] = value
    assert_agrees(path, "group")
    with h5py.File(path, "r+", **options) as file:
        group = file["group"]
        for number, name in enumerate(list(attributes)):
            if number in gone:
                del group.attrs[name]
        for name, value in changes.items():
            group.attrs[name] = value
        group["member"] = np.zeros(3)
    assert_agrees(path, "group")
    assert_agrees(path, "/")


@given(metadata=METADATA, changes=ATTRIBUTES)
def test_as_we_write(tmp_path_factory: Any, metadata: dict[str, Any], changes: Any) -> None:
    """And h5py changes, at last in new versions of what it writes."""
    path = tmp_path_factory.mktemp("headers") / "file.h5"
    write_episodes(path, {0: EpisodeColumns(2, steps_of(2), metadata)})
    with h5py.File(path) as file:
        kinds = {np.asarray(value).dtype for value in file["episode_0"].attrs.values()}
    assert_agrees(path, "episode_0", None if np.dtype("G") in kinds else True)
    for options in ({}, {"libver": "latest"}):
        with h5py.File(path, "r+", **options) as file:
            for name, value in changes.items():
                file["episode_0"].attrs[name] = value
        # New versions of HDF5 have complex numbers of their own, which need not be understood.
        assert_agrees(path, "episode_0", None if options or np.dtype("G") in kinds else True)


def address_of(item: Any) -> int:
    address: int = h5py.h5o.get_info(item.id).addr
    return address


def test_of_datasets(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "file.h5", "w") as file:
        file["x"] = np.zeros(3)
        file["x"].attrs["unit"], file["x"].attrs["range"] = "m", np.float32([0, 1])
    assert_agrees(tmp_path / "file.h5", "x")


# What is left to HDF5


def shared_type(group: h5py.Group) -> None:
    group.file["type"] = np.dtype("<f4")
    group.attrs.create("x", 0.5, dtype=group.file["type"])


def ragged() -> Any:
    lists = np.empty(2, object)
    lists[:] = [np.arange(3, dtype="i4"), np.arange(1, dtype="i4")]
    return lists


LEFT: dict[str, Callable[[h5py.Group], object]] = {
    "lists": lambda group: group.attrs.create("x", ragged(), dtype=h5py.vlen_dtype("i4")),
    "structure": lambda group: group.attrs.create("x", np.zeros(2, [("a", "i4"), ("b", "f8")])),
    "reference": lambda group: group.attrs.create("x", group.ref),
    "shared type": shared_type,
}


UNUSUAL: dict[str, Callable[[h5py.Group], object]] = {
    "complex": lambda group: group.attrs.create("x", 1j),
    "bytes": lambda group: group.attrs.create("x", np.bytes_(b"abc")),
    "ascii": lambda group: group.attrs.create("x", "abc", dtype=h5py.string_dtype("ascii")),
    "latin": lambda group: group.attrs.create("x", b"gr\xf6\xdfe", dtype=h5py.string_dtype("ascii")),
    "texts": lambda group: group.attrs.create("x", ["a", "b", ""], dtype=h5py.string_dtype()),
    "fixed": lambda group: group.attrs.create("x", "abc", dtype=h5py.string_dtype(length=9)),
    "enumeration": lambda group: group.attrs.create("x", 1, dtype=h5py.enum_dtype({"a": 1, "b": 2})),
    "wide": lambda group: group.attrs.create("x", np.longdouble(1) / 3),
}


@pytest.mark.parametrize("kind", LEFT)
def test_attributes_that_are_left_to_hdf5(tmp_path: Path, kind: str) -> None:
    """All of them, if there is one among them that is not understood."""
    with h5py.File(tmp_path / "file.h5", "w") as file:
        group = file.create_group("group")
        group.attrs["before"] = 1
        LEFT[kind](group)
        group.attrs["after"] = 2
        address = address_of(group)
    assert attributes_in(tmp_path / "file.h5", address) is None


def test_messages_that_lie_elsewhere() -> None:
    """Of a file whose objects share their attributes; the message is only where the attribute is."""
    whole = attribute("x", encode_datatype(np.dtype("<f8")), (), Field("value", 0, np.dtype("<f8")))
    for flags, is_shared in ((0, False), (1, False), (2, True), (3, True)):
        found = found_at(header_of(Message(whole.kind, whole.body, flags=flags)), 0)
        assert found == (None if is_shared else [("x", 0.0)])


@pytest.mark.parametrize("kind", UNUSUAL)
@pytest.mark.parametrize("library", ["earliest", "v108", "latest"])
def test_attributes_of_other_programs(tmp_path: Path, kind: str, library: str) -> None:
    """Of kinds that this library does not write."""
    with h5py.File(tmp_path / "file.h5", "w", libver=(library, "latest")) as file:
        group = file.create_group("group")
        group.attrs["before"] = 1
        UNUSUAL[kind](group)
    assert_agrees(
        tmp_path / "file.h5", "group", is_understood=None if (kind, library) == ("complex", "latest") else True
    )


@pytest.mark.parametrize("count", [3, 9, 200])
@pytest.mark.parametrize("library", ["v108", "latest"])
def test_headers_of_version_2(tmp_path: Path, library: str, count: int) -> None:
    """With attributes that are many, or too large for the header, and lie in a heap."""
    with h5py.File(tmp_path / "file.h5", "w", libver=(library, "latest")) as file:
        group = file.create_group("group", track_order=count == 9)
        for number in range(count):
            group.attrs[f"{number}"] = np.arange(number)
    assert_agrees(tmp_path / "file.h5", "group")


def test_texts_that_are_very_long(tmp_path: Path) -> None:
    write_episodes(tmp_path / "file.h5", {0: EpisodeColumns(2, steps_of(2), {"note": "x" * 2**24})})
    assert_agrees(tmp_path / "file.h5", "episode_0")


# Damage


def found_at(content: bytes, address: int) -> list[tuple[str, Any]] | None:
    """Count the bytes read, in as many steps as a header of any size needs."""
    reads, read_at = 0, in_memory(content)

    def counted(offset: int, size: int) -> bytes:
        nonlocal reads
        reads += 1
        assert reads < 200_000, "it goes round in circles"
        return read_at(offset, size)

    found = attributes_at(counted, len(content), address)
    assert found is None or all(isinstance(name, str) for name, _ in found)
    return found


@pytest.fixture(scope="module")
def episode(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, int]:
    """A file with an episode that has attributes of many kinds, in several blocks; the address of its header."""
    path = tmp_path_factory.mktemp("headers") / "file.h5"
    metadata = {"seed": 3, "note": "one note", "state": np.arange(6.0).reshape(2, 3), "flag": np.bool_(True)}
    write_episodes(path, {0: EpisodeColumns(2, steps_of(2), metadata)})
    with h5py.File(path, "r+") as file:
        group = file[group_name(0)]
        group.attrs["more"], group.attrs["texts"] = np.zeros(9, ">i2"), "漢" * 9
        address = address_of(group)
    return path.read_bytes(), address


def test_cut_off_anywhere(episode: tuple[bytes, int]) -> None:
    content, address = episode
    whole = found_at(content, address)
    assert whole is not None
    assert len(whole) == 8
    understood = 0
    for length in range(len(content)):
        found = found_at(content[:length], address)
        assert found is None or list(map(str, found)) == list(map(str, whole))
        understood += found is not None
    assert understood < len(content) / 2


def test_read_anywhere(episode: tuple[bytes, int]) -> None:
    """From addresses where there is no header."""
    content, address = episode
    for other in (*range(len(content) + 64), 2**40, 2**63, 2**64 - 1):
        if other != address:
            found_at(content, other)


@given(changes=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=9)), min_size=1, max_size=4))
def test_random_damage(episode: tuple[bytes, int], changes: list[tuple[float, bytes]]) -> None:
    content, address = bytearray(episode[0]), episode[1]
    for place, data in changes:
        position = int(place * len(content))
        content[position : position + len(data)] = data[: len(content) - position]
    found_at(bytes(content), address)


def test_every_byte_of_the_header(episode: tuple[bytes, int]) -> None:
    """Set to what is likely to be read as a size, a count or an address that leads astray."""
    content, address = episode
    for position in range(address, min(address + 1200, len(content))):
        for value in (0, 1, 0x7F, 0x80, 0xFF):
            changed = bytearray(content)
            changed[position] = value
            found_at(bytes(changed), address)
        for bits in (0, 2**64 - 1, 2**63, 2**32, address, len(content)):
            changed = bytearray(content)
            changed[position : position + 8] = struct.pack("<Q", bits)
            found_at(bytes(changed[: len(content)]), address)


def header_of(*messages: Message, count: int | None = None) -> bytes:
    header, _ = object_header([*group_messages(), *messages])
    version, found, references, size = HEADER.unpack_from(header)
    return HEADER.pack(version, found if count is None else count, references, size) + header[HEADER.size :]


def continuation(address: int, size: int) -> Message:
    return Message(CONTINUATION, struct.pack("<QQ", address, size))


@pytest.mark.parametrize("count", [3, 4, 2**16 - 1])
def test_blocks_that_go_round_in_circles(count: int) -> None:
    """A header that is its own continuation, wholly or from its last message on, or of another that is its."""
    size = len(header_of(continuation(0, 0)))
    for place in (HEADER.size, size - MESSAGE.size - 16):
        content = header_of(continuation(place, size - place), count=count)
        assert found_at(content, 0) is None
    there = MESSAGE.pack(CONTINUATION, 16, 0) + struct.pack("<QQ", HEADER.size, size - HEADER.size)
    assert found_at(header_of(continuation(size, len(there)), count=count) + there, 0) is None


def test_a_table_of_members_is_not_looked_for_in_circles(tmp_path: Path) -> None:
    """The same of the header of the root group; a table beyond a continuation is found."""
    file, size, reads = BytesFile(tmp_path / "file"), len(header_of(continuation(0, 0))), []

    class Counted(BytesFile):
        def read_at(self, offset: int, size: int) -> bytes:
            reads.append(offset)
            assert len(reads) < 100_000, "it goes round in circles"
            return super().read_at(offset, size)

    file.path.write_bytes(header_of(continuation(HEADER.size, size - HEADER.size), count=50))
    assert find_table(Counted(file.path), 0) is None
    table = MESSAGE.pack(SYMBOL_TABLE, 16, 0) + struct.pack("<QQ", 1000, 2000)
    file.path.write_bytes(header_of(continuation(size, len(table)), count=4) + table)
    assert find_table(file, 0) == (1000, 2000)


def test_blocks_without_anything() -> None:
    """Messages of no size, blocks of no size, and blocks of a size that no file has."""
    assert found_at(header_of(), 0) == []
    assert found_at(header_of(continuation(0, 0)), 0) == []
    assert found_at(header_of(Message(0, b"")), 0) == []
    assert found_at(header_of(Message(ATTRIBUTE, b"")), 0) is None
    assert found_at(HEADER.pack(1, 2**16 - 1, 1, 2**24) + bytes(2**16), 0) is None
    for address, size in [(0, 2**63), (2**64 - 1, 2**64 - 1), (2**64 - 1, 8), (HEADER.size, 2**32)]:
        assert found_at(header_of(continuation(address, size)), 0) is None


def test_headers_that_say_another_number_of_messages(episode: tuple[bytes, int]) -> None:
    """A block that was overwritten may look like one of fewer attributes."""
    content, address = bytearray(episode[0]), episode[1]
    (count,) = struct.unpack_from("<H", content, address + 2)
    for wrong in (0, count - 1, count + 1):
        struct.pack_into("<H", content, address + 2, wrong)
        assert found_at(bytes(content), address) is None


def text_of(content: bytes, element: bytes) -> Any:
    """Count the bytes read for a text, given the position in its element."""
    space, datatype = struct.pack("<BBB5x", 1, 0, 0), encode_datatype(TEXT)
    body = struct.pack("<BBHHHB", 3, 0, 2, len(datatype), len(space), 1) + b"x\0" + datatype + space + element
    header = header_of(Message(ATTRIBUTE, body)).ljust(800, b"\0")
    found = found_at(header + content, 0)
    return None if found is None else dict(found)["x"]


def test_texts_in_damaged_collections() -> None:
    """Longer than their object, in an object that is not there, or in what is no collection."""

    def collection(number: int, size: int) -> bytes:
        return struct.pack("<4sB3xQ", b"GCOL", 1, 48) + struct.pack("<H6xQ8s", number, size, b"one note") + bytes(8)

    def element(length: int, address: int = 800, number: int = 1) -> bytes:
        return struct.pack("<IQI", length, address, number)

    assert text_of(collection(1, 8), element(8)) == "one note"
    assert text_of(collection(1, 8), element(3)) == "one"
    assert text_of(b"", element(0)) == ""
    assert text_of(collection(1, 8), element(9)) is None
    assert text_of(collection(1, 2**64 - 1), element(8, number=2)) is None
    assert text_of(collection(0, 8), element(8, number=0)) is None
    assert text_of(collection(1, 0), element(8, number=2)) is None
    assert text_of(collection(2, 8), element(8)) is None
    assert text_of(b"GARB" + collection(1, 8)[4:], element(8)) is None
    assert text_of(b"GCOL\1\0\0\0" + b"\xff" * 8 + collection(1, 8)[16:], element(8)) is None
    assert text_of(collection(1, 8).replace(b"note", b"\xff\xfe\xfd\xfc"), element(8)) == "one \udcff\udcfe\udcfd\udcfc"
    for address in (0, 799, 847, 848, 2**63, 2**64 - 1):
        assert text_of(collection(1, 8), element(8, address)) is None
