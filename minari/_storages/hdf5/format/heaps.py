"""Storage of variable-size data: global heaps (III.E), fractal heaps (III.G) and their indexes (III.A.2)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from minari._storages.hdf5.format.checksum import checksum
from minari._storages.hdf5.format.objects import CHECKSUM_SIZE, COLLECTION, OBJECT, UNDEFINED, aligned
from minari._storages.hdf5.format.source import NotUnderstood, Source


_MOST_KEPT: Final = 2**20  # bytes of collections kept for neighboring values


def read_checked(source: Source, address: int, size: int) -> bytes:
    """Return bytes that are followed by their checksum.

    Raises:
        ValueError: the checksum does not match.
    """
    return without_checksum(source.read(address, size + CHECKSUM_SIZE), address)


def without_checksum(data: bytes, address: int) -> bytes:
    """Return bytes from an address of the file without the checksum at their end.

    Raises:
        ValueError: it does not match.
    """
    content = data[:-CHECKSUM_SIZE]
    if checksum(content).to_bytes(CHECKSUM_SIZE, "little") != data[-CHECKSUM_SIZE:]:
        raise ValueError(f"the checksum of what lies at byte {address} is wrong")
    return content


class _Collection:
    """A collection of the global heap, whose objects are located one after the other on demand."""

    __slots__ = ("_address", "_data", "_objects", "_position")

    def __init__(self, source: Source, address: int) -> None:
        signature, version, size = COLLECTION.unpack(source.read(address, COLLECTION.size))
        if (signature, version) != (b"GCOL", 1) or size < COLLECTION.size:
            raise ValueError(f"there is no heap at byte {address}")
        self._address, self._data = address, source.read(address, size)
        self._objects: dict[int, tuple[int, int]] = {}  # the start and end of each
        self._position = COLLECTION.size

    @property
    def size(self) -> int:
        """Return the number of its bytes."""
        return len(self._data)

    def get(self, number: int, length: int) -> bytes:
        found = self._objects.get(number) or self._find(number)
        begin, end = found
        if end - begin < length:
            raise ValueError(
                f"object {number} of the heap at byte {self._address} has {end - begin} bytes, expected {length}"
            )
        return self._data[begin : begin + length]

    def _find(self, wanted: int) -> tuple[int, int]:
        data, position, last = self._data, self._position, len(self._data) - OBJECT.size
        unpack = OBJECT.unpack_from
        while position <= last:
            number, length = unpack(data, position)
            if number == 0:  # the free space
                break
            begin = position + OBJECT.size
            position = begin + aligned(length)
            if begin + length > len(data):
                raise ValueError(f"object {number} of the heap at byte {self._address} reaches beyond its end")
            self._objects[number] = begin, begin + length
            if number == wanted:
                self._position = position
                return begin, begin + length
        self._position = len(data)
        raise ValueError(f"the heap at byte {self._address} has no object {wanted}")


class GlobalHeapReader:
    """Reader of byte strings in the collections of the global heap.

    Args:
        source: the file.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._collections: dict[int, _Collection] = source.kept

    def values(self, elements: npt.NDArray[Any]) -> list[bytes]:
        """Return the byte strings that elements of variable length refer to.

        Raises:
            ValueError: one of them does not exist.
        """
        lengths = elements["length"]
        self._source.count(int(lengths.sum(dtype=np.uint64)))
        addresses, numbers = (elements[name].tolist() for name in ("collection", "object"))
        found, last, collection = [], None, None
        for length, address, number in zip(lengths.tolist(), addresses, numbers, strict=True):
            if length == 0:
                found.append(b"")
                continue
            if collection is None or address != last:
                last, collection = address, self._collection(address)
            found.append(collection.get(number, length))
        return found

    def _collection(self, address: int) -> _Collection:
        collection = self._collections.get(address)
        if collection is None:
            while self._collections and sum(kept.size for kept in self._collections.values()) > _MOST_KEPT:
                del self._collections[next(iter(self._collections))]
            collection = self._collections[address] = _Collection(self._source, address)
        return collection


_TREE: Final = struct.Struct("<4sBBIHHBBQHQ")
_TREE_NODE_OVERHEAD: Final = 10  # signature, version, type and checksum


def tree_records(source: Source, address: int, kind: int, size: int) -> Iterator[bytes]:
    """Yield the records of a B-tree of version 2.

    Args:
        source: the file.
        address: address of the header of the tree.
        kind: kind of its records.
        size: size of a record.

    Raises:
        ValueError: the tree is damaged.
    """
    header = _TREE.unpack(read_checked(source, address, _TREE.size))
    signature, version, found_kind, node_size, found_size, depth, _, _, root, root_records, _ = header
    if (signature, version, found_kind, found_size) != (b"BTHD", 0, kind, size):
        raise ValueError(f"the index at byte {address} is none of that kind")
    if root == UNDEFINED or root_records == 0:
        return
    most = (node_size - _TREE_NODE_OVERHEAD) // size
    if most < 1 or depth > 32:
        raise ValueError(f"the index at byte {address} is damaged")
    # For each level: the number of bytes for the number of all records below one of its nodes.
    count_width, widths, below = _width(most), [0], most
    for _ in range(depth):
        pointer = 8 + count_width + widths[-1]
        own = max(0, node_size - _TREE_NODE_OVERHEAD - pointer) // (size + pointer)
        below = (own + 1) * below + own
        widths.append(_width(below))
    yield from _node_records(source, root, root_records, depth, (kind, size, count_width, widths))


def _width(limit: int) -> int:
    return (max(limit, 1).bit_length() - 1) // 8 + 1


def _node_records(
    source: Source, address: int, count: int, depth: int, form: tuple[int, int, int, list[int]]
) -> Iterator[bytes]:
    kind, size, count_width, widths = form
    pointer = 8 + count_width + widths[depth - 1] if depth else 0
    length = 6 + count * size + (count + 1) * pointer
    data = read_checked(source, address, length)
    if data[:6] != (b"BTIN" if depth else b"BTLF") + bytes([0, kind]):
        raise ValueError(f"there is no part of an index at byte {address}")
    records = [data[6 + number * size : 6 + (number + 1) * size] for number in range(count)]
    if not depth:
        yield from records
        return
    for number in range(count + 1):
        at = 6 + count * size + number * pointer
        child = int.from_bytes(data[at : at + 8], "little")
        child_count = int.from_bytes(data[at + 8 : at + 8 + count_width], "little")
        yield from _node_records(source, child, child_count, depth - 1, form)
        if number < count:
            yield records[number]


_FRACTAL: Final = struct.Struct("<4sBHHBI12QHQQHHQH")
_MANAGED, _TINY = 0, 2


class FractalHeap:
    """Reader of the objects of a fractal heap.

    Args:
        source: the file.
        address: address of the header of the heap.

    Raises:
        ValueError: there is no such heap.
    """

    def __init__(self, source: Source, address: int) -> None:
        self._source = source
        if source.read(address, 9)[7:] != bytes(2):  # the length of its filters
            raise NotUnderstood("a heap that is compressed")
        signature, version, _, filters, _, most_managed, *_, width, start, most_direct, bits, _, root, rows = (
            _FRACTAL.unpack(read_checked(source, address, _FRACTAL.size))
        )
        if (signature, version, filters) != (b"FRHP", 0, 0):
            raise ValueError(f"there is no heap at byte {address}")
        for number in (width, start, most_direct):
            if number < 1 or number & (number - 1):
                raise ValueError(f"the heap at byte {address} is damaged")
        if bits > 64 or most_direct < start:
            raise ValueError(f"the heap at byte {address} is damaged")
        self._width, self._start, self._root, self._rows = width, start, root, rows
        self._direct_rows = most_direct.bit_length() - start.bit_length() + 2
        self._offset_width = (bits + 7) // 8
        self._length_width = min((most_direct.bit_length() - 1 + 7) // 8, _width(most_managed))
        self._blocks: dict[int, bytes] = {}

    def get(self, identifier: bytes) -> bytes:
        """Return an object.

        Raises:
            ValueError: it does not exist.
        """
        kind = identifier[0] >> 4 & 3
        if identifier[0] >> 6:
            raise ValueError("an object of a heap has an unknown kind of identifier")
        if kind == _TINY:
            return identifier[1 : 2 + (identifier[0] & 15)]
        if kind != _MANAGED:
            raise NotUnderstood("an object that is too large for its heap")
        end = 1 + self._offset_width
        offset = int.from_bytes(identifier[1:end], "little")
        length = int.from_bytes(identifier[end : end + self._length_width], "little")
        if not self._rows:
            return self._object(self._root, self._start, offset, length)
        return self._find(self._root, self._rows, offset, length)

    def _object(self, block: int, size: int, offset: int, length: int) -> bytes:
        if block == UNDEFINED or offset + length > size:
            raise ValueError("an object lies outside its heap")
        if block not in self._blocks:
            self._blocks[block] = self._source.read(block, size)
            if self._blocks[block][:4] != b"FHDB":
                raise ValueError(f"there is no part of a heap at byte {block}")
        self._source.count(length)
        return self._blocks[block][offset : offset + length]

    def _find(self, block: int, rows: int, offset: int, length: int) -> bytes:
        """Return an object below an indirect block by its offset from the start of the block."""
        first_row = self._start * self._width
        row = 0 if offset < first_row else (offset // first_row).bit_length()
        size = self._start << max(0, row - 1)
        column, inside = divmod(offset - (first_row << (row - 1) if row else 0), size)
        if row >= rows:
            raise ValueError("an object lies outside its heap")
        at = 13 + self._offset_width + 8 * (row * self._width + column)
        signature, child = self._source.read(block, 4), self._source.read(block + at, 8)
        address = int.from_bytes(child, "little")
        if signature != b"FHIB" or address == UNDEFINED:
            raise ValueError(f"there is no part of a heap at byte {block}")
        if row < self._direct_rows:
            return self._object(address, size, inside, length)
        return self._find(address, size.bit_length() - first_row.bit_length() + 1, inside, length)
