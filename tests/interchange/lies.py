"""Well-formed lies in the files of other formats: what a tool of the format itself could have written.

:func:`lie` changes one file of a scene. Unlike flipped bytes, checksums, compression and framing are right afterwards,
so that the values reach the code behind them.
"""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import json
import os
import pickle
import random
import shutil
import sqlite3
import struct
import zipfile
import zlib
from collections.abc import Callable
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from fuzz.mutations import Inapplicable, edit_json
from minari.interchange.tf_example import Feature, parse_example, written_example
from minari.interchange.tfrecord import masked_checksum


__all__ = ["lie"]

_NUMBERS = (0, 1, -1, 2, 7, 255, 2**31 - 1, 2**31, -(2**31), 2**40, 2**53, 2**62, 2**63 - 1, -(2**63))
_SELDOM = 0.9  # of the bombs are not made, as making one takes longer than anything else
_FLOATS = (np.nan, np.inf, -np.inf, -0.0, 0.5, 1e308, -1e308, 2.0**63, 1e-320)


def lie(rng: random.Random, file: Path, scene: Path) -> str:
    """Change a file so that it stays well-formed.

    Args:
        rng: decides everything.
        file: the file.
        scene: the directory with the data, and others outside of them.

    Raises:
        Inapplicable: nothing of that sort can be done to it.
    """
    content = file.read_bytes()
    if not content:
        raise Inapplicable
    for is_kind, change in _KINDS:
        if is_kind(file, content):
            return f"{file.name}: {change(rng, file, content)}"
    raise Inapplicable


# HDF5


def _lie_in_hdf5(rng: random.Random, file: Path, content: bytes) -> str:
    """Other values, names and attributes in an HDF5 file."""
    import h5py

    try:
        opened = h5py.File(file, "r+", locking=False)
    except OSError:
        raise Inapplicable from None
    with opened:
        names: list[str] = []
        opened.visit(names.append)
        try:
            arrays = [name for name in names if isinstance(opened[name], h5py.Dataset)]
            name, other = rng.choice(arrays), rng.choice(arrays)
            kind = rng.choice(
                ("values", "values", "flags", "swap", "rename", "copy", "rows", "bomb", "attribute", "json", "link")
            )
            return f"HDF5 {kind} at {name}: {_HDF5[kind](rng, opened, name, other)}"
        except (RuntimeError, ValueError, TypeError, LookupError, OSError, OverflowError) as error:
            raise Inapplicable from error


def _hdf5_values(rng: random.Random, opened: Any, name: str, other: str) -> str:
    array = opened[name]
    values = array[()]
    if array.dtype.kind not in "iufb" or not array.size:
        raise Inapplicable
    flat = np.asarray(values).reshape(-1).copy()
    value = rng.choice(_FLOATS if array.dtype.kind == "f" else _NUMBERS)
    with np.errstate(all="ignore"):
        flat[rng.randrange(flat.size) if rng.random() < 0.6 else slice(None)] = np.array(value).astype(array.dtype)
    array[...] = flat.reshape(array.shape)
    return str(value)


def _hdf5_flags(rng: random.Random, opened: Any, name: str, other: str) -> str:
    found: list[str] = []
    words = ("done", "termin", "trunc", "timeout", "size", "length", "offset", "index", "last", "success", "mask")
    opened.visit(lambda one: found.append(one) if any(word in one for word in words) else None)
    return _hdf5_values(rng, opened, rng.choice(found), other)


def _hdf5_swap(rng: random.Random, opened: Any, name: str, other: str) -> str:
    opened.move(name, "swapped")
    opened.move(other, name)
    opened.move("swapped", other)
    return other


def _hdf5_rename(rng: random.Random, opened: Any, name: str, other: str) -> str:
    group = rng.choice([name, name.rpartition("/")[0] or name])
    new = rng.choice(
        ("demo_-1", "demo_99999999999999999999", "demo_01", "demo_x", "traj_1e3", "obs", "é", "x" * 3000, "a.b", " ")
    )
    parent = group.rpartition("/")[0]
    opened.move(group, f"{parent}/{new}" if parent else new)
    return f"{group} is {new[:20]}"


def _hdf5_copy(rng: random.Random, opened: Any, name: str, other: str) -> str:
    source = rng.choice([name, name.rpartition("/")[0] or name, name.split("/")[0]])
    new = rng.choice(("demo_99", "demo_007", "traj_77", "observations_5", "infos/x", "metadata/y", "_meta/z", "copy"))
    opened.copy(source, new)
    return f"{source} also at {new}"


def _hdf5_rows(rng: random.Random, opened: Any, name: str, other: str) -> str:
    values = opened[name][()]
    if not np.ndim(values):
        raise Inapplicable
    count = rng.choice((0, 1, len(values) * 2, len(values) + 1, len(values) - 1))
    del opened[name]
    opened.create_dataset(name, data=np.resize(values, (max(0, count), *values.shape[1:])))
    return f"{count} rows"


def _hdf5_bomb(rng: random.Random, opened: Any, name: str, other: str) -> str:
    array = opened[name]
    if not array.shape or array.dtype.kind not in "iufb" or rng.random() < _SELDOM:
        raise Inapplicable
    shape, dtype = (200_000_000 // array.dtype.itemsize, *array.shape[1:]), array.dtype
    if rng.random() < 0.5:
        shape = (array.shape[0], 200_000_000 // array.dtype.itemsize)
    if shape[1:] and max(shape[1:]) > 1 << 20:
        shape = (shape[0], 1 << 20)  # more chunks take too long
    chunks = tuple(min(size, 1 << 16 if array.ndim == 1 else 64) for size in shape)
    del opened[name]
    made = opened.create_dataset(name, shape, dtype, chunks=chunks, compression="gzip")
    made[:1] = 0
    return f"zeros of shape {shape}"


def _hdf5_attribute(rng: random.Random, opened: Any, name: str, other: str) -> str:
    holders: list[str] = ["/"]
    opened.visit(lambda one: holders.append(one) if len(opened[one].attrs) else None)
    group = rng.choice(holders)
    key = rng.choice(list(opened[group].attrs))
    value = rng.choice(
        (*_NUMBERS, *_FLOATS, "", "é" * 1000, "[]", "null", np.zeros((2, 2)), np.array(["a", "b"], "S1"), True)
    )
    opened[group].attrs[key] = value
    return f"{group}.{key} = {value!r:.30}"


def _hdf5_json(rng: random.Random, opened: Any, name: str, other: str) -> str:
    found: list[tuple[str, str]] = []

    def look(one: str) -> None:
        for key, value in opened[one].attrs.items():
            if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
                found.append((one, key))

    look("/")
    opened.visit(look)
    group, key = rng.choice(found)
    changed, text = edit_json(rng, json.loads(opened[group].attrs[key]))
    opened[group].attrs[key] = json.dumps(changed)
    return f"{group}.{key}: {text}"


def _hdf5_link(rng: random.Random, opened: Any, name: str, other: str) -> str:
    import h5py

    del opened[name]
    opened[name] = opened[other] if rng.random() < 0.5 else h5py.SoftLink(f"/{other}")
    return f"is {other}"


_HDF5: dict[str, Callable[[random.Random, Any, str, str], str]] = {
    "values": _hdf5_values, "flags": _hdf5_flags, "swap": _hdf5_swap, "rename": _hdf5_rename, "copy": _hdf5_copy,
    "rows": _hdf5_rows, "bomb": _hdf5_bomb, "attribute": _hdf5_attribute, "json": _hdf5_json, "link": _hdf5_link,
}  # fmt: skip


# TFRecord


def _frames(content: bytes) -> list[bytes]:
    found, place = [], 0
    while place + 12 <= len(content):
        size = int.from_bytes(content[place : place + 8], "little")
        if place + 16 + size > len(content):
            raise Inapplicable
        found.append(content[place + 12 : place + 12 + size])
        place += 16 + size
    return found


def _framed(record: bytes, size: int | None = None) -> bytes:
    length = (len(record) if size is None else size).to_bytes(8, "little")
    checksums = [masked_checksum(part).to_bytes(4, "little") for part in (length, record)]
    return length + checksums[0] + record + checksums[1]


def _lie_in_records(rng: random.Random, file: Path, content: bytes) -> str:
    """Other records in a TFRecord file, compressed or not."""
    is_packed = content[:2] == b"\x1f\x8b"
    try:
        frames = _frames(gzip.decompress(content) if is_packed else content)
    except (OSError, EOFError, zlib.error):
        raise Inapplicable from None
    if not frames:
        raise Inapplicable
    number = rng.randrange(len(frames))
    kind = rng.choice(("feature", "feature", "feature", "feature", "gone", "twice", "turned", "empty", "huge", "bomb"))
    tail, text = b"", ""
    if kind == "feature":
        frames[number], text = _other_example(rng, frames[number])
    elif kind == "gone":
        del frames[number]
    elif kind == "twice":
        frames.append(frames[number])
    elif kind == "turned":
        frames.reverse()
    elif kind == "empty":
        frames[number] = b""
    elif kind == "huge":
        tail = _framed(b"x", rng.choice((2**31, 2**40, 2**62, 2**64 - 1)))
    else:
        tail = _framed(bytes(_bomb_size(rng))) if is_packed else bytes(1000)
    plain = b"".join(map(_framed, frames)) + tail
    file.write_bytes(gzip.compress(plain, 1, mtime=0) if is_packed else plain)
    return f"record {number} {kind} {text}"


def _other_example(rng: random.Random, record: bytes) -> tuple[bytes, str]:
    try:
        features: dict[str, Any] = {name: _decoded(one) for name, one in parse_example(record).items()}
    except ValueError:
        raise Inapplicable from None
    name = rng.choice(list(features))
    values = features[name]
    kind = rng.choice(("gone", "renamed", "fewer", "more", "none", "other kind", "values", "values", "values"))
    if kind == "gone":
        del features[name]
    elif kind == "renamed":
        features[rng.choice(("steps/x", "", "steps/observation/a/b/c", "../x", "é"))] = features.pop(name)
    elif kind == "fewer":
        features[name] = values[:-1]
    elif kind == "more":
        features[name] = [*values, *values] if isinstance(values, list) else np.concatenate([values, values])
    elif kind == "none":
        features[name] = values[:0]
    elif kind == "other kind":
        features[name] = rng.choice(([b"x"] * len(values), np.ones(len(values)), np.ones(len(values), int)))
    elif not len(values):
        raise Inapplicable
    elif isinstance(values, list):
        values[rng.randrange(len(values))] = _other_bytes(rng, values)
    else:
        changed = values.copy()
        changed[rng.randrange(len(changed)) if rng.random() < 0.7 else slice(None)] = rng.choice(
            _FLOATS[:7] if changed.dtype.kind == "f" else _NUMBERS
        )
        features[name] = changed
    return written_example(features), f"{name}: {kind}"


def _decoded(feature: Feature) -> Any:
    if feature.kind == "byte strings":
        return [bytes(one) for one in feature.strings()]
    return feature.integers() if feature.kind == "integers" else feature.floats()


def _other_bytes(rng: random.Random, values: list[bytes]) -> bytes:
    whole = bytearray(rng.choice(values))
    if whole and rng.random() < 0.4:
        whole[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        return bytes(whole)
    return rng.choice(
        (
            b"",
            b"\xff\xfe",
            "漢🎉".encode(),
            bytes(whole[: len(whole) // 2]),
            bytes(whole) * 2,
            _packed_zeros(),
            *_pictures(),
        )
    )


def _bomb_size(rng: random.Random) -> int:
    if rng.random() < _SELDOM:
        raise Inapplicable
    return 200 << 20


@cache
def _packed_zeros() -> bytes:
    return zlib.compress(bytes(100 << 20))


@cache
def _pictures() -> list[bytes]:
    """Pictures of other kinds and sizes, and some that claim to be huge."""
    from PIL import Image

    found = []
    for kind, mode, size in (
        ("PNG", "L", (3, 2)), ("PNG", "P", (8, 8)), ("PNG", "RGBA", (84, 84)), ("PNG", "I;16", (8, 8)),
        ("PNG", "1", (64, 64)), ("JPEG", "CMYK", (64, 64)), ("JPEG", "L", (1, 1)), ("GIF", "P", (64, 64)),
        ("TIFF", "RGB", (64, 64)), ("BMP", "RGB", (64, 64)), ("PPM", "RGB", (4, 4)),
    ):  # fmt: skip
        stream = io.BytesIO()
        Image.new(mode, size).save(stream, kind)
        found.append(stream.getvalue())
    png, jpeg = bytearray(found[0]), bytearray(found[5])
    png[16:24] = struct.pack(">II", 60_000, 60_000)
    png[29:33] = zlib.crc32(png[12:29]).to_bytes(4, "big")
    place = jpeg.find(b"\xff\xc0")
    jpeg[place + 5 : place + 9] = struct.pack(">HH", 65_000, 65_000)
    return [*found, bytes(png), bytes(jpeg), found[0][:40], found[5][:-20]]


# Zip archives of NumPy


def _lie_in_npz(rng: random.Random, file: Path, content: bytes) -> str:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, zlib.error):
        raise Inapplicable from None
    number = rng.randrange(len(members))
    name, data = members[number]
    kind = rng.choice(("gone", "twice", "renamed", "header", "header", "values", "cut", "bomb", "directory"))
    if kind == "gone":
        del members[number]
    elif kind == "twice":
        members.append((name, rng.choice(members)[1]))
    elif kind == "renamed":
        members[number] = (rng.choice(("../x.npy", "/etc/x.npy", "x", "", "é.npy", "obs.npy", "a/b.npy")), data)
    elif kind == "header":
        members[number] = name, _other_header(rng, data)
    elif kind == "values":
        body = bytearray(data)
        place = max(128, len(body) - 8 * rng.randrange(1, max(2, len(body) // 8)))
        body[place : place + 8] = rng.choice(_NUMBERS).to_bytes(8, "little", signed=True)
        members[number] = name, bytes(body)
    elif kind == "cut":
        members[number] = name, data[: rng.randrange(len(data))]
    elif kind == "bomb":
        members[number] = name, data + bytes(_bomb_size(rng))
    else:
        members[number] = f"{name}/", b""
    with zipfile.ZipFile(file, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)), compresslevel=1) as archive:
        for one, body in members:
            archive.writestr(one or "x", body)
    return f"member {name} {kind}"


def _other_header(rng: random.Random, data: bytes) -> bytes:
    array = np.lib.format.read_magic(io.BytesIO(data))
    shape, order, dtype = np.lib.format.read_array_header_1_0(stream := io.BytesIO(data[8:])) if array == (1, 0) else (
        (1,), False, np.dtype("f8"))  # fmt: skip
    described = rng.choice(
        (np.lib.format.dtype_to_descr(dtype), "|O", "<U99999999", "|V8", ">f8", [("a", "<f4")], "<M8[s]")
    )
    shapes = (
        shape,
        (2**40,),
        (2**62, 4),
        (-1,),
        (),
        (0,),
        (len(shape) and shape[0] + 1,),
        tuple(reversed(shape)),
        (1,) * 70,
    )
    header = {"descr": described, "fortran_order": rng.choice((order, True)), "shape": rng.choice(shapes)}
    text = rng.choice((repr(header), repr(header), repr(header), "[" * 500, "{}", "__import__('os')"))
    padded = (text + " " * (118 - len(text) % 64)).encode("latin1")[:60_000] + b"\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded + data[8 + stream.tell() :]


# Arrow streams and Parquet


def _lie_in_table(rng: random.Random, file: Path, content: bytes) -> str:
    """Other columns and values in an Arrow stream or a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    is_parquet = content[:4] == b"PAR1"
    try:
        source = pa.BufferReader(content)
        table = pq.read_table(source) if is_parquet else pa.ipc.open_stream(source).read_all()
        number = rng.randrange(table.num_columns)
        name, column = table.column_names[number], table.column(number)
        changed, text = _other_column(rng, column.combine_chunks() if is_parquet else pa.concat_arrays(column.chunks))
        if text == "gone":
            table = table.remove_column(number)
        elif text == "dictionary":
            table = table.set_column(number, name, column.dictionary_encode())
        elif text == "twice":
            table = table.append_column(name, column)
        elif text == "metadata":
            known = {
                key: value.decode("utf-8", "replace") for key, value in (table.schema.metadata or {b"x": b"{}"}).items()
            }
            key = rng.choice(list(known))
            try:
                known[key] = json.dumps(edit_json(rng, json.loads(known[key]))[0])
            except ValueError:
                known[key] = "x"
            table = table.replace_schema_metadata(known)
        else:
            table = table.set_column(number, name, changed)
        out = io.BytesIO()
        if is_parquet:
            pq.write_table(table, out, compression=rng.choice(("snappy", "zstd", "gzip", "none", "lz4")),
                           use_dictionary=rng.random() < 0.5)  # fmt: skip
        else:
            packed = pa.ipc.IpcWriteOptions(compression=rng.choice((None, None, "lz4", "zstd")))
            with pa.ipc.new_stream(out, table.schema, options=packed) as writer:
                writer.write_table(table)
    except (pa.ArrowException, OSError, ValueError, TypeError, OverflowError, MemoryError, LookupError, RecursionError):
        raise Inapplicable from None
    file.write_bytes(out.getvalue())
    return f"column {name} {text}"


def _other_column(rng: random.Random, column: Any) -> tuple[Any, str]:
    import pyarrow as pa

    kind = rng.choice(
        ("gone", "dictionary", "twice", "metadata", "value", "value", "value", "value", "null", "large", "bomb")
    )
    values = column.to_pylist()
    row = rng.randrange(len(values))
    if kind == "value":
        values[row] = _other_value(rng, values[row])
        return pa.array(values, column.type), f"row {row}"
    if kind == "null":
        values[row] = None
        return pa.array(values, column.type), kind
    if kind == "large":
        larger = {pa.int64(): pa.uint64(), pa.float32(): pa.float16(), pa.string(): pa.large_string()}
        return column.cast(larger.get(column.type, pa.large_string())), kind
    if kind == "bomb":
        return pa.array([b"\0" * (_bomb_size(rng) // len(values))] * len(values)), kind
    return column, kind


def _other_value(rng: random.Random, value: Any) -> Any:
    if isinstance(value, dict):
        key = rng.choice(list(value))
        return {**value, key: _other_value(rng, value[key])}
    if isinstance(value, list) and value:
        return rng.choice((value[:-1], [*value, value[0]], [], None, [_other_value(rng, value[0]), *value[1:]]))
    if isinstance(value, bytes):
        return _other_bytes(rng, [value])
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return rng.choice(_NUMBERS)
    if isinstance(value, float):
        return rng.choice(_FLOATS)
    return rng.choice(("", "../../outside/secret.txt", "/etc/passwd", "é" * 1000, "\0", "a" * 70_000, "{", "nan"))


# Pickles and SQLite of CrowdPlay


class _Reduced:
    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    def __reduce__(self) -> Any:
        return self.parts


_PACKERS: dict[bytes, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
    b"\x1f\x8b": (gzip.decompress, lambda data: gzip.compress(data, 1, mtime=0)),
    b"BZh": (bz2.decompress, lambda data: bz2.compress(data, 1)),
}


def _lie_in_pickle(rng: random.Random, file: Path, content: bytes) -> str:
    unpack, pack = next((pair for magic, pair in _PACKERS.items() if content.startswith(magic)), (bytes, bytes))
    try:
        plain = bytearray(unpack(content))
    except (OSError, EOFError, ValueError, zlib.error):
        raise Inapplicable from None
    kind = rng.choice(("bytes", "bytes", "bytes", "opcode", "text", "hostile", "bomb"))
    if kind == "bytes":
        for _ in range(rng.choice((1, 1, 4))):
            plain[rng.randrange(min(len(plain), 3000) if rng.random() < 0.5 else len(plain))] = rng.randrange(256)
    elif kind == "opcode":
        place = rng.randrange(min(len(plain), 5000))
        plain[place : place + 1] = rng.choice(
            (b"R", b"i", b"o", b"b", b"c", b"\x93", b"P", b"Q", b"0", b"e", b"h\x01", b".")
        )
    elif kind == "text":
        old = rng.choice((b"numpy", b"_reconstruct", b"ndarray", b"dtype", b"reward", b"done", b"game", b"obs"))
        new = rng.choice((b"os", b"system", b"builtins", b"eval", b"numpy.ctypeslib", b"__class__", b"x"))
        plain = bytearray(bytes(plain).replace(old, new.ljust(len(old), b" ")[: len(old)], rng.choice((1, -1))))
    elif kind == "hostile":
        plain = bytearray(_hostile_pickle(rng))
    else:
        plain += bytes(_bomb_size(rng))
    file.write_bytes(pack(bytes(plain)))
    return f"pickle {kind}"


def _hostile_pickle(rng: random.Random) -> bytes:
    dtype = np.dtype("f8")
    many = b"(" + b"(lp0\n" + b"".join(b"(lp%d\n%s" % (n + 1, b"g%d\na" % n * 10) for n in range(30)) + b"."
    values: tuple[Callable[[], bytes], ...] = (
        lambda: pickle.dumps(_Reduced(os.system, ("true",))),
        lambda: pickle.dumps([_Reduced(np.zeros, (2**40,))]),
        lambda: pickle.dumps([_Reduced(np.ndarray, ((2**33,), dtype))]),
        lambda: pickle.dumps(_Reduced(np.dtype, ("f8," * 10000,))),
        lambda: many,
        lambda: b"\x80\x04\x8a\xff" + b"\x7f" * 255 + b".",
        lambda: b"\x80\x04\x8b" + struct.pack("<i", 2**31 - 1) + b".",
        lambda: b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b".",
        lambda: b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"N.",
        lambda: b"\x80\x04" + b"]" * 200_000 + b"a" * 199_999 + b".",
        lambda: b"\x80\x04N" + b"r" + struct.pack("<I", 2**31) + b".",
        lambda: pickle.dumps(rng.choice(([], {}, None, [{}], [{"obs": 1}], "x", [[[]]], [{"agent": None}] * 5))),
        lambda: pickle.dumps([{"obs": np.zeros((2, 2), object), "action": 1, "reward": "x", "done": 7}]),
    )
    return rng.choice(values)()


def _lie_in_sqlite(rng: random.Random, file: Path, content: bytes) -> str:
    """Other cells, tables and columns in a database."""
    try:
        with closing(sqlite3.connect(file)) as database, database:
            tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            table = rng.choice(tables)
            columns = [row[1] for row in database.execute(f'PRAGMA table_info("{table}")')]
            column = rng.choice(columns)
            kind = rng.choice(("cell", "cell", "cell", "cell", "drop", "column", "view", "many", "delete", "twice"))
            value = rng.choice(
                (
                    None,
                    "",
                    "x",
                    "../../outside/secret.txt",
                    "/etc/passwd",
                    "a\0b",
                    b"\x80\x04.",
                    *_NUMBERS,
                    0.5,
                    "é",
                    "x" * 10**6,
                )
            )
            if kind == "cell":
                where = rng.choice(
                    ("", f'WHERE rowid = (SELECT rowid FROM "{table}" ORDER BY random() LIMIT 1)', "WHERE rowid = 1")
                )
                where = "WHERE rowid = 2" if "random" in where else where
                database.execute(f'UPDATE OR IGNORE "{table}" SET "{column}" = ? {where}', (value,))
            elif kind == "drop":
                database.execute(f'DROP TABLE "{table}"')
            elif kind == "column":
                database.execute(f'ALTER TABLE "{table}" RENAME COLUMN "{column}" TO "other"')
            elif kind == "view":
                database.execute(f'ALTER TABLE "{table}" RENAME TO "real"')
                database.execute(
                    f'CREATE VIEW "{table}" AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) '
                    f'SELECT "real".* FROM "real", n'
                )
            elif kind == "many":
                database.execute(f'INSERT OR IGNORE INTO "{table}" ("{column}") VALUES (zeroblob(3000000))')
            elif kind == "delete":
                database.execute(f'DELETE FROM "{table}"')
            else:
                names = ", ".join(f'"{one}"' for one in columns[1:])
                database.execute(f'INSERT OR IGNORE INTO "{table}" ({names}) SELECT {names} FROM "{table}"')
    except (sqlite3.Error, IndexError, OverflowError):
        raise Inapplicable from None
    return f"SQLite {table}.{column} {kind} {value!r:.30}"


# Vaults of flashbax


def _lie_in_vault(rng: random.Random, file: Path, content: bytes) -> str:
    """Other values in the key-value store of a vault."""
    import tensorstore as ts

    try:
        store = ts.KvStore.open({"driver": "ocdbt", "base": f"file://{file.parent}/"}).result()
        keys = list(store.list().result())
        descriptions = [key for key in keys if key.endswith((b".zarray", b"zarr.json"))]
        key = rng.choice(descriptions if descriptions and rng.random() < 0.6 else keys)
        value = store.read(key).result().value
        kind = "gone"
        if key in descriptions and rng.random() < 0.9:
            changed, kind = edit_json(rng, json.loads(value))
            store.write(key, json.dumps(changed).encode()).result()
        elif rng.random() < 0.3:
            store.delete_range(ts.KvStore.KeyRange(key, key + b"\0")).result()
        else:
            kind, other = "another", rng.choice(keys)
            damaged = bytearray(store.read(other).result().value if rng.random() < 0.5 else value)
            if damaged and rng.random() < 0.7:
                kind, place = "damaged", rng.randrange(min(len(damaged), 64) if rng.random() < 0.5 else len(damaged))
                damaged[place] = rng.choice((0, 1, 127, 255, rng.randrange(256)))
            store.write(key, bytes(damaged)).result()
    except (ValueError, OSError, LookupError, RuntimeError, NotImplementedError, RecursionError) as error:
        raise Inapplicable from error
    return f"vault {key!r:.60} {kind}"


# Text


def _lie_in_csv(rng: random.Random, file: Path, content: bytes) -> str:
    text = content.decode("utf-8", "replace")
    lines = text.splitlines()
    kinds: dict[str, Callable[[], bytes]] = {
        "mark": lambda: b"\xef\xbb\xbf" + content,
        "utf-16": lambda: text.encode("utf-16"),
        "semicolons": lambda: text.replace(",", ";").encode(),
        "columns": lambda: "\n".join(f"{line},{','.join(['0'] * 20_000)}" for line in lines[:3]).encode(),
        "no names": lambda: "\n".join(lines[1:]).encode(),
        "only names": lambda: lines[0].encode(),
        "names twice": lambda: "\n".join([lines[0], *lines]).encode(),
        "open quote": lambda: content.replace(b"0", b'"0', 1),
        "long": lambda: content + b"1" * 3_000_000,
        "returns": lambda: content.replace(b"\n", b"\r"),
        "blank": lambda: content.replace(b"\n", b"\n\n\n"),
        "spaces": lambda: content.replace(b",", b" , "),
        "columns swapped": lambda: content.replace(b"reward", b"action", 1),
        "short row": lambda: "\n".join([*lines, lines[-1].rpartition(",")[0]]).encode(),
        "long row": lambda: "\n".join([*lines, lines[-1] + ",1,2"]).encode(),
        "nothing": lambda: b"\n" * 10,
        "latin": lambda: content + b"\xe9,\xff\n",
    }
    kind = rng.choice(sorted(kinds))
    file.write_bytes(kinds[kind]())
    return f"text {kind}"


def _lie_in_lines(rng: random.Random, file: Path, content: bytes) -> str:
    """Other values, or packed columns, in a line of JSON."""
    lines = content.split(b"\n")
    number = rng.randrange(len(lines))
    try:
        value = json.loads(lines[number])
        packed = [key for key, one in value.items() if isinstance(one, str) and one.startswith("BASE64ZIP")]
        if packed and rng.random() < 0.7:
            key = rng.choice(packed)
            raw = bytearray(base64.b64decode(value[key][9:]))
            raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
            value[key], text = "BASE64ZIP" + base64.b64encode(raw).decode(), f"packed {key}"
        else:
            value, text = edit_json(rng, value)
        lines[number] = json.dumps(value).encode()
    except (ValueError, AttributeError, RecursionError):
        raise Inapplicable from None
    file.write_bytes(b"\n".join(lines))
    return f"line {number}: {text}"


# Video


def _lie_in_video(rng: random.Random, file: Path, content: bytes) -> str:
    kinds = {
        "playlist": b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
        "concat": b"ffconcat version 1.0\nfile '/etc/passwd'\n",
        "session": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
        "gif": _pictures()[7],
        "png": _pictures()[0],
        "doubled": content * 2,
        "no index": content.replace(b"moov", b"free"),
        "other codec": content.replace(b"avc1", b"mp4v").replace(b"av01", b"avc1"),
        "no times": content.replace(b"stts", b"xxxx"),
        "no samples": content.replace(b"stsz", b"xxxx"),
        "no edit": content.replace(b"elst", b"xxxx"),
    }
    kind = rng.choice(sorted(kinds))
    if kinds[kind] == content:
        raise Inapplicable
    file.write_bytes(kinds[kind])
    return f"video: {kind}"


def _lie_in_memory_map(rng: random.Random, file: Path, content: bytes) -> str:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 4, 32))):
        place = rng.randrange(len(changed))
        changed[place] = rng.choice((0, 1, 2, 127, 128, 255))
    file.write_bytes(changed)
    return "other values"


def _other_file(rng: random.Random, file: Path, content: bytes) -> str:
    """Another file of the data in the place of this one."""
    others = sorted(one for one in file.parent.rglob("*") if one.is_file() and one != file)
    if not others:
        raise Inapplicable
    other = rng.choice(others)
    shutil.copyfile(other, file)
    return f"is {other.name}"


_KINDS: tuple[tuple[Callable[[Path, bytes], bool], Callable[[random.Random, Path, bytes], str]], ...] = (
    (lambda file, content: content.startswith(b"\x89HDF"), _lie_in_hdf5),
    (lambda file, content: file.name.startswith("manifest.ocdbt"), _lie_in_vault),
    (lambda file, content: content.startswith(b"SQLite"), _lie_in_sqlite),
    (lambda file, content: ".pickle" in file.name or file.suffix == ".pkl", _lie_in_pickle),
    (lambda file, content: content.startswith(b"PK\x03\x04"), _lie_in_npz),
    (lambda file, content: content.startswith((b"PAR1", b"\xff\xff\xff\xff")), _lie_in_table),
    (lambda file, content: ".tfrecord" in file.name or content.startswith(b"\x1f\x8b"), _lie_in_records),
    (lambda file, content: file.suffix == ".csv", _lie_in_csv),
    (lambda file, content: file.suffix == ".mp4", _lie_in_video),
    (lambda file, content: content.startswith(b"{"), _lie_in_lines),
    (lambda file, content: file.suffix == ".memmap", _lie_in_memory_map),
    (lambda file, content: True, _other_file),
)
