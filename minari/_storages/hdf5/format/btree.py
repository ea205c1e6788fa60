"""The members of a group in the form of every HDF5 library: a B-tree over names (III.A to III.D).

The tree is version 1 of HDF5. Leaves have the members in the order of their names; a node has the last name
in each child. The names themselves are in a heap. Many members are added at once, writing each leaf and each
node once, while HDF5 adds them one by one.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Final, Protocol, TypeAlias, TypeVar

from minari._storages.hdf5.format.objects import (
    CONTINUATION,
    HEADER,
    MESSAGE,
    SYMBOL_TABLE,
    UNDEFINED,
    Message,
    aligned,
    object_header,
    padded,
)


#: Half of the capacity of a leaf and of a node, unless a file says otherwise.
LEAF_K: Final = 4
NODE_K: Final = 16

_NODE = struct.Struct("<4sBBHQQQ")  # signature, type, level, children, left and right neighbors, first key
_LEFT_AT: Final = 8  # position of the left neighbor in a node
_CHILD = struct.Struct("<QQ")  # address, last key
_LEAF = struct.Struct("<4sBxH")  # signature, version, members
_SYMBOL = struct.Struct("<QQ24s")  # position of the name in the heap, address of the header, a cache
_HEAP = struct.Struct("<4sB3xQQQ")  # signature, version, size, first free block, address of the data
_FREE = struct.Struct("<QQ")  # next free block, size of this one
_NO_FREE_BLOCK: Final = 1
_NO_NAMES: Final = bytes(8)  # the empty name

_T = TypeVar("_T")


class File(Protocol):
    """A file with random access."""

    def read_at(self, offset: int, size: int) -> bytes:
        """Return bytes of the file."""

    def write_at(self, offset: int, view: memoryview) -> None:
        """Write bytes at an offset."""


#: Name, its position in the heap, address of the object header, and a cache for HDF5.
_Member: TypeAlias = tuple[bytes, int, int, bytes]
#: Address of a node or a leaf, and the position of the last name in it.
_Child: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Node:
    """A node of the tree.

    Attributes:
        address: address of the node.
        level: 0 if its children are leaves.
        left, right: addresses of its neighbors.
        first_key: the position of the last name before it.
        children: in the order of the names.
    """

    address: int
    level: int
    left: int
    right: int
    first_key: int
    children: list[_Child]


def empty_group(address: int) -> bytes:
    """Return a group without members, beginning with its header, for an address in a file."""
    tree = aligned(address + HEADER.size + MESSAGE.size + 16)
    node = _NODE.pack(b"TREE", 0, 0, 0, UNDEFINED, UNDEFINED, 0).ljust(_NODE.size + 2 * NODE_K * _CHILD.size, b"\0")
    heap, names = tree + len(node), _NO_NAMES
    header, _ = object_header([Message(SYMBOL_TABLE, struct.pack("<QQ", tree, heap))])
    return header + node + _HEAP.pack(b"HEAP", 0, len(names), _NO_FREE_BLOCK, heap + _HEAP.size) + names


def find_table(file: File, header: int) -> tuple[int, int] | None:
    """Return the addresses of the tree and the heap of a group; None for groups of the newer kind."""
    version, messages, _, size = HEADER.unpack(file.read_at(header, HEADER.size))
    if version != 1:
        return None
    blocks = [(header + HEADER.size, size)]
    for start, size in blocks:
        body, position = file.read_at(start, size), 0
        while position + MESSAGE.size <= len(body) and messages > 0:
            kind, length, _ = MESSAGE.unpack_from(body, position)
            position += MESSAGE.size
            messages -= 1
            if kind == SYMBOL_TABLE:
                tree, heap = struct.unpack_from("<QQ", body, position)
                return tree, heap
            if kind == CONTINUATION:  # HDF5 moves messages there when the group gets attributes
                blocks.append(struct.unpack_from("<QQ", body, position))
            position += length
    return None


class MemberTable:
    """Table to add members to a group.

    Args:
        file: the file.
        table: the addresses of the tree and the heap.
        end: end of the file, where new data is written.
        leaf_k: half the capacity of a leaf.
        node_k: half the capacity of a node.
    """

    def __init__(
        self, file: File, table: tuple[int, int], end: int, leaf_k: int = LEAF_K, node_k: int = NODE_K
    ) -> None:
        self._file = file
        self._tree, self._heap = table
        self._end = self._start = aligned(end)
        self._tail = bytearray()  # from the start on
        self._leaf_capacity, self._node_capacity = 2 * leaf_k, 2 * node_k
        self._leaf_size = _LEAF.size + self._leaf_capacity * _SYMBOL.size
        self._node_size = _NODE.size + self._node_capacity * _CHILD.size
        self._names = b""

    def add(self, names: Sequence[str], headers: Iterable[int]) -> int:
        """Add members whose names do not exist yet.

        Args:
            names: names of the members.
            headers: the addresses of their object headers.

        Returns:
            The new end of the file.

        Raises:
            ValueError, IndexError, struct.error: the group is damaged.
        """
        encoded = [name.encode() for name in names]
        places = self._add_names([padded(name + b"\0") for name in encoded])
        members = sorted(zip(encoded, places, headers, [bytes(24)] * len(encoded), strict=True))
        root = self._node(self._tree)
        children, level = self._merged(root, members), root.level
        while len(children) > self._node_capacity:  # the root stays in place, its content moves down
            children = self._write_nodes(level, children, None)
            level += 1
        self._write_node(_Node(root.address, level, UNDEFINED, UNDEFINED, 0, children))
        self._file.write_at(self._start, memoryview(self._tail))
        return self._end

    def _allocate(self, size: int) -> int:
        address = self._end
        self._end = aligned(address + size)
        return address

    def _write(self, address: int, data: bytes) -> None:
        if address < self._start:
            self._file.write_at(address, memoryview(data))
            return
        begin = address - self._start
        self._tail.extend(bytes(max(0, begin + len(data) - len(self._tail))))
        self._tail[begin : begin + len(data)] = data

    # The tree

    def _node(self, address: int) -> _Node:
        data = self._file.read_at(address, self._node_size)
        signature, kind, level, count, left, right, first_key = _NODE.unpack_from(data)
        if (signature, kind) != (b"TREE", 0) or count > self._node_capacity:
            raise ValueError(f"there is no list of members at byte {address}")
        children = list(_CHILD.iter_unpack(data[_NODE.size : _NODE.size + count * _CHILD.size]))
        return _Node(address, level, left, right, first_key, children)

    def _leaf(self, address: int) -> list[_Member]:
        data = self._file.read_at(address, self._leaf_size)
        signature, version, count = _LEAF.unpack_from(data)
        if (signature, version) != (b"SNOD", 1) or count > self._leaf_capacity:
            raise ValueError(f"there are no members at byte {address}")
        symbols = _SYMBOL.iter_unpack(data[_LEAF.size : _LEAF.size + count * _SYMBOL.size])
        return [(self._name(place), place, header, cache) for place, header, cache in symbols]

    def _merged(self, node: _Node, members: list[_Member]) -> list[_Child]:
        """Return the children of a node after adding members below it, in the order of their names."""
        if not node.children:
            return self._write_leaves(members, None)
        children: list[_Child] = []
        begin, last_child = 0, len(node.children) - 1
        for position, (address, last) in enumerate(node.children):
            end = bisect_right(members, (self._name(last), UNDEFINED)) if position < last_child else len(members)
            own, begin = members[begin:end], end
            if not own:
                children.append((address, last))
            elif node.level == 0:
                children += self._write_leaves(sorted(self._leaf(address) + own), address)
            else:
                child = self._node(address)
                if child.level != node.level - 1:
                    raise ValueError(f"the list of members at byte {address} is in a wrong place")
                children += self._write_nodes(child.level, self._merged(child, own), child)
        return children

    def _write_leaves(self, members: list[_Member], address: int | None) -> list[_Child]:
        """Write leaves with these members; the first replaces an existing one, if any."""
        children = []
        for part in _parts(members, self._leaf_capacity):
            place = self._allocate(self._leaf_size) if address is None else address
            address = None
            symbols = b"".join([_SYMBOL.pack(*member[1:]) for member in part])
            self._write(place, (_LEAF.pack(b"SNOD", 1, len(part)) + symbols).ljust(self._leaf_size, b"\0"))
            children.append((place, part[-1][1]))
        return children

    def _write_nodes(self, level: int, children: list[_Child], old: _Node | None) -> list[_Child]:
        """Write nodes with these children; the first replaces an existing one, if any."""
        parts = _parts(children, self._node_capacity)
        places = [self._allocate(self._node_size) for _ in parts[1 if old else 0 :]]
        left, after, first_key = UNDEFINED, UNDEFINED, 0
        if old:
            places, left, after, first_key = [old.address, *places], old.left, old.right, old.first_key
            if len(places) > 1 and after != UNDEFINED:
                self._write(after + _LEFT_AT, struct.pack("<Q", places[-1]))
        for place, right, part in zip(places, [*places[1:], after], parts, strict=True):
            self._write_node(_Node(place, level, left, right, first_key, part))
            left, first_key = place, part[-1][1]
        return [(place, part[-1][1]) for place, part in zip(places, parts, strict=True)]

    def _write_node(self, node: _Node) -> None:
        start = _NODE.pack(b"TREE", 0, node.level, len(node.children), node.left, node.right, node.first_key)
        children = b"".join([_CHILD.pack(*child) for child in node.children])
        self._write(node.address, (start + children).ljust(self._node_size, b"\0"))

    # The heap of names

    def _name(self, place: int) -> bytes:
        return self._names[place : self._names.index(0, place)]

    def _add_names(self, names: Sequence[bytes]) -> list[int]:
        """Add names to the heap and return their positions."""
        signature, _, size, free, address = _HEAP.unpack(self._file.read_at(self._heap, _HEAP.size))
        if signature != b"HEAP" or address + size > self._start:
            raise ValueError(f"there are no names at byte {self._heap}")
        data, added = self._file.read_at(address, size), b"".join(names)
        following, room = _FREE.unpack_from(data, free) if free != _NO_FREE_BLOCK else (_NO_FREE_BLOCK, 0)
        start, left = free, room - len(added)
        if left < _FREE.size and left != 0:  # a free block begins with its own description
            # Twice as large, so that names are rarely moved; the first ones, which often remain the only ones, exactly.
            start, left = size, aligned(size) + len(added) if size > len(_NO_NAMES) else 0
            data, following, size = data + bytes(len(added) + left), free, size + len(added) + left
            address = self._allocate(size)
            self._write(address, data)
        rest = _FREE.pack(following, left) if left else b""
        self._names = data[:start] + added + rest + data[start + len(added) + len(rest) :]
        self._write(address + start, added + rest)
        free = start + len(added) if left else following
        self._write(self._heap, _HEAP.pack(b"HEAP", 0, size, free, address))
        return list(accumulate(map(len, names), initial=start))[:-1]


def _parts(items: list[_T], most: int) -> list[list[_T]]:
    """Split items into the fewest possible parts of about equal length."""
    count = -(-len(items) // most)
    bounds = [len(items) * number // count for number in range(count + 1)]
    return [items[begin:end] for begin, end in pairwise(bounds)]
