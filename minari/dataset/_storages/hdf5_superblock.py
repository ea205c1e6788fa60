"""The first bytes of an HDF5 file: where it ends, and how to say that it ends further on.

The layouts are those of the HDF5 File Format Specification, II.A.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from minari.dataset._storages.hdf5_checksum import checksum
from minari.dataset._storages.hdf5_members import LEAF_K, NODE_K
from minari.errors import DatasetCorruptError


#: How many bytes of a file to give to :func:`read_superblock`.
SUPERBLOCK_SIZE: Final = 100

_SIGNATURE: Final = b"\x89HDF\r\n\x1a\n"
_UNDEFINED: Final = b"\xff" * 8
_CHECKSUM_AT: Final = 44

#: Bytes of what :func:`new_superblock` returns.
NEW_SUPERBLOCK_SIZE: Final = 48


@dataclass(frozen=True, slots=True)
class Superblock:
    """What a file says about itself at its beginning.

    Attributes:
        data: the bytes of the superblock.
        end_at: where among them the end of the file stands.
        root: the address of the header of the root group.
        leaf_k, node_k: half the size of leaves and nodes of its groups.
        in_use: whether a program marked the file as being written in place, and did not take that back.
    """

    data: bytes
    end_at: int
    root: int
    leaf_k: int
    node_k: int
    in_use: bool

    @property
    def end(self) -> int:
        """Where the file ends."""
        end: int = struct.unpack_from("<Q", self.data, self.end_at)[0]
        return end

    def with_end(self, end: int) -> bytes:
        """The bytes of the superblock of a file that ends elsewhere."""
        data = bytearray(self.data)
        struct.pack_into("<Q", data, self.end_at, end)
        if data[8] >= 2:
            struct.pack_into("<I", data, _CHECKSUM_AT, checksum(bytes(data[:_CHECKSUM_AT])))
        return bytes(data)


def read_superblock(start: bytes, name: str) -> Superblock:
    """The superblock at the beginning of a file.

    Args:
        start: the first ``SUPERBLOCK_SIZE`` bytes of the file, or all where it is shorter.
        name: of the file, for errors.

    Raises:
        DatasetCorruptError: the file is not HDF5, or laid out in a way in which it cannot be extended.
    """
    version = start[8] if len(start) >= 48 and start[:8] == _SIGNATURE else None
    if version in (0, 1) and start[13:15] == b"\x08\x08":
        base = 24 + 4 * version
        if len(start) >= base + 72 and start[base : base + 8] == bytes(8):
            (root,) = struct.unpack_from("<Q", start, base + 40)
            leaf_k, node_k = struct.unpack_from("<HH", start, 16)
            return Superblock(start[: base + 72], base + 16, root, leaf_k, node_k, in_use=False)
    elif version in (2, 3) and start[9:11] == b"\x08\x08" and start[12:28] == bytes(8) + _UNDEFINED:
        in_use = version == 3 and bool(start[11] & 1)  # version 2 does not have the mark, whatever stands there
        (root,) = struct.unpack_from("<Q", start, 36)
        return Superblock(start[:48], 28, root, LEAF_K, NODE_K, in_use)
    elif version is None:
        raise DatasetCorruptError(
            f"{name} cannot be read as HDF5; it is cut off, damaged or another kind of file, so copy or download "
            f"it again. (Where it has a user block, rewrite it with h5repack first.)"
        )
    raise DatasetCorruptError(
        f"{name} is laid out in a way that cannot be extended (superblock version {version}, with an unusual "
        f"size of addresses, a user block or an extension); rewrite it with h5repack first."
    )


def new_superblock(root: int, end: int) -> bytes:
    """The beginning of a new file, in the version that has the mark of a file being written in place.

    Args:
        root: the address of the header of the root group.
        end: where the file ends.
    """
    sizes_of_addresses_and_lengths = 8, 8
    data = struct.pack("<8sBBBBQ8sQQ", _SIGNATURE, 3, *sizes_of_addresses_and_lengths, 0, 0, _UNDEFINED, end, root)
    return data + struct.pack("<I", checksum(data))
