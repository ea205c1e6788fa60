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

from minari._storages.hdf5.format import datatypes
from minari._storages.hdf5.format.datatypes import BYTES, TEXT, NoDatatype, decode_datatype, encode_datatype
from minari._storages.hdf5.format.objects import VARIABLE_LENGTH
from minari.spaces import EpisodeColumns
from support.hdf5_files import NUMBERS, numbers_of, steps_of, write_episodes


#: As wide as the machine has them; h5py gets the order of complex ones of these wrong.
WIDE = [np.dtype("g").newbyteorder(order) for order in "<>"] + [np.dtype("G")]
#: Kinds that stay as they are when they are written and read without HDF5.
PLAIN = [dtype for dtype in NUMBERS if dtype.kind in "biuf"]


def as_hdf5(datatype: Any) -> bytes:
    """The message of a datatype, which HDF5 gives with a type and a version of its own before it."""
    if not isinstance(datatype, h5t.TypeID):
        datatype = h5t.py_create(datatype, logical=True)
    encoded: bytes = datatype.encode()
    return encoded[2:]


@pytest.mark.parametrize("dtype", [*NUMBERS, *WIDE], ids=str)
def test_numbers_are_encoded_as_by_hdf5_and_decoded(dtype: np.dtype[Any]) -> None:
    encoded = encode_datatype(dtype)
    if dtype == np.bool_:  # in a newer version, which is smaller
        assert h5t.decode(b"\3\0" + encoded) == h5t.py_create(dtype, logical=True)
    else:
        assert encoded == as_hdf5(dtype)
    decoded = decode_datatype(encoded)
    assert decoded == dtype or (decoded is None and dtype == WIDE[2]), "complex numbers of unusual width"


def test_texts_and_bytes_are_those_of_hdf5() -> None:
    for kind, dtype in ((TEXT, h5py.string_dtype()), (BYTES, h5py.vlen_dtype(np.uint8))):
        ours, theirs = encode_datatype(kind), as_hdf5(dtype)
        assert (ours[:4], ours[8:]) == (theirs[:4], theirs[8:])
        assert int.from_bytes(ours[4:8], "little") == VARIABLE_LENGTH.itemsize == 16  # HDF5 gives that in memory
        assert decode_datatype(ours) == kind
    assert decode_datatype(as_hdf5(h5py.string_dtype("ascii"))) == decode_datatype(as_hdf5(h5py.string_dtype())) == TEXT
    assert decode_datatype(as_hdf5(h5py.string_dtype("utf-8", 5))) == np.dtype("S5")


def test_numbers_of_every_dtype_arrive_bit_for_bit(tmp_path: Path) -> None:
    columns: dict[Any, Any] = {("infos", f"n{n}"): numbers_of(dtype, (4, 2), n) for n, dtype in enumerate(NUMBERS)}
    values = np.array([0.1, -2.5e300, np.pi, 0])
    wide = {("observations", f"w{n}"): (values.astype(t) / 3).astype(t) for n, t in enumerate([*WIDE, np.dtype(">G")])}
    write_episodes(tmp_path / "file.h5", {0: EpisodeColumns(3, {**wide, **steps_of(3), **columns})})
    with h5py.File(tmp_path / "file.h5") as file:
        for path, column in columns.items():
            dataset = file[f"episode_0/infos/{path[1]}"]
            assert dataset.dtype == column.dtype
            assert dataset[()].tobytes() == column.tobytes()
        for path, column in wide.items():
            read = np.empty(4, column.dtype.newbyteorder("="))
            dataset = file[f"episode_0/observations/{path[1]}"]
            dataset.id.read(h5py.h5s.ALL, h5py.h5s.ALL, read, h5t.py_create(read.dtype))
            assert read.tolist() == column.tolist()


def enumeration(base: h5t.TypeID, **members: int) -> h5t.TypeID:
    datatype = h5t.enum_create(base)
    for name, value in members.items():
        datatype.enum_insert(name.encode(), value)
    return datatype


def narrowed(base: h5t.TypeID, precision: int) -> h5t.TypeID:
    datatype = base.copy()
    datatype.set_precision(precision)
    return datatype


@pytest.mark.parametrize(
    "members",
    [{"FALSE": 0, "TRUE": 1}, {"FALSE": 1, "TRUE": 0}, {"OFF": 0, "ON": 1}, {"FALSE": 0, "TRUE": 1, "MAYBE": 2}],
)
def test_enumerations_are_flags_or_numbers_as_for_h5py(members: dict[str, int]) -> None:
    datatype = enumeration(h5t.STD_I8LE, **members)
    assert decode_datatype(as_hdf5(datatype)) == datatype.dtype


def odd_float() -> h5t.TypeID:
    """Of the right size, with another number of bits for the exponent."""
    odd = h5t.IEEE_F32LE.copy()
    odd.set_fields(31, 22, 9, 0, 22)
    odd.set_ebias(255)
    return odd


LEFT_TO_HDF5 = {
    "flags of two bytes": enumeration(h5t.STD_I16LE, FALSE=0, TRUE=1),
    "24 of 32 bits": narrowed(h5t.STD_I32LE, 24),
    "63 of 64 bits": narrowed(h5t.STD_U64BE, 63),
    "lists of numbers": h5py.vlen_dtype(np.int32),
    "structure": np.dtype([("x", "i4"), ("y", "f8")]),
    "array": np.dtype(("i4", (2,))),
    "bits": h5t.STD_B16LE,
    "reference": h5t.STD_REF_OBJ,
    "opaque": h5t.create(h5t.OPAQUE, 4),
    "time": h5t.UNIX_D32LE,
    "another float": odd_float(),
}


@pytest.mark.parametrize("kind", LEFT_TO_HDF5)
def test_unusual_types_are_left_to_hdf5(kind: str) -> None:
    assert decode_datatype(as_hdf5(LEFT_TO_HDF5[kind])) is None


def test_floats_of_a_vax_are_left_to_hdf5() -> None:
    vax = bytearray(as_hdf5(h5t.IEEE_F64LE))
    vax[1] |= 0x41
    assert decode_datatype(bytes(vax)) is None


@pytest.mark.parametrize("dtype", ["M8[s]", "m8[ms]", "U3", "O", [("x", "i4"), ("t", "M8[s]")]], ids=str)
def test_types_that_hdf5_has_not_are_refused(dtype: Any) -> None:
    with pytest.raises(NoDatatype, match="HDF5 has no type for elements of dtype"):
        encode_datatype(np.dtype(dtype))


@pytest.mark.parametrize("dtype", ["f8", ">c16"])
def test_floats_that_only_this_machine_has_are_refused(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datatypes, "FLOATS", {})
    with pytest.raises(NoDatatype, match="HDF5 has no type for elements of dtype"):
        encode_datatype(np.dtype(dtype))


@pytest.mark.parametrize(
    "dtype",
    [
        *("S3", "V4"),
        [("x", "i4")],
        [("x", "u1"), ("größe", "f8", (2, 3)), ("flag", "?"), ("z", "c8"), ("s", "S5"), ("v", "V2")],
        np.dtype([("a", "i1"), ("inner", [("b", "f4"), ("c", "g")])], align=True),
    ],
    ids=str,
)
def test_bytes_and_structures_are_what_h5py_takes_them_for(dtype: Any) -> None:
    assert h5t.decode(b"\3\0" + encode_datatype(np.dtype(dtype))).dtype == np.dtype(dtype)


@given(message=st.binary(max_size=80))
@example(b"")
@example(b"\x10" + bytes(7))
@example(b"\x11\x20\x1f\x00\x08\x00\x00\x00")
def test_bytes_decoded_as_numbers_would_be_encoded_so(message: bytes) -> None:
    decoded = decode_datatype(message)
    if isinstance(decoded, np.dtype) and message[0] & 15 in (0, 1):
        expected = encode_datatype(decoded)
        assert message[1 : len(expected)] == expected[1:]


@given(
    kind=st.sampled_from([*PLAIN, TEXT]),
    changes=st.lists(st.tuples(st.integers(0, 99), st.integers(1, 255)), min_size=1, max_size=3),
)
def test_damaged_datatype_is_unknown_or_what_hdf5_takes_it_for(kind: Any, changes: list[tuple[int, int]]) -> None:
    message = bytearray(encode_datatype(kind))
    for position, bits in changes:
        message[position % len(message)] ^= bits
    decoded = decode_datatype(bytes(message))
    if isinstance(decoded, np.dtype) and message[0] >> 4 == 1:
        assert h5t.decode(b"\x03\0" + bytes(message)).dtype == decoded
