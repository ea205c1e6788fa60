"""The first bytes of an HDF5 file: its end, and how to move it.

The layouts are those of the HDF5 File Format Specification, II.A.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from minari._storages.hdf5.format.btree import LEAF_K, NODE_K
from minari._storages.hdf5.format.checksum import checksum
from minari._storages.hdf5.format.source import NotUnderstood, Source


#: Number of bytes of a file to pass to :func:`read_superblock`.
SUPERBLOCK_SIZE: Final = 100

_SIGNATURE: Final = b"\x89HDF\r\n\x1a\n"
_UNDEFINED: Final = b"\xff" * 8
_CHECKSUM_AT: Final = 44
_ANOTHER_KIND: Final = "it is cut off, damaged or another kind of file"

#: For each version, the positions of the size of addresses, the end of the file, and the address of the root.
_PLACES: Final[dict[int | None, tuple[int, int, int]]] = {
    0: (13, 40, 64),
    1: (13, 44, 68),
    2: (9, 28, 36),
    3: (9, 28, 36),
}

#: Size of the result of :func:`new_superblock`.
NEW_SUPERBLOCK_SIZE: Final = 48


@dataclass(frozen=True, slots=True)
class Superblock:
    """The description of a file at its beginning.

    Attributes:
        data: the bytes of the superblock.
        end_at: position of the end of the file in it.
        root: the address of the header of the root group.
        leaf_k, node_k: half the capacity of leaves and nodes of its groups.
        in_use: True if a program marked the file as being written in place and did not remove the mark.
    """

    data: bytes
    end_at: int
    root: int
    leaf_k: int
    node_k: int
    in_use: bool

    @property
    def end(self) -> int:
        """Return the end of the file."""
        end: int = struct.unpack_from("<Q", self.data, self.end_at)[0]
        return end

    def with_end(self, end: int) -> bytes:
        """Return the bytes of the superblock of a file with another end."""
        data = bytearray(self.data)
        struct.pack_into("<Q", data, self.end_at, end)
        if data[8] >= 2:
            struct.pack_into("<I", data, _CHECKSUM_AT, checksum(bytes(data[:_CHECKSUM_AT])))
        return bytes(data)


def find_superblock(source: Source) -> Superblock:
    """Return the superblock of a read-only file, and set the origin of the addresses of the source.

    Args:
        source: the file.

    Raises:
        ValueError: the file is not HDF5, or cut off.
        NotUnderstood: it has addresses of another size.
    """
    place, following, start = 0, 0, b""
    while following + 48 <= source.size and start[:8] != _SIGNATURE:
        place, following = following, max(512, 2 * following)  # after a user block
        start = source.read(place, min(SUPERBLOCK_SIZE, source.size - place))
    source.base = place
    version = start[8] if start[:8] == _SIGNATURE else None
    places = _PLACES.get(version)
    if places is None or len(start) < places[2] + 8:
        raise ValueError(_ANOTHER_KIND)
    if version not in (0, 1) and struct.unpack_from("<I", start, _CHECKSUM_AT)[0] != checksum(start[:_CHECKSUM_AT]):
        raise ValueError(_ANOTHER_KIND)
    sizes_at, end_at, root_at = places
    if start[sizes_at : sizes_at + 2] != b"\x08\x08":
        raise NotUnderstood("addresses of an unusual size")
    end, root = (struct.unpack_from("<Q", start, at)[0] for at in (end_at, root_at))
    if end > source.size:
        raise ValueError(f"it has {source.size} bytes of {end}, so it is cut off")
    return Superblock(start, end_at, root, LEAF_K, NODE_K, version == 3 and bool(start[11] & 1))


def read_superblock(start: bytes) -> Superblock:
    """Return the superblock at the beginning of a file to be extended.

    Args:
        start: the first ``SUPERBLOCK_SIZE`` bytes of the file, or all if it is shorter.

    Raises:
        ValueError: the file is not HDF5.
        NotUnderstood: it is laid out in a way in which it cannot be extended.
    """
    version = start[8] if len(start) >= 48 and start[:8] == _SIGNATURE else None
    if version in (0, 1) and start[13:15] == b"\x08\x08":
        base = 24 + 4 * version
        if len(start) >= base + 72 and start[base : base + 8] == bytes(8):
            (root,) = struct.unpack_from("<Q", start, base + 40)
            leaf_k, node_k = struct.unpack_from("<HH", start, 16)
            return Superblock(start[: base + 72], base + 16, root, leaf_k, node_k, in_use=False)
    elif version in (2, 3) and start[9:11] == b"\x08\x08" and start[12:28] == bytes(8) + _UNDEFINED:
        in_use = version == 3 and bool(start[11] & 1)  # version 2 does not have the mark, whatever the bits are
        (root,) = struct.unpack_from("<Q", start, 36)
        return Superblock(start[:48], 28, root, LEAF_K, NODE_K, in_use)
    elif version is None:
        raise ValueError(_ANOTHER_KIND)
    raise NotUnderstood(
        f"superblock version {version}, with an unusual size of addresses, a user block or an extension"
    )


def new_superblock(root: int, end: int) -> bytes:
    """Return the beginning of a new file, in the version with the mark of a file being written in place.

    Args:
        root: the address of the header of the root group.
        end: end of the file.
    """
    sizes_of_addresses_and_lengths = 8, 8
    data = struct.pack("<8sBBBBQ8sQQ", _SIGNATURE, 3, *sizes_of_addresses_and_lengths, 0, 0, _UNDEFINED, end, root)
    return data + struct.pack("<I", checksum(data))
