"""Damage and lies: what is done to the files of a dataset.

:func:`mutate` does one thing to a scene, now and then two or three, all drawn from one random generator.
Each is of one of three sorts:

- *damage* of bytes, as disks and networks do it, and a little worse: bits flipped, numbers replaced by
  extreme ones, blocks cut out, doubled, swapped, or taken from another file. Whatever is read after
  that with checksums verified must be what was written.
- *lies*: files that are well-formed and say something else (JSON of other types, deep or huge; arrays of
  another kind in an HDF5 or Arrow file; a journal that means other files, with right checksums). Values may
  then be others, as whoever may write may say what they are. Nothing may crash, hang or escape.
- *places*: links, pipes and directories in the place of files, files that are missing or another
  dataset's.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import re
import shutil
import stat
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Mutation:
    """A mutation.

    Attributes:
        sort: ``damage``, ``lie`` or ``place``; of several, the one that promises least.
        steps: one text each.
        links_out: whether a link leads out of the dataset, to data that are not its own and that no step
            has copied into it.
    """

    sort: str
    steps: tuple[str, ...]
    links_out: bool = False

    def __str__(self) -> str:
        return "; ".join(self.steps)


#: Larger files, made by an earlier step, are left as they are.
_LARGEST = 4 << 20
_OF_LIBRARIES = (".hdf5", ".arrow", ".parquet")


class Inapplicable(Exception):
    """Nothing of that sort can be done to that file; another sort is drawn then."""


def mutate(rng: random.Random, scene: Path, data: Path, *, only: str = "") -> Mutation:
    """Change the files of a scene.

    Args:
        rng: decides everything.
        scene: the directory of the scene.
        data: the directory in it that is damaged.
        only: ``flip`` for one flipped bit and nothing else.
    """
    if only == "flip":
        file = _draw_file(rng, data)
        return Mutation("damage", (f"{_name(file, data)}: {_flip_bit(rng, file, scene)}",))
    count = rng.choices((1, 2, 3), (8, 2, 1))[0]
    sorts, steps = [], []
    while len(steps) < count:
        sort = rng.choices(tuple(_SORTS), (10, 6, 3))[0]
        try:
            file = _draw_file(rng, data)
            if sort == "lie" and steps and file.suffix in _OF_LIBRARIES:
                raise Inapplicable  # their libraries are not to be tried here on what is damaged already
            step = _SORTS[sort](rng, file, scene)
        except (Inapplicable, RecursionError):  # the latter in JSON that is deep already
            continue
        except FileNotFoundError:  # an earlier step has taken it away
            count -= 1
            continue
        sorts.append(sort)
        steps.append(f"{_name(file, data)}: {step}")
    worst = next((sort for sort in ("place", "lie", "damage") if sort in sorts), "damage")
    links_out = any("link to outside" in step for step in steps)
    copied = any(step.endswith((": twin", "another file's", "another file's (same time)")) for step in steps)
    return Mutation(worst, tuple(steps), links_out and not copied)


def _one_of(rng: random.Random, words: str) -> str:
    return rng.choice(words.split())


def _name(file: Path, data: Path) -> str:
    return os.path.relpath(file, data.parent)


def _draw_file(rng: random.Random, data: Path) -> Path:
    """A file of the dataset, or that of its namespace; small and hidden ones as often as large ones."""
    names = sorted(f"{path}/{name}" for path, _, names in os.walk(data) for name in names)
    files = [Path(name) for name in names if _may_be_damaged(os.lstat(name))]
    if not files:
        raise FileNotFoundError(data)
    namespace = data.parent.parent / "namespace_metadata.json"
    if _is_small(namespace) and rng.random() < 0.02:
        return namespace
    special = [file for file in files if file.name.startswith(".") or any(p.startswith(".") for p in file.parts[-3:])]
    if special and rng.random() < 0.4:
        return rng.choice(special)
    if rng.random() < 0.3:
        return rng.choice([file for file in files if file.suffix in (".json", ".gz")] or files)
    return rng.choice(files)


def _may_be_damaged(status: os.stat_result) -> bool:
    return stat.S_ISREG(status.st_mode) and 0 < status.st_size <= _LARGEST


def _is_small(file: Path) -> bool:
    return file.is_file() and not file.is_symlink() and file.stat().st_size <= _LARGEST


# Bytes


def _extreme(rng: random.Random, width: int, size: int) -> int:
    """A number that lengths, counts and offsets are seldom."""
    bits = 8 * width
    special = (0, 1, 2**bits - 1, 2 ** (bits - 1), 2 ** (bits - 1) - 1, size, size - 1, size + 1, 2**bits - 16, 255, 7)
    value = rng.choice((*special, 1 << rng.randrange(bits), rng.getrandbits(bits)))
    return value % 2**bits


def _place(rng: random.Random, content: bytes) -> int:
    """A place in a file: more often near its ends, where most structures are."""
    size = len(content)
    where = rng.random()
    if where < 0.3:
        return rng.randrange(min(size, 1024))
    if where < 0.5:
        return rng.randrange(max(0, size - 1024), size)
    if where < 0.8:  # not in the middle of nothing
        for _ in range(8):
            place = rng.randrange(size)
            if content[place]:
                return place
    return rng.randrange(size)


def _flip(rng: random.Random, content: bytearray, scene: Path, name: str) -> str:
    places = [_place(rng, content) for _ in range(rng.choice((1, 1, 1, 2, 8)))]
    for place in places:
        content[place] ^= 1 << rng.randrange(8)
    return f"flipped bits at {places}"


def _overwrite(rng: random.Random, content: bytearray, scene: Path, name: str) -> str:
    width = rng.choice((1, 2, 4, 8))
    place = _place(rng, content)
    if rng.random() < 0.7:
        place -= place % min(width, 4)
    value = _extreme(rng, width, len(content))
    content[place : place + width] = value.to_bytes(width, rng.choice(("little", "little", "big")))
    return f"{width} bytes at {place} are {value:#x}"


def _nudge(rng: random.Random, content: bytearray, scene: Path, name: str) -> str:
    place = _place(rng, content)
    content[place] = (content[place] + rng.choice((-1, 1, 2, 8, 16))) % 256
    return f"the byte at {place} is {content[place]}"


def _cut(rng: random.Random, content: bytearray, scene: Path, name: str) -> str:
    size = rng.choice((0, 1, len(content) // 2, len(content) - 1, rng.randrange(len(content))))
    del content[size:]
    return f"cut to {size} bytes"


def _extend(rng: random.Random, content: bytearray, scene: Path, name: str) -> str:
    more = rng.choice((b"\0" * 4096, b"\xff" * 64, rng.randbytes(100), bytes(content[:4096]), b"\n", b"{}"))
    content += more
    return f"{len(more)} bytes more at the end"


def _block(rng: random.Random, content: bytearray) -> tuple[int, int]:
    length = min(rng.choice((1, 2, 8, 16, 64, 512, 4096)), len(content))
    start = _place(rng, content)
    return start, min(start + length, len(content))


def _replace_block(kind: str) -> Callable[[random.Random, bytearray, Path, str], str]:
    """A change of one block: ``insert``, ``remove`` or ``fill``."""

    def change(rng: random.Random, content: bytearray, scene: Path, name: str) -> str:
        start, end = _block(rng, content)
        size = end - start
        if kind == "insert":
            content[start:start] = rng.choice((rng.randbytes(size), b"\0" * size, content[start:end]))
        else:
            content[start:end] = b"" if kind == "remove" else rng.choice((b"\0", b"\xff", b"\x80")) * size
        return f"{kind} {size} bytes at {start}"

    return change


def _swap(rng: random.Random, content: bytearray, scene: Path, name: str) -> str:
    (a, a_end), (b, b_end) = _block(rng, content), _block(rng, content)
    length = min(a_end - a, b_end - b)
    first, second = content[a : a + length], content[b : b + length]
    content[a : a + length], content[b : b + length] = second, first
    return f"{length} bytes at {a} and {b} change places"


def _splice(rng: random.Random, content: bytearray, scene: Path, name: str) -> str:
    base = scene / "outside" / "dataset"
    others = sorted(f"{path}/{each}" for path, _, names in os.walk(base) for each in names)
    same = [other for other in others if other.endswith(f"/{name}")]
    other = Path(rng.choice(same or others)).read_bytes()
    if not other:
        raise Inapplicable
    start, end = _block(rng, content)
    if rng.random() < 0.3:
        end = len(content)
    content[start:end] = other[start:end] if rng.random() < 0.8 else other[: end - start]
    return f"bytes {start}-{end} are another file's"


def _digits(rng: random.Random, content: bytearray, scene: Path, name: str) -> str:
    """Another number in a text."""
    places = [match.span() for match in re.finditer(rb"\d+", content[:20000])]
    if not places:
        raise Inapplicable
    start, end = rng.choice(places)
    number = rng.choice(("0", "-1", "1", "9" * 19, "18446744073709551616", "1e999", "9" * 5000, "0.5", "2147483648"))
    content[start:end] = number.encode()
    return f"the number at {start} is {number[:30]}"


_OF_BYTES: dict[Any, int] = {
    _flip: 10, _overwrite: 12, _nudge: 5, _cut: 3, _extend: 1, _replace_block("insert"): 2,
    _replace_block("remove"): 2, _replace_block("fill"): 3, _swap: 2, _splice: 3, _digits: 3,
}  # fmt: skip


def _damage(rng: random.Random, file: Path, scene: Path) -> str:
    content = bytearray(file.read_bytes())
    if not content:
        raise Inapplicable
    before = bytes(content)
    text = rng.choices(tuple(_OF_BYTES), tuple(_OF_BYTES.values()))[0](rng, content, scene, file.name)
    if content == before:
        raise Inapplicable
    return f"{text}{_write(rng, file, bytes(content))}"


def _flip_bit(rng: random.Random, file: Path, scene: Path) -> str:
    content = bytearray(file.read_bytes())
    place = rng.randrange(len(content))
    bit = rng.randrange(8)
    content[place] ^= 1 << bit
    return f"bit {bit} of byte {place} of {len(content)} flipped{_write(rng, file, bytes(content))}"


def _write(rng: random.Random, file: Path, content: bytes) -> str:
    """Write over a file; half of the time the time of its last change stays, as after rot or by intent."""
    before = file.stat().st_mtime_ns
    with file.open("r+b") as opened:
        opened.truncate(len(content))
        opened.write(content)
    if rng.random() < 0.5:
        os.utime(file, ns=(before, before))
        return " (same time)"
    return ""


# JSON

_DEEP = 3000
_PATHS = ("../../../outside/secret.txt", "/etc/passwd", "..", "a/../../b", "main_data.hdf5", "\\\\host\\x", "C:x", ".")


def _json_value(rng: random.Random) -> Any:
    integers = (0, -1, 1, 2**31, 2**53, 2**63, 2**64, -(2**63), 2**70, 10**18, 10**400)
    choices: tuple[Callable[[], Any], ...] = (
        lambda: rng.choice((None, True, False)),
        lambda: rng.choice(integers),
        lambda: rng.choice(integers),
        lambda: rng.choice((0.5, -0.0, 1e308, float("nan"), float("inf"), float("-inf"))),
        lambda: rng.choice(("", "x", "x" * 100_000, "\0", "a\ud800b", "漢🎉\u202e", "1", "-1", "NaN", "[]", "{}")),
        lambda: rng.choice(_PATHS),
        lambda: rng.choice(("object", "|O", "O8", "<f8", "<i8", "|V16", "S0", "<U999999999", "(10000,10000)f8", "M8")),
        lambda: rng.choice(("fuzz_bait:run", "os:system", "subprocess:run", "Box", "Dict", "Sequence", "hdf5", "zarr")),
        lambda: rng.choice(([], {}, [[]], [None], {"a": 1}, [1, "a", None], {"": {"": ""}}, [2**62, 2**62])),
        lambda: [rng.randrange(3)] * rng.choice((2, 100, 100_000)),
        lambda: _deep(rng),
    )
    return rng.choice(choices)()


def _deep(rng: random.Random) -> Any:
    value: Any = 1
    for _ in range(rng.choice((50, 900, _DEEP))):
        value = [value] if rng.random() < 0.5 else {"a": value}
    return value


def _nodes(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all parts of a value, those in texts that are JSON themselves included."""
    found = [path]
    if isinstance(value, dict):
        for key, part in value.items():
            found += _nodes(part, (*path, key))
    elif isinstance(value, list):
        for number, part in enumerate(value[:50]):
            found += _nodes(part, (*path, number))
    elif isinstance(value, str) and value[:1] in ("{", "[") and len(value) < 20_000:
        with suppress(ValueError):
            found += _nodes(json.loads(value), (*path, None))
    return found


def _edit(value: Any, path: tuple[Any, ...], change: Callable[[Any], Any]) -> Any:
    """The value with the part at that path changed; None in a path opens a text that is JSON."""
    if not path:
        return change(value)
    key, *rest = path
    if key is None:
        return _dump(_edit(json.loads(value), tuple(rest), change))
    value[key] = _edit(value[key], tuple(rest), change)
    return value


def _dump(value: Any) -> str:
    """The JSON of a value, however deep."""
    out: list[str] = []
    pending: list[Any] = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, _Raw):
            out.append(item.text)
        elif isinstance(item, dict) and item:
            parts: list[Any] = [_Raw("{")]
            for number, (key, part) in enumerate(item.items()):
                parts += [_Raw(f"{',' if number else ''}{json.dumps(str(key))}:"), part]
            pending += reversed([*parts, _Raw("}")])
        elif isinstance(item, list) and any(map(_is_awkward, item[:50])):
            parts = [_Raw("[")]
            for number, part in enumerate(item):
                parts += [_Raw("," if number else ""), part]
            pending += reversed([*parts, _Raw("]")])
        elif isinstance(item, int) and abs(item) > 10**300:
            out.append("9" * 5000)
        else:
            out.append(json.dumps(item))
    return "".join(out)


def _is_awkward(item: Any) -> bool:
    return isinstance(item, (list, dict)) or (isinstance(item, int) and abs(item) > 10**300)


class _Raw:
    def __init__(self, text: str) -> None:
        self.text = text


def _shown(value: Any) -> str:
    return _dump(value)[:40]


def edit_json(rng: random.Random, value: Any) -> tuple[Any, str]:
    """Change one part of a JSON value."""
    path = rng.choice(_nodes(value))
    kind = rng.choice(("replace", "replace", "replace", "add", "remove", "tweak", "tweak", "rename"))
    new = _json_value(rng)

    def change(part: Any) -> Any:
        if kind == "remove" and isinstance(part, (dict, list)) and part:
            del part[rng.choice(list(part) if isinstance(part, dict) else range(len(part)))]
            return part
        if kind == "add" and isinstance(part, dict):
            return {**part, rng.choice(("x", "__class__", "", "..", *_PATHS)): new}
        if kind == "add" and isinstance(part, list):
            return [*part, new]
        if kind == "rename" and isinstance(part, dict) and part:
            old = rng.choice(list(part))
            return {rng.choice(("x", "", "a/b", *_PATHS)) if key == old else key: item for key, item in part.items()}
        if kind == "tweak" and isinstance(part, (int, float)):
            return rng.choice((part + 1, part - 1, part * 2, -part, float(part), str(part), [part], part + 10**6))
        if kind == "tweak" and isinstance(part, list) and part:
            return rng.choice((part * 2, part[::-1], part[:-1], part[0]))
        return new

    return _edit(value, path, change), f"JSON at {'/'.join(map(str, path))[:60]}: {kind} {_shown(new)}"


def _lie_in_json(rng: random.Random, file: Path, scene: Path) -> str:
    raw = file.read_bytes()
    packed = raw[:2] == b"\x1f\x8b"
    if packed and rng.random() < 0.2:
        file.write_bytes(bomb())
        return "a gzip bomb"
    try:
        value = json.loads(gzip.decompress(raw) if packed else raw)
    except (ValueError, OSError, EOFError, zlib.error):
        raise Inapplicable from None
    value, text = edit_json(rng, value)
    content = _dump(value).encode("utf-8", "surrogatepass")
    return f"{text}{_write(rng, file, gzip.compress(content, 1, mtime=0) if packed else content)}"


@cache
def bomb() -> bytes:
    """A small file that is 300 MB of JSON when it is unpacked."""
    return gzip.compress(b'{"version": 1, "x": "' + b" " * (300 << 20), 1, mtime=0)


# Files of other formats, well-formed

_JOURNAL = struct.Struct("<QQI")


def _lie_in_journal(rng: random.Random, file: Path, scene: Path) -> str:
    """Another header in a journal, with the right checksum."""
    content = file.read_bytes()
    start = content.find(b"\n") + 1
    try:
        header_size, _, _ = _JOURNAL.unpack_from(content, start)
        body = start + _JOURNAL.size
        header = json.loads(content[body : body + header_size])
    except (ValueError, struct.error):
        raise Inapplicable from None
    payload = content[body + header_size :]
    outside = "../../../../outside/secret.txt"
    known = rng.choice(
        (
            lambda: {**header, "file": rng.choice((outside, "/etc/passwd", "metadata.json", ".journal"))},
            lambda: {**header, "texts": {outside: "owned", **header.get("texts", {})}},
            lambda: {**header, "end": rng.choice((0, 2**62, -1, 10**12))},
            lambda: {**header, "changes": [[rng.choice((0, 2**62, -1, 8)), len(payload)]]},
            lambda: edit_json(rng, header)[0],
        )
    )()
    text = _dump(known).encode("utf-8", "surrogatepass")
    checksum = zlib.crc32(payload, zlib.crc32(text))
    file.write_bytes(content[:start] + _JOURNAL.pack(len(text), len(payload), checksum) + text + payload)
    return f"another header of the journal, with its checksum: {_shown(known)}"


@contextmanager
def _refusals_passed_over() -> Iterator[None]:
    """Files that a library itself rejects are not worth a test."""
    try:
        yield
    except (RuntimeError, ValueError, TypeError, LookupError, OSError) as error:
        raise Inapplicable from error


def _lie_in_hdf5(rng: random.Random, file: Path, scene: Path) -> str:
    """Other objects in an HDF5 file."""
    import h5py
    import numpy as np

    outside = os.path.relpath(scene / "outside", file.parent)
    try:
        opened = h5py.File(file, "r+", locking=False)
    except OSError:
        raise Inapplicable from None
    with opened, _refusals_passed_over():
        names = ["/"]
        opened.visit(names.append)
        arrays = [name for name in names if isinstance(opened[name], h5py.Dataset)]
        groups = [name for name in names if isinstance(opened[name], h5py.Group)]
        if not arrays:
            raise Inapplicable
        name, group = rng.choice(arrays), rng.choice(groups)
        old = opened[name]
        kind = _one_of(
            rng,
            "soft outside external virtual remove group dtype reshape shorter huge cycle attribute attributes strange "
            "text reference compound fewer filter",
        )
        attribute = rng.choice(list(opened[group].attrs) or ["id"])
        if kind not in ("cycle", "attribute", "attributes", "strange"):
            values = None if old.dtype.kind == "O" else old[()]
            shape, dtype = old.shape, old.dtype
            del opened[name]
        h5 = opened.create_dataset
        if kind == "soft":
            opened[name] = h5py.SoftLink(rng.choice(("/nowhere", "/", f"/{name}", f"/{rng.choice(arrays)}")))
        elif kind == "outside":
            opened[name] = h5py.ExternalLink(f"{outside}/dataset/data/{file.name}", f"/{name}")
        elif kind == "external":
            h5(name, shape, "u1", external=[(f"{outside}/secret.txt", 0, h5py.h5f.UNLIMITED)])
        elif kind == "virtual":
            layout = h5py.VirtualLayout(shape, "f8")
            layout[...] = h5py.VirtualSource(f"{outside}/dataset/data/{file.name}", name, shape)
            opened.create_virtual_dataset(name, layout)
        elif kind == "group":
            opened.create_group(name)
        elif kind == "dtype":
            h5(name, shape, _one_of(rng, "i1 >f8 f2 c16 S5 V7 bool >u2 u8"))
        elif kind in ("reshape", "shorter", "fewer"):
            new = {"reshape": (*shape, 1), "shorter": (max(0, shape[0] - 1), *shape[1:]), "fewer": ()}[kind]
            h5(name, new, "f8" if values is None else dtype)
        elif kind == "huge":
            h5(name, (rng.choice((2**40, 2**62)), 3), "f8", chunks=(1024, 3), fillvalue=1.0)
        elif kind == "text":
            h5(name, data=["é" * n for n in range(shape[0])], dtype=h5py.string_dtype())
        elif kind == "reference":
            h5(name, shape[:1], rng.choice((h5py.ref_dtype, h5py.vlen_dtype("f4"))))
        elif kind == "compound":
            h5(name, shape[:1], np.dtype([("a", "f4"), ("b", "i8", (3,))]))
        elif kind == "filter":
            h5(name, data=np.zeros(shape), chunks=True, compression="lzf", shuffle=True)
        elif kind == "cycle":
            opened[f"{group}/again"] = opened[rng.choice(("/", group))]
        elif kind == "attribute":
            opened[group].attrs[attribute] = rng.choice((-1, 2**63 - 1, 0.5, "text", np.zeros(3), np.bytes_(b"\xff")))
        elif kind == "attributes":
            opened[group].attrs[rng.choice(("options/../x", "a" * 1000, "é", "options//", ".."))] = "x"
        elif kind == "strange":
            h5(f"{group}/{_one_of(rng, 'x _index_0 infos ..x')}", data=np.zeros(2))
    return f"HDF5: {kind} at {name if kind not in ('attribute', 'attributes', 'cycle') else group}"


def _lie_in_table(rng: random.Random, file: Path, scene: Path) -> str:
    """Another table in an Arrow or Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        content = pa.BufferReader(file.read_bytes())
        if file.suffix == ".parquet":
            table = pq.read_table(content)
        else:
            table = pa.ipc.open_file(content).read_all()
    except (pa.ArrowException, OSError):
        raise Inapplicable from None
    with _refusals_passed_over():
        number = rng.randrange(table.num_columns)
        name, column = table.column_names[number], table.column(number)
        rows = table.num_rows
        others: dict[str, Callable[[], Any]] = {
            "nulls": lambda: pa.nulls(rows, column.type),
            "text": lambda: pa.array(["é"] * rows),
            "integers": lambda: pa.array([2**62] * rows),
            "null type": lambda: pa.nulls(rows),
            "dictionary": lambda: pa.array(["a", "b"] * rows)[:rows].dictionary_encode(),
            "lists": lambda: pa.array([[1.0] * (row % 3) for row in range(rows)]),
            "decimals": lambda: pa.array([1] * rows).cast(pa.decimal128(38, 3)),
            "times": lambda: pa.array([0] * rows, pa.timestamp("ns")),
            "struct": lambda: pa.array([{"a": 1, "..": None}] * rows),
            "wide": lambda: pa.array([[0.0] * 4000] * rows, pa.list_(pa.float64(), 4000)),
        }
        kind = rng.choice(("removed", "renamed", "doubled", "fewer", "more", "metadata", *others))
        if kind == "removed":
            table = table.remove_column(number)
        elif kind == "renamed":
            new = rng.choice(("", "x", "../x", "observations"))
            table = table.rename_columns([new if c == name else c for c in table.column_names])
        elif kind == "doubled":
            table = table.append_column(name, column)
        elif kind == "fewer":
            table = table.slice(0, rng.choice((0, 1, rows - 1)))
        elif kind == "more":
            table = pa.concat_tables([table] * rng.choice((2, 50)))
        elif kind == "metadata":
            field = table.schema.field(number)
            lie = rng.choice((b"-1,3", b"9223372036854775807,2", b"x", b"", b"0", b"1,1,1,1", b"3" * 500))
            schema = table.schema.set(number, field.with_metadata({b"shape": lie})).with_metadata(
                {b"shape": lie, b"x": lie}
            )
            table = pa.Table.from_arrays(table.columns, schema=schema)
        else:
            table = table.set_column(number, name, others[kind]())
        out = pa.BufferOutputStream()
        if file.suffix == ".parquet":
            pq.write_table(table, out)
        else:
            with pa.ipc.new_file(out, table.schema) as writer:
                writer.write_table(table)
    return f"table: {name} {kind}{_write(rng, file, out.getvalue().to_pybytes())}"


def _lie(rng: random.Random, file: Path, scene: Path) -> str:
    if file.suffix in (".json", ".gz"):
        return _lie_in_json(rng, file, scene)
    if file.name == ".journal":
        return _lie_in_journal(rng, file, scene)
    if file.suffix in (".hdf5", ".h5"):
        return _lie_in_hdf5(rng, file, scene)
    if file.suffix in (".arrow", ".parquet"):
        return _lie_in_table(rng, file, scene)
    raise Inapplicable


# Places


def _misplace(rng: random.Random, file: Path, scene: Path) -> str:
    dataset = scene / "outside" / "dataset"
    inside = [path for path in file.parent.iterdir() if _is_small(path) and path != file]
    twin = next(iter(sorted(dataset.rglob(file.name))), scene / "outside" / "secret.txt")
    kind = _one_of(
        rng,
        "gone link-out link-out link-in loop dangling device pipe directory empty twin swapped directory-out "
        "directory-gone directory-file plant plant staged large",
    )
    directory = file.parent
    holds_others = directory in (scene, scene / "root", scene / "remote") or file.name == "namespace_metadata.json"
    if kind.startswith("directory-") and holds_others:
        raise Inapplicable
    if kind == "directory-out" and directory.name == "data":
        raise Inapplicable  # people keep datasets on other disks, and link to them
    if kind in ("link-in", "swapped") and not inside:
        raise Inapplicable
    if kind in ("gone", "link-out", "link-in", "loop", "dangling", "device", "pipe", "directory"):
        file.unlink()
    if kind == "link-out":
        file.symlink_to(rng.choice((twin, os.path.relpath(twin, file.parent), scene / "outside" / "secret.txt")))
        return "a link to outside"
    if kind == "dangling":
        file.symlink_to(scene / "outside" / "empty" / "new.txt")
        return "a link to outside, where nothing is"
    if kind == "directory-out":
        shutil.rmtree(directory)
        same = [path for path in sorted(dataset.rglob(directory.name)) if path.is_dir()]
        directory.symlink_to(same[0] if same else scene / "outside" / "empty")
        return "its directory is a link to outside"
    if kind in ("plant", "staged"):
        return (_plant if kind == "plant" else _stage)(rng, file, scene)
    if kind in ("directory-gone", "directory-file"):
        shutil.rmtree(directory)
    if kind == "swapped":
        other = rng.choice(inside)
        first, second = file.read_bytes(), other.read_bytes()
        file.write_bytes(second)
        other.write_bytes(first)
    work: dict[str, Callable[[], Any]] = {
        "link-in": lambda: file.symlink_to(rng.choice(inside).name),
        "loop": lambda: file.symlink_to(file.name),
        "device": lambda: file.symlink_to("/dev/zero"),
        "pipe": lambda: os.mkfifo(file),
        "directory": file.mkdir,
        "empty": lambda: file.write_bytes(b""),
        "twin": lambda: shutil.copyfile(twin, file),
        "directory-file": lambda: directory.write_bytes(b"x"),
        "large": lambda: os.truncate(file, 1 << 31),
    }
    if kind in work:
        work[kind]()
    return kind


def _plant(rng: random.Random, file: Path, scene: Path) -> str:
    """Something that does not belong there."""
    name = rng.choice(("additional_data_0.hdf5", ".lock", ".journal", ".index.json", "extra", "2", "episode_9", "-1"))
    path = file.parent / name
    if os.path.lexists(path):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    kind = rng.choice(("link", "pipe", "text", "directory"))
    if kind == "link":
        path.symlink_to(scene / "outside" / rng.choice(("secret.txt", "empty", "empty/made.txt")))
        return f"{name} beside it is a link to outside"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "text":
        path.write_bytes(rng.choice((b"{}", b"", b"x" * 5000, rng.randbytes(50))))
    else:
        path.mkdir()
    return f"{name} beside it is a {kind}"


def _stage(rng: random.Random, file: Path, scene: Path) -> str:
    """A change that looks committed, and leads elsewhere."""
    name = rng.choice((".changes", ".staged", ".journal"))
    staged = file.parent / name
    if os.path.lexists(staged):
        raise Inapplicable
    if rng.random() < 0.3:
        staged.symlink_to(scene / "outside" / "dataset" / "data")
        return f"{name} is a link to outside"
    staged.mkdir()
    (staged / "metadata.json").write_text("{}")
    (staged / file.name).unlink(missing_ok=True)
    (staged / file.name).symlink_to(scene / "outside" / "secret.txt")
    (staged / "new").symlink_to(scene / "outside" / "empty")
    return f"{name} with links to outside"


_SORTS: dict[str, Callable[[random.Random, Path, Path], str]] = {"damage": _damage, "lie": _lie, "place": _misplace}
