"""Headers, messages and the global heap, as HDF5 reads them."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from minari._storages.hdf5.format.datatypes import BYTES, encode_datatype
from minari._storages.hdf5.format.objects import (
    HEADER,
    LONGEST_NAME,
    MOST_DIMENSIONS,
    MOST_MESSAGES,
    REFERENCES_AT,
    UNDEFINED,
    VARIABLE_LENGTH,
    Field,
    GlobalHeap,
    Message,
    aligned,
    attribute,
    dataset_messages,
    group_messages,
    link,
    object_header,
    padded,
)
from minari._storages.hdf5.format.superblock import NEW_SUPERBLOCK_SIZE, new_superblock


FLOAT = encode_datatype(np.dtype("<f8"))

#: Where the data of a file begin that is made here.
DATA = NEW_SUPERBLOCK_SIZE


def filled(messages: Sequence[Message], values: Mapping[str, Any]) -> bytes:
    """An object with values for all of its fields."""
    header, fields = object_header(messages)
    assert {field.name for field in fields} == values.keys()
    image = bytearray(header)
    for field in fields:
        value = np.asarray(values[field.name], field.format)
        image[field.offset : field.offset + value.nbytes] = value.tobytes()
    return bytes(image)


def save(path: Path, members: Mapping[str, bytes], further: Sequence[Message] = (), data: bytes = b"") -> int:
    """A file with data and objects, which are the members of its root group; the address of that."""
    content, places = bytearray(padded(data)), {}
    for name, member in members.items():
        places[name] = DATA + len(content)
        content += member
    links = [link(name, f"link {name[:9]} {place}", place) for name, place in places.items()]
    header, _ = object_header([*group_messages(), *links, *further])
    root = DATA + len(content)
    path.write_bytes(new_superblock(root, root + len(header)) + content + header)
    return root


def array(rows: int, shape: tuple[int, ...], address: int, datatype: bytes = FLOAT, row_size: int = 8) -> bytes:
    size = rows * row_size * int(np.prod(shape))
    values = {"rows of x": rows, "address of x": address if size else UNDEFINED, "size of x": size}
    return filled(dataset_messages("x", datatype, shape), values)


@pytest.mark.parametrize("length", range(20))
def test_alignment(length: int) -> None:
    data = padded(b"x" * length)
    assert data.rstrip(b"\0") == b"x" * length
    assert len(data) == aligned(length) == next(place for place in range(99) if place >= length and place % 8 == 0)


# Groups


def test_an_object(tmp_path: Path) -> None:
    """Return the description of a header by HDF5."""
    group, _ = object_header(group_messages())
    root = save(tmp_path / "file.h5", {"group": group})
    with h5py.File(tmp_path / "file.h5") as file:
        for item, messages, size in ((file["group"], 2, len(group)), (file["/"], 3, None)):
            info = h5py.h5o.get_info(item.id)
            assert (info.type, info.rc, len(item.attrs)) == (h5py.h5o.TYPE_GROUP, 1, 0)
            if hasattr(info.hdr, "nchunks"):  # h5py 3.8 does not say it
                assert (info.hdr.version, info.hdr.nmesgs, info.hdr.nchunks) == (1, messages, 1)
                assert info.hdr.space.free == 0
                assert size in (None, info.hdr.space.total)
        assert h5py.h5o.get_info(file.id).addr == root
    references = HEADER.unpack_from(group)[2]
    assert struct.unpack_from("<I", group, REFERENCES_AT)[0] == references == 1


NAMES = ["x", "größe 漢🎉", "..", "\t", *("n" * length for length in (254, 255, 256, 257, LONGEST_NAME)), "é" * 128]


def test_names_of_members(tmp_path: Path) -> None:
    """Of any length and with any letters; the length takes one byte or two."""
    group, _ = object_header(group_messages())
    save(tmp_path / "file.h5", dict.fromkeys(NAMES, group))
    with h5py.File(tmp_path / "file.h5") as file:
        assert list(file) == sorted(NAMES, key=str.encode)
        assert {file.id.links.get_info(name.encode()).cset for name in NAMES} == {h5py.h5t.CSET_UTF8}
        assert len({h5py.h5o.get_info(file[name].id).addr for name in NAMES}) == len(NAMES)


def test_as_many_members_as_possible(tmp_path: Path) -> None:
    names = [f"{number}" for number in range(MOST_MESSAGES - 2)]
    group, _ = object_header(group_messages())
    save(tmp_path / "file.h5", dict.fromkeys(names, group))
    with h5py.File(tmp_path / "file.h5") as file:
        assert len(file) == len(names)
        assert all(name in file for name in names[:: len(names) // 50])


# Arrays


@pytest.mark.parametrize("shape", [(), (3,), (2, 0), (1,) * (MOST_DIMENSIONS - 1)])
@pytest.mark.parametrize("rows", [0, 1, 4])
def test_arrays(tmp_path: Path, rows: int, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(rows).standard_normal((rows, *shape))
    save(tmp_path / "file.h5", {"x": array(rows, shape, DATA)}, data=values.tobytes())
    with h5py.File(tmp_path / "file.h5", "r+") as file:
        dataset = file["x"]
        assert (dataset.dtype, dataset.shape, dataset.maxshape) == (np.float64, values.shape, values.shape)
        assert dataset.id.get_create_plist().get_layout() == h5py.h5d.CONTIGUOUS
        assert dataset.id.get_storage_size() == values.nbytes
        assert dataset.id.get_offset() == (DATA if values.size else None)
        assert np.array_equal(dataset[()], values)
        dataset[...] = 7  # which HDF5 writes in place, as there is a place already
    assert (tmp_path / "file.h5").read_bytes()[DATA : DATA + values.nbytes] == np.full_like(values, 7).tobytes()


# Attributes


def attributes_of(path: Path) -> dict[str, Any]:
    with h5py.File(path) as file:
        return dict(file.attrs)


@pytest.mark.parametrize("shape", [(), (1,), (2, 3), (0,), (2, 0), (1,) * MOST_DIMENSIONS])
@pytest.mark.parametrize("name", ["x", "größe/漢", "n" * 300])
def test_attributes(tmp_path: Path, name: str, shape: tuple[int, ...]) -> None:
    value = np.random.default_rng(1).standard_normal(shape)
    field = Field("value", 99, np.dtype(("<f8", shape)) if shape else np.dtype("<f8"))
    message = attribute(name, FLOAT, shape, field)
    (place,) = message.fields
    body = message.body[: place.offset] + value.tobytes() + message.body[place.offset + value.nbytes :]
    assert len(body) == len(message.body)
    save(tmp_path / "file.h5", {}, [Message(message.kind, body)])
    found = attributes_of(tmp_path / "file.h5")
    assert list(found) == [name]
    assert np.array_equal(found[name], value)
    assert np.shape(found[name]) == shape


def test_the_largest_attribute(tmp_path: Path) -> None:
    """As large as a message can be, to the byte."""
    overhead = len(attribute("x", FLOAT, (0,), Field("value", 0, np.dtype(("<f8", (0,))))).body)
    count = (2**16 - 8 - overhead) // 8
    message = attribute("x", FLOAT, (count,), Field("value", 0, np.dtype(("<f8", (count,)))))
    save(tmp_path / "file.h5", {}, [message])
    assert attributes_of(tmp_path / "file.h5")["x"].shape == (count,)
    with pytest.raises(ValueError, match=r"it takes \d+ bytes where HDF5 allows 65528"):
        attribute("x", FLOAT, (count + 1,), Field("value", 0, np.dtype(("<f8", (count + 1,)))))


def test_the_longest_name_of_an_attribute(tmp_path: Path) -> None:
    field = Field("value", 0, np.dtype("<f8"))
    save(tmp_path / "file.h5", {}, [attribute("n" * (LONGEST_NAME - 1), FLOAT, (), field)])
    assert list(attributes_of(tmp_path / "file.h5")) == ["n" * (LONGEST_NAME - 1)]
    for length in (LONGEST_NAME, 2**16, 2**17):
        with pytest.raises(ValueError, match="its name takes"):
            attribute("n" * length, FLOAT, (), field)


def test_too_many_dimensions_of_an_attribute() -> None:
    shape = (1,) * (MOST_DIMENSIONS + 1)
    with pytest.raises(ValueError, match="it has 33 dimensions where HDF5 allows 32"):
        attribute("x", FLOAT, shape, Field("value", 0, np.dtype("<f8")))


def test_messages_that_are_too_large() -> None:
    object_header([Message(0, bytes(2**16 - 8))])
    with pytest.raises(ValueError, match="it takes 65536 bytes where HDF5 allows 65528"):
        object_header([Message(0, bytes(2**16 - 7))])


# The global heap


def read_elements(path: Path, lists: Sequence[Sequence[bytes]]) -> list[list[bytes]]:
    """Byte strings written by way of a heap and read by HDF5."""
    heap = GlobalHeap()
    elements = [heap.add(values) for values in lists]
    size = sum(part.nbytes for part in elements)
    collections = heap.lay_out(DATA + size)
    at = 0
    while at < len(collections):  # one after the other, of the sizes that they say
        assert collections[at : at + 4] == b"GCOL"
        at += struct.unpack_from("<Q", collections, at + 8)[0]
    assert at == len(collections)
    assert at % 8 == 0
    members, at = {}, DATA
    for number, part in enumerate(elements):
        members[f"{number}"] = array(len(part), (), at, encode_datatype(BYTES), VARIABLE_LENGTH.itemsize)
        at += part.nbytes
    save(path, members, data=b"".join([*(part.tobytes() for part in elements), collections]))
    with h5py.File(path) as file:
        return [[row.tobytes() for row in file[f"{number}"][:]] for number in range(len(lists))]


@given(lists=st.lists(st.lists(st.binary(max_size=300), max_size=40), max_size=4))
def test_byte_strings(tmp_path_factory: Any, lists: list[list[bytes]]) -> None:
    path = tmp_path_factory.mktemp("heap") / "file.h5"
    assert read_elements(path, lists) == lists


@pytest.mark.parametrize("length", [*range(4096 - 16 - 16 - 33, 4096 + 16, 8), 2**16, 2**17 + 3])
def test_collections_of_any_size(tmp_path: Path, length: int) -> None:
    """There may be no room after the last object, too little for another, or some."""
    for rest in ([], [b"after"], [b""]):
        lists = [[b"x" * length, *rest], [b"y"]]
        assert read_elements(tmp_path / "file.h5", lists) == lists


def test_many_collections(tmp_path: Path) -> None:
    """Of about 64 KiB each, so that HDF5 need not read much for one text."""
    rng = np.random.default_rng(0)
    lists = [[rng.bytes(int(length)) for length in rng.integers(0, 2000, 300)] for _ in range(3)]
    lists[1][7] = rng.bytes(300_000)
    assert read_elements(tmp_path / "file.h5", lists) == lists
    content, sizes = (tmp_path / "file.h5").read_bytes(), []
    at = content.index(b"GCOL")
    while content[at : at + 4] == b"GCOL":
        sizes.append(struct.unpack_from("<Q", content, at + 8)[0])
        at += sizes[-1]
    assert len(sizes) > 10
    assert sorted(sizes)[-2] < 70_000
    assert 300_000 < max(sizes) < 370_000


def test_many_objects_that_are_empty(tmp_path: Path) -> None:
    """The number of an object in its collection has two bytes."""
    lists = [[b""] * 70_000]
    assert read_elements(tmp_path / "file.h5", lists) == lists


def test_nothing_waits_after_it_was_laid_out() -> None:
    heap = GlobalHeap()
    assert (heap.size, heap.lay_out(0)) == (0, b"")
    first = heap.add([b"abc", b"d" * 9])
    assert heap.size >= 2 * 16 + 8 + 16
    assert heap.lay_out(800)[:4] == b"GCOL"
    second = heap.add([b"e"])
    heap.lay_out(8000)
    assert first.tolist() == [(3, 800, 1), (9, 800, 2)]
    assert second.tolist() == [(1, 8000, 1)]
    assert (heap.size, heap.lay_out(0)) == (0, b"")
