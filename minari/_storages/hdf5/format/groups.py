"""The members of groups in the forms of all HDF5 versions (III.A to III.D, IV.A.2).

Old groups have a B-tree over names; new ones have links in their header or, if there are many, in a heap.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from minari._storages.hdf5.format.headers import Messages, the_message
from minari._storages.hdf5.format.heaps import FractalHeap, tree_records
from minari._storages.hdf5.format.objects import LINK, LINK_INFO, SYMBOL_TABLE, UNDEFINED
from minari._storages.hdf5.format.source import NotUnderstood, Source


_NODE: Final = struct.Struct("<4sBBHQQ")  # signature, type, level, children, left and right neighbors
_KEY: Final = 8
_LEAF: Final = struct.Struct("<4sBxH")  # signature, version, members
_SYMBOL: Final = struct.Struct("<QQI4xI12x")  # position of the name, address of the object, kind, position of a path
_HEAP: Final = struct.Struct("<4sB3xQQQ")  # signature, version, size, first free block, address of the data
_SOFT_SYMBOL: Final = 2
_HARD, _SOFT, _EXTERNAL = 0, 1, 64
_LINK_RECORD: Final = (5, 11)  # the kind of the records of the link index, and their size
_MOST_LEVELS: Final = 32


@dataclass(frozen=True, slots=True)
class Link:
    """The target of a member of a group.

    Attributes:
        address: address of its object; None if it is elsewhere.
        path: path of the object, if the link has one instead of an address.
        file: file that contains the object, if it is another one.
    """

    address: int | None
    path: str = ""
    file: str | None = None


def is_group(messages: Messages) -> bool:
    """Return whether an object with these messages is a group."""
    return not messages.keys().isdisjoint((SYMBOL_TABLE, LINK_INFO, LINK))


def members(source: Source, messages: Messages) -> dict[str, Link]:
    """Return the members of a group, in the order of the file.

    Args:
        source: the file.
        messages: messages of the group.

    Raises:
        ValueError: the group is damaged.
        NotUnderstood: it is stored in an unusual way.
    """
    table = the_message(messages, SYMBOL_TABLE)
    if table is not None:
        tree, heap = struct.unpack_from("<QQ", table)
        return dict(_symbols(source, tree, heap))
    found = dict(_decode_link(body) for _, body in messages.get(LINK, ()))
    info = the_message(messages, LINK_INFO)
    if info is not None:
        heap_at, index_at = struct.unpack_from("<QQ", info, 10 if info[1] & 1 else 2)
        if heap_at != UNDEFINED:
            links = FractalHeap(source, heap_at)
            for record in tree_records(source, index_at, *_LINK_RECORD):
                name, link = _decode_link(links.get(record[4:]))
                found[name] = link
    return found


def _symbols(source: Source, tree: int, heap: int) -> Iterator[tuple[str, Link]]:
    signature, version, size, _, address = _HEAP.unpack(source.read(heap, _HEAP.size))
    if (signature, version) != (b"HEAP", 0):
        raise ValueError(f"there are no names at byte {heap}")
    names = source.read(address, size)
    for leaf in _leaves(source, tree, None):
        signature, version, count = _LEAF.unpack(source.read(leaf, _LEAF.size))
        if (signature, version) != (b"SNOD", 1):
            raise ValueError(f"there are no members at byte {leaf}")
        symbols = source.read(leaf + _LEAF.size, count * _SYMBOL.size)
        for place, target, kind, path in _SYMBOL.iter_unpack(symbols):
            name = _text(names, place)
            source.count(len(name))
            yield name, Link(None, _text(names, path)) if kind == _SOFT_SYMBOL else Link(target)


def _leaves(source: Source, address: int, level: int | None) -> Iterator[int]:
    signature, kind, found_level, count, *_ = _NODE.unpack(source.read(address, _NODE.size))
    if (signature, kind) != (b"TREE", 0) or found_level != (found_level if level is None else level):
        raise ValueError(f"there is no list of members at byte {address}")
    if found_level > _MOST_LEVELS:
        raise ValueError(f"the list of members at byte {address} is too deep")
    data = source.read(address + _NODE.size, count * (_KEY + 8))
    for (child,) in struct.iter_unpack("<8xQ", data):
        if found_level == 0:
            yield child
        else:
            yield from _leaves(source, child, found_level - 1)


def _text(names: bytes, place: int) -> str:
    if place >= len(names):
        raise ValueError("the name of a member lies outside the names")
    return names[place : names.index(0, place)].decode()


def _decode_link(body: bytes) -> tuple[str, Link]:
    version, flags = body[:2]
    if version != 1:
        raise NotUnderstood(f"a link of version {version}")
    position, kind = 2, _HARD
    if flags & 8:
        kind, position = body[position], position + 1
    position += (8 if flags & 4 else 0) + (1 if flags & 16 else 0)
    width = 1 << (flags & 3)
    length = int.from_bytes(body[position : position + width], "little")
    begin = position + width
    end = begin + length
    if end > len(body):
        raise ValueError("a link is cut off")
    return body[begin:end].decode(), _target(kind, body, end)


def _target(kind: int, body: bytes, position: int) -> Link:
    if kind == _HARD:
        return Link(struct.unpack_from("<Q", body, position)[0])
    (length,) = struct.unpack_from("<H", body, position)
    value = body[position + 2 : position + 2 + length]
    if kind == _SOFT:
        return Link(None, value.decode())
    if kind == _EXTERNAL and value[:1] == b"\0":
        file, path, *_ = value[1:].split(b"\0")
        return Link(None, path.decode(), file.decode())
    return Link(None)  # of a user-defined kind
