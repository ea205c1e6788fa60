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


Found = list[tuple[str, Any]] | None


def found_at(content: bytes, address: int) -> Found:
    """Read attributes as from a map of a file, in as many steps as a header of any size needs."""
    reads = 0

    def read_at(offset: int, size: int) -> bytes:
        nonlocal reads
        reads += 1
        assert reads < 200_000, "it goes round in circles"
        if offset + max(0, min(size, len(content) - offset)) > len(content):
            raise ValueError
        return content[offset : offset + size]

    found = attributes_at(read_at, len(content), address)
    assert found is None or all(isinstance(name, str) for name, _ in found)
    return found


def attributes_in(path: Path, name: str) -> tuple[Found, dict[str, Any]]:
    """Return the attributes that we read, and those that h5py reads."""
    with h5py.File(path) as file:
        expected, address = dict(file[name].attrs), h5py.h5o.get_info(file[name].id).addr
    return found_at(path.read_bytes(), address), expected


def assert_agrees(path: Path, name: str, is_understood: bool = True) -> None:
    """Require what h5py reads; or None, if it may be."""
    found, expected = attributes_in(path, name)
    assert found is not None or not is_understood
    if found is not None:
        assert len(found) == len(dict(found)) == len(expected)
        for key, value in found:
            assert type(value) is type(expected[key])
            assert_value(value, expected[key], key)


# Written by h5py, and by ourselves

VALUES = st.one_of(
    st.sampled_from(["", "x", "größe 漢🎉", "x" * 5000, "é" * 100_000]),
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
ATTRIBUTES = st.dictionaries(PARTS | st.sampled_from(["a/b", "a"]), VALUES, max_size=20)


@pytest.mark.parametrize("options", [{}, {"libver": "earliest"}], ids=["default", "earliest"])
@given(attributes=ATTRIBUTES, changes=ATTRIBUTES, gone=st.sets(st.integers(0, 19)))
def test_attributes_that_h5py_adds_changes_and_deletes(
    tmp_path_factory: Any, options: Any, attributes: Any, changes: Any, gone: set[int]
) -> None:
    """Changes move them to continuations of the header, and deletions leave holes."""
    path = tmp_path_factory.mktemp("headers") / "file.h5"
    with h5py.File(path, "w", **options) as file:
        group, file["x"] = file.create_group("group"), np.zeros(3)
        for name, value in attributes.items():
            group.attrs[name] = file["x"].attrs[name] = value
    for name in ("group", "x"):
        assert_agrees(path, name)
    with h5py.File(path, "r+", **options) as file:
        group = file["group"]
        for number, name in enumerate(list(attributes)):
            if number in gone:
                del group.attrs[name]
        for name, value in changes.items():
            group.attrs[name] = value
        group["member"] = np.zeros(3)
    for name in ("group", "/"):
        assert_agrees(path, name)


@given(metadata=METADATA, changes=ATTRIBUTES)
def test_attributes_that_we_write_and_h5py_changes(tmp_path_factory: Any, metadata: Any, changes: Any) -> None:
    path = tmp_path_factory.mktemp("headers") / "file.h5"
    write_episodes(path, {0: EpisodeColumns(2, steps_of(2), metadata)})
    _, expected = attributes_in(path, "episode_0")
    is_understood = np.dtype("G") not in {np.asarray(value).dtype for value in expected.values()}
    assert_agrees(path, "episode_0", is_understood)
    for options in ({}, {"libver": "latest"}):
        with h5py.File(path, "r+", **options) as file:
            for name, value in changes.items():
                file["episode_0"].attrs[name] = value
        # New versions of HDF5 have complex numbers of their own, which need not be understood.
        assert_agrees(path, "episode_0", is_understood and not options)


def ragged() -> Any:
    lists = np.empty(2, object)
    lists[:] = [np.arange(3, dtype="i4"), np.arange(1, dtype="i4")]
    return lists


def shared_type(group: h5py.Group) -> None:
    group.file["type"] = np.dtype("<f4")
    group.attrs.create("x", 0.5, dtype=group.file["type"])


def create(value: Any, **options: Any) -> Callable[[h5py.Group], object]:
    return lambda group: group.attrs.create("x", value, **options)


UNUSUAL: dict[str, Callable[[h5py.Group], object]] = {
    "complex": create(1j),
    "bytes": create(np.bytes_(b"abc")),
    "ascii": create("abc", dtype=h5py.string_dtype("ascii")),
    "latin": create(b"gr\xf6\xdfe", dtype=h5py.string_dtype("ascii")),
    "texts": create(["a", "b", ""], dtype=h5py.string_dtype()),
    "fixed": create("abc", dtype=h5py.string_dtype(length=9)),
    "enumeration": create(1, dtype=h5py.enum_dtype({"a": 1, "b": 2})),
    "wide": create(np.longdouble(1) / 3),
    "many": lambda group: [group.attrs.create(f"{number}", np.arange(number)) for number in range(200)],
}
LEFT_TO_HDF5: dict[str, Callable[[h5py.Group], object]] = {
    "lists": create(ragged(), dtype=h5py.vlen_dtype("i4")),
    "structure": create(np.zeros(2, [("a", "i4"), ("b", "f8")])),
    "reference": lambda group: group.attrs.create("x", group.ref),
    "shared type": shared_type,
}


@pytest.mark.parametrize("kind", [*UNUSUAL, *LEFT_TO_HDF5])
@pytest.mark.parametrize("library", ["earliest", "v108", "latest"])
def test_attributes_of_other_programs_are_read_or_all_left_to_hdf5(tmp_path: Path, kind: str, library: str) -> None:
    path = tmp_path / "file.h5"
    with h5py.File(path, "w", libver=(library, "latest"), track_order=kind == "many") as file:
        group = file.create_group("group")
        group.attrs["before"] = 1
        {**UNUSUAL, **LEFT_TO_HDF5}[kind](group)
        group.attrs["after"] = 2
    if kind in LEFT_TO_HDF5:
        assert attributes_in(path, "group")[0] is None
    else:
        assert_agrees(path, "group", (kind, library) != ("complex", "latest"))


@pytest.mark.parametrize("flags", range(4))
def test_attribute_shared_with_other_objects_is_left_to_hdf5(flags: int) -> None:
    """The message is only where the attribute is."""
    whole = attribute("x", encode_datatype(np.dtype("<f8")), (), Field("value", 0, np.dtype("<f8")))
    found = found_at(header_of(Message(whole.kind, whole.body, flags=flags)), 0)
    assert found == (None if flags & 2 else [("x", 0.0)])


# Damage


@pytest.fixture(scope="module")
def episode(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, int]:
    """A file with an episode that has attributes of many kinds, in several blocks; the address of its header."""
    path = tmp_path_factory.mktemp("headers") / "file.h5"
    metadata = {"seed": 3, "note": "one note", "state": np.arange(6.0).reshape(2, 3), "flag": np.bool_(True)}
    write_episodes(path, {0: EpisodeColumns(2, steps_of(2), metadata)})
    with h5py.File(path, "r+") as file:
        group = file["episode_0"]
        group.attrs["more"], group.attrs["texts"] = np.zeros(9, ">i2"), "漢" * 9
        address = h5py.h5o.get_info(group.id).addr
    return path.read_bytes(), address


def test_file_cut_anywhere_has_the_same_attributes_or_none(episode: tuple[bytes, int]) -> None:
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


def test_any_address_may_be_read_from(episode: tuple[bytes, int]) -> None:
    content, address = episode
    for other in (*range(len(content) + 64), 2**40, 2**63, 2**64 - 1):
        if other != address:
            found_at(content, other)


@given(changes=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=9)), min_size=1, max_size=4))
def test_random_damage_raises_nothing(episode: tuple[bytes, int], changes: list[tuple[float, bytes]]) -> None:
    content, address = bytearray(episode[0]), episode[1]
    for place, data in changes:
        position = int(place * len(content))
        content[position : position + len(data)] = data[: len(content) - position]
    found_at(bytes(content), address)


def test_every_byte_of_a_header_may_lead_astray(episode: tuple[bytes, int]) -> None:
    content, address = episode
    numbers = [bytes([value]) for value in (0, 1, 0x7F, 0x80, 0xFF)]
    numbers += [struct.pack("<Q", bits) for bits in (0, 2**64 - 1, 2**63, 2**32, address, len(content))]
    for position in range(address, min(address + 1200, len(content))):
        for number in numbers:
            found_at((content[:position] + number + content[position + len(number) :])[: len(content)], address)


def test_header_that_says_another_number_of_messages_is_refused(episode: tuple[bytes, int]) -> None:
    """A block that was overwritten may look like one of fewer attributes."""
    content, address = bytearray(episode[0]), episode[1]
    (count,) = struct.unpack_from("<H", content, address + 2)
    for wrong in (0, count - 1, count + 1):
        struct.pack_into("<H", content, address + 2, wrong)
        assert found_at(bytes(content), address) is None


def header_of(*messages: Message, count: int | None = None) -> bytes:
    header, _ = object_header([*group_messages(), *messages])
    version, found, references, size = HEADER.unpack_from(header)
    return HEADER.pack(version, found if count is None else count, references, size) + header[HEADER.size :]


def continuation(address: int, size: int) -> Message:
    return Message(CONTINUATION, struct.pack("<QQ", address, size))


SIZE = len(header_of(continuation(0, 0)))


@pytest.mark.parametrize("count", [3, 4, 2**16 - 1])
def test_blocks_that_go_round_in_circles_are_refused(count: int) -> None:
    """A header that is its own continuation, wholly or from its last message on, or of another that is its."""
    for place in (HEADER.size, SIZE - MESSAGE.size - 16):
        assert found_at(header_of(continuation(place, SIZE - place), count=count), 0) is None
    there = MESSAGE.pack(CONTINUATION, 16, 0) + struct.pack("<QQ", HEADER.size, SIZE - HEADER.size)
    assert found_at(header_of(continuation(SIZE, len(there)), count=count) + there, 0) is None


def test_table_of_members_is_found_beyond_a_continuation_and_not_in_circles(tmp_path: Path) -> None:
    reads = []

    class Counted(BytesFile):
        def read_at(self, offset: int, size: int) -> bytes:
            reads.append(offset)
            assert len(reads) < 100_000, "it goes round in circles"
            return super().read_at(offset, size)

    file = Counted(tmp_path / "file")
    file.path.write_bytes(header_of(continuation(HEADER.size, SIZE - HEADER.size), count=50))
    assert find_table(file, 0) is None
    table = MESSAGE.pack(SYMBOL_TABLE, 16, 0) + struct.pack("<QQ", 1000, 2000)
    file.path.write_bytes(header_of(continuation(SIZE, len(table)), count=4) + table)
    assert find_table(file, 0) == (1000, 2000)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        *((header_of(*messages), []) for messages in ((), (continuation(0, 0),), (Message(0, b""),))),
        (header_of(Message(ATTRIBUTE, b"")), None),
        (HEADER.pack(1, 2**16 - 1, 1, 2**24) + bytes(2**16), None),
        *(
            (header_of(continuation(*place)), None)
            for place in ((0, 2**63), (2**64 - 1, 2**64 - 1), (2**64 - 1, 8), (HEADER.size, 2**32))
        ),
    ],
    ids=range(9),
)
def test_messages_and_blocks_may_have_no_size_but_none_that_no_file_has(header: bytes, expected: Found) -> None:
    assert found_at(header, 0) == expected


def collection(number: int = 1, size: int = 8) -> bytes:
    return struct.pack("<4sB3xQ", b"GCOL", 1, 48) + struct.pack("<H6xQ8s", number, size, b"one note") + bytes(8)


def element(length: int = 8, address: int = 800, number: int = 1) -> bytes:
    return struct.pack("<IQI", length, address, number)


@pytest.mark.parametrize(
    ("content", "element", "expected"),
    [
        (collection(), element(), "one note"),
        (collection(), element(3), "one"),
        (b"", element(0), ""),
        (collection().replace(b"note", b"\xff\xfe\xfd\xfc"), element(), "one \udcff\udcfe\udcfd\udcfc"),
        (collection(), element(9), None),  # longer than its object
        (collection(1, 2**64 - 1), element(number=2), None),  # of an object that is not there
        (collection(0), element(number=0), None),
        (collection(1, 0), element(number=2), None),
        (collection(2), element(), None),
        (b"GARB" + collection()[4:], element(), None),  # in what is no collection
        (b"GCOL\1\0\0\0" + b"\xff" * 8 + collection()[16:], element(), None),
        *((collection(), element(8, address), None) for address in (0, 799, 847, 848, 2**63, 2**64 - 1)),
    ],
    ids=range(17),
)
def test_text_in_a_damaged_collection_is_refused(content: bytes, element: bytes, expected: str | None) -> None:
    space, datatype = struct.pack("<BBB5x", 1, 0, 0), encode_datatype(TEXT)
    body = struct.pack("<BBHHHB", 3, 0, 2, len(datatype), len(space), 1) + b"x\0" + datatype + space + element
    found = found_at(header_of(Message(ATTRIBUTE, body)).ljust(800, b"\0") + content, 0)
    assert found == (None if expected is None else [("x", expected)])
