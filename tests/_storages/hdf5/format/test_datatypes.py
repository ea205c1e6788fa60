"""Datatype messages, against those that HDF5 itself makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import hypothesis.strategies as st
import numpy as np
import pytest
from h5py import h5t
from hypothesis import example, given

from minari._storages.hdf5.format import datatypes as hdf5_datatypes
from minari._storages.hdf5.format.datatypes import BYTES, TEXT, NoDatatype, decode_datatype, encode_datatype
from minari._storages.hdf5.format.objects import VARIABLE_LENGTH
from minari.spaces import EpisodeColumns
from support.hdf5_files import NUMBERS, numbers_of, steps_of, write_episodes


#: With those that are as wide as the machine has them; h5py gets the order of complex ones of these wrong.
WIDE = [np.dtype("g").newbyteorder(order) for order in "<>"] + [np.dtype("G")]

#: Kinds that stay as they are when they are written and read without HDF5.
PLAIN = [dtype for dtype in NUMBERS if dtype.kind in "biuf"]


def as_hdf5(datatype: h5t.TypeID) -> bytes:
    """The message of a datatype, which HDF5 gives with a type and a version of its own before it."""
    encoded: bytes = datatype.encode()
    return encoded[2:]


@pytest.mark.parametrize("dtype", [*NUMBERS, *WIDE], ids=str)
def test_numbers_are_encoded_as_by_hdf5(dtype: np.dtype[Any]) -> None:
    assert encode_datatype(dtype) == as_hdf5(h5t.py_create(dtype, logical=True))


@pytest.mark.parametrize(("kind", "dtype"), [(TEXT, h5py.string_dtype()), (BYTES, h5py.vlen_dtype(np.uint8))])
def test_elements_of_any_length_are_encoded_as_by_hdf5(kind: str, dtype: np.dtype[Any]) -> None:
    """Apart from their size, which HDF5 gives as it is in memory."""
    ours, theirs = encode_datatype(kind), as_hdf5(h5t.py_create(dtype, logical=True))
    assert (ours[:4], ours[8:]) == (theirs[:4], theirs[8:])
    assert int.from_bytes(ours[4:8], "little") == VARIABLE_LENGTH.itemsize == 16


@pytest.mark.parametrize("dtype", [*WIDE, np.dtype(">G")], ids=str)
def test_wide_numbers_come_back(tmp_path: Path, dtype: np.dtype[Any]) -> None:
    """In both orders, read as what HDF5 takes them for."""
    values = np.array([0.1, -2.5e300, np.pi, 0]).astype(dtype) / 3
    episode = EpisodeColumns(3, {("observations",): values.astype(dtype), **steps_of(3)})
    write_episodes(tmp_path / "file.h5", {0: episode})
    with h5py.File(tmp_path / "file.h5") as file:
        dataset = file["episode_0/observations"]
        read = np.empty(4, dtype.newbyteorder("="))
        dataset.id.read(h5py.h5s.ALL, h5py.h5s.ALL, read, h5t.py_create(read.dtype))
    assert read.tolist() == values.tolist()


@pytest.mark.parametrize("dtype", [*NUMBERS, *WIDE], ids=str)
def test_decoded_again(dtype: np.dtype[Any]) -> None:
    """As what it was, with the order of its bytes; complex numbers of unusual width are nothing."""
    decoded = decode_datatype(encode_datatype(dtype))
    if dtype in NUMBERS or dtype.kind == "f":
        assert isinstance(decoded, np.dtype)
        assert decoded == dtype
    else:
        assert decoded in (None, dtype)


def test_text_and_bytes() -> None:
    assert decode_datatype(encode_datatype(TEXT)) == TEXT
    assert decode_datatype(as_hdf5(h5t.py_create(h5py.string_dtype(), logical=True))) == TEXT
    assert decode_datatype(as_hdf5(h5t.py_create(h5py.string_dtype("ascii"), logical=True))) == TEXT
    assert decode_datatype(as_hdf5(h5t.py_create(h5py.string_dtype("utf-8", 5), logical=True))) == np.dtype("S5")
    assert decode_datatype(encode_datatype(BYTES)) == BYTES


def enumeration(base: h5t.TypeID, **members: int) -> h5t.TypeID:
    datatype = h5t.enum_create(base)
    for name, value in members.items():
        datatype.enum_insert(name.encode(), value)
    return datatype


def narrowed(base: h5t.TypeID, precision: int) -> h5t.TypeID:
    datatype = base.copy()
    datatype.set_precision(precision)
    return datatype


ENUMERATIONS = {
    "flags": enumeration(h5t.STD_I8LE, FALSE=0, TRUE=1),
    "flags the other way round": enumeration(h5t.STD_I8LE, FALSE=1, TRUE=0),
    "flags of other names": enumeration(h5t.STD_I8LE, OFF=0, ON=1),
    "three names": enumeration(h5t.STD_I8LE, FALSE=0, TRUE=1, MAYBE=2),
}


@pytest.mark.parametrize("kind", ENUMERATIONS)
def test_enumerations(kind: str) -> None:
    """Flags as h5py writes them are flags, and others the numbers that they are stored as."""
    assert decode_datatype(as_hdf5(ENUMERATIONS[kind])) == ENUMERATIONS[kind].dtype


LEFT_TO_HDF5 = {
    "flags of two bytes": enumeration(h5t.STD_I16LE, FALSE=0, TRUE=1),
    "24 of 32 bits": narrowed(h5t.STD_I32LE, 24),
    "63 of 64 bits": narrowed(h5t.STD_U64BE, 63),
    "lists of numbers": h5t.py_create(h5py.vlen_dtype(np.int32), logical=True),
    "structure": h5t.py_create(np.dtype([("x", "i4"), ("y", "f8")])),
    "array": h5t.py_create(np.dtype(("i4", (2,)))),
    "bits": h5t.STD_B16LE,
    "reference": h5t.STD_REF_OBJ,
    "opaque": h5t.create(h5t.OPAQUE, 4),
    "time": h5t.UNIX_D32LE,
}


@pytest.mark.parametrize("kind", LEFT_TO_HDF5)
def test_what_is_left_to_hdf5(kind: str) -> None:
    """Types that only resemble a common datatype are not decoded as one."""
    assert decode_datatype(as_hdf5(LEFT_TO_HDF5[kind])) is None


def test_floats_of_another_layout() -> None:
    """Of the right size, with another number of bits for the exponent, or in the order of a VAX."""
    odd = h5t.IEEE_F32LE.copy()
    odd.set_fields(31, 22, 9, 0, 22)
    odd.set_ebias(255)
    assert decode_datatype(as_hdf5(odd)) is None
    vax = bytearray(as_hdf5(h5t.IEEE_F64LE))
    vax[1] |= 0x41
    assert decode_datatype(bytes(vax)) is None


@pytest.mark.parametrize("dtype", ["M8[s]", "m8[ms]", "U3", "O", [("x", "i4"), ("t", "M8[s]")]], ids=str)
def test_refused(dtype: Any) -> None:
    with pytest.raises(NoDatatype, match="HDF5 has no type for elements of dtype"):
        encode_datatype(np.dtype(dtype))


@pytest.mark.parametrize(
    "dtype",
    [
        "S3",
        "V4",
        [("x", "i4")],
        [("x", "u1"), ("größe", "f8", (2, 3)), ("flag", "?"), ("z", "c8"), ("s", "S5"), ("v", "V2")],
        np.dtype([("a", "i1"), ("inner", [("b", "f4"), ("c", "g")])], align=True),
    ],
    ids=str,
)
def test_bytes_and_structures_are_what_h5py_takes_them_for(dtype: Any) -> None:
    dtype = np.dtype(dtype)
    assert h5t.decode(b"\3\0" + encode_datatype(dtype)).dtype == dtype


@pytest.mark.parametrize("dtype", [np.dtype("f8"), np.dtype(">c16")], ids=str)
def test_floats_that_only_this_machine_has(monkeypatch: pytest.MonkeyPatch, dtype: np.dtype[Any]) -> None:
    monkeypatch.setattr(hdf5_datatypes, "_FLOATS", {})
    with pytest.raises(NoDatatype, match="HDF5 has no type for elements of dtype"):
        encode_datatype(dtype)


@given(message=st.binary(max_size=80))
@example(b"")
@example(b"\x10" + bytes(7))
@example(b"\x11\x20\x1f\x00\x08\x00\x00\x00")
def test_anything_else_is_nothing(message: bytes) -> None:
    """For any bytes, a type decoded as numeric would be encoded as the same bytes."""
    decoded = decode_datatype(message)
    if isinstance(decoded, np.dtype) and message[0] & 15 in (0, 1):
        expected = encode_datatype(decoded)
        assert message[1 : len(expected)] == expected[1:]


@given(
    kind=st.sampled_from([*PLAIN, TEXT]),
    changes=st.lists(st.tuples(st.integers(0, 99), st.integers(1, 255)), min_size=1, max_size=3),
)
def test_damaged_datatypes(kind: Any, changes: list[tuple[int, int]]) -> None:
    """A change either makes it unknown, or into what HDF5 takes it for as well."""
    message = bytearray(encode_datatype(kind))
    for position, bits in changes:
        message[position % len(message)] ^= bits
    decoded = decode_datatype(bytes(message))
    if isinstance(decoded, np.dtype) and message[0] >> 4 == 1:
        assert h5t.decode(b"\x03\0" + bytes(message)).dtype == decoded


def test_every_bit_arrives(tmp_path: Path) -> None:
    """Numbers of each dtype, read by HDF5 from a file that it did not write."""
    columns = {("infos", f"n{number}"): numbers_of(dtype, (4, 2), number) for number, dtype in enumerate(NUMBERS)}
    write_episodes(tmp_path / "file.h5", {0: EpisodeColumns(3, {**steps_of(3), **columns})})
    with h5py.File(tmp_path / "file.h5") as file:
        for path, column in columns.items():
            dataset = file[f"episode_0/infos/{path[1]}"]
            assert dataset.dtype == column.dtype
            assert dataset[()].tobytes() == column.tobytes()
