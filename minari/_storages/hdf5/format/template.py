"""The objects of an episode as bytes: created once for each kind of episode, then only filled in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from minari._storages.hdf5.format.checksum import checksums
from minari._storages.hdf5.format.datatypes import Kind, encode_datatype
from minari._storages.hdf5.format.filters import Chunking
from minari._storages.hdf5.format.objects import (
    CHECKSUM_SIZE,
    LONGEST_NAME,
    MOST_DIMENSIONS,
    MOST_MESSAGES,
    UNDEFINED,
    VARIABLE_LENGTH,
    Field,
    Message,
    attribute,
    attribute_messages,
    chunked_dataset_messages,
    compact_header,
    dataset_messages,
    group_messages,
    link,
    object_header,
)


#: Name, kind and row shape of each leaf of an episode, and its chunks, if any. The name includes the groups of the
#: leaf, joined by slashes.
LeafKinds: TypeAlias = tuple[tuple[str, Kind, tuple[int, ...], "Chunking | None"], ...]
#: Name, kind and shape of each attribute of an episode.
AttributeKinds: TypeAlias = tuple[tuple[str, Kind, tuple[int, ...]], ...]

_GROUPS = ("observations", "actions", "infos")  # exist even if they are empty, for each agent
_REWARDS = "rewards"
_Tree: TypeAlias = dict[str, "_Tree | int"]


class NotWritable(ValueError):
    """HDF5 cannot represent an episode.

    Attributes:
        leaf: the number of the leaf that is the reason, if one is.
        attribute: the name of the attribute that is the reason, if one is.
    """

    def __init__(self, reason: str, *, leaf: int | None = None, attribute: str | None = None) -> None:
        super().__init__(reason)
        self.leaf, self.attribute = leaf, attribute


@dataclass(frozen=True, slots=True)
class EpisodeTemplate:
    """The contiguous objects of an episode, without the values that differ between episodes.

    Attributes:
        image: the bytes; addresses of links are relative to their beginning.
        fields: the image as a structured type.
        links: names of the fields that are addresses of links.
        sizes: names of the fields that are numbers of bytes.
        leaves: number of leaves; leaf i has the fields ``rows of i``, ``address of i`` and, unless it is
            chunked, ``size of i``.
        attributes: number of attributes; attribute i is the field ``attribute i``.
        header: offset of the header of the group of the episode.
        compact: the bounds of each header with a checksum behind it, and where its first field begins.
        item_sizes: size of a row of each leaf in bytes.
    """

    image: bytes
    fields: np.dtype[Any]
    links: tuple[str, ...]
    sizes: frozenset[str]
    leaves: int
    attributes: int
    header: int
    compact: tuple[tuple[int, int, int], ...]
    item_sizes: npt.NDArray[np.int64]

    def fill(
        self,
        address: int,
        rows: npt.NDArray[np.int64],
        addresses: npt.NDArray[np.int64],
        attributes: Sequence[Any],
    ) -> npt.NDArray[Any]:
        """Return the objects of several episodes, one after the other.

        Args:
            address: address of the first of them.
            rows: number of rows of each leaf, of shape (episodes, leaves).
            addresses: addresses of the values of each leaf, or of the table of its chunks, of the same shape.
            attributes: for each attribute, the values of all episodes.

        Returns:
            An array with one element per episode, whose bytes are written to the file.
        """
        count = len(rows)
        objects = np.frombuffer(bytearray(self.image) * count, self.fields)
        begin = np.arange(address, address + count * len(self.image), len(self.image), dtype=np.uint64)
        for name in self.links:
            objects[name] += begin
        sizes = rows * self.item_sizes
        found = np.where(sizes > 0, addresses.astype(np.uint64), np.uint64(UNDEFINED))
        for leaf in range(self.leaves):
            objects[f"rows of {leaf}"] = rows[:, leaf]
            objects[f"address of {leaf}"] = found[:, leaf]
            if f"size of {leaf}" in self.sizes:
                objects[f"size of {leaf}"] = sizes[:, leaf]
        for number, values in enumerate(attributes):
            is_text = isinstance(values[0], np.ndarray) and values[0].dtype == VARIABLE_LENGTH
            objects[f"attribute {number}"] = np.concatenate(values) if is_text else values
        content = objects.view(np.uint8).reshape(count, -1)
        for start, stop, first in self.compact:
            values = checksums(content[:, start:stop], first - start).astype("<u4")
            content[:, stop : stop + CHECKSUM_SIZE] = values.view(np.uint8).reshape(count, -1)
        return objects


@lru_cache(maxsize=256)
def episode_template(leaves: LeafKinds, attributes: AttributeKinds, *, counted: bool = False) -> EpisodeTemplate:
    """Return the template for episodes with these leaves and attributes.

    Args:
        leaves: the leaves.
        attributes: the attributes.
        counted: True if the objects need a count of references that can be changed, at the cost of larger headers.

    Raises:
        NotWritable: the names of the leaves cannot be names in a file, or HDF5 does not allow so many dimensions
            of a leaf, or so many leaves in one group, or so large an attribute.
        NoDatatype: HDF5 has no datatype for a leaf.
    """
    names = {leaf for leaf, *_ in leaves}
    tree: _Tree = {name: {} for name in _GROUPS if name not in names} if _REWARDS in names else {}
    for agent in [] if tree else dict.fromkeys(name.partition("/")[0] for name in names):
        if f"{agent}/{_REWARDS}" in names:
            tree[agent] = {name: {} for name in _GROUPS if f"{agent}/{name}" not in names}
    for number, (leaf, _, shape, _) in enumerate(leaves):
        if 1 + len(shape) > MOST_DIMENSIONS:
            dimensions = f"{1 + len(shape)} dimensions where HDF5 allows {MOST_DIMENSIONS}"
            raise NotWritable(f"with time they have {dimensions}", leaf=number)
        _add_to_tree(tree, leaf, number)
    image = bytearray()
    fields: list[Field] = []
    compact: list[tuple[int, int, int]] = []

    def add(messages: Sequence[Message]) -> int:
        if len(messages) > MOST_MESSAGES:
            raise NotWritable(f"it has about {len(messages)} keys in one place where HDF5 allows {MOST_MESSAGES}")
        start = len(image)
        header, found = object_header(messages) if counted else compact_header(messages)
        image.extend(header)
        fields.extend(Field(field.name, start + field.offset, field.format) for field in found)
        if not counted:
            first = min((field.offset for field in found), default=len(header))
            compact.append((start, len(image), start + first))
            image.extend(bytes(CHECKSUM_SIZE))
        return start

    def add_group(members: _Tree, further: Sequence[Message]) -> int:
        links = []
        for name, member in members.items():
            if isinstance(member, dict):
                position = add_group(member, [])
            else:
                label, (_, kind, shape, chunking) = str(member), leaves[member]
                datatype = encode_datatype(kind)
                if chunking is None:
                    position = add(dataset_messages(label, datatype, shape))
                else:
                    chunks, filters = chunking.shape, chunking.filters
                    position = add(chunked_dataset_messages(label, datatype, shape, chunks, filters))
            links.append((name, position))
        messages = [link(name, f"link to {position}", position) for name, position in links]
        return add([*group_messages(), *messages, *further])

    described = [_attribute(number, *kind) for number, kind in enumerate(attributes)]
    header = add_group(tree, described if counted else [*attribute_messages(), *described])
    item_sizes = [_format(kind).itemsize * int(np.prod(shape, dtype=np.int64)) for _, kind, shape, _ in leaves]
    return EpisodeTemplate(
        image=bytes(image),
        fields=_structure(fields, len(image)),
        links=tuple(field.name for field in fields if field.name.startswith("link")),
        sizes=frozenset(field.name for field in fields if field.name.startswith("size")),
        leaves=len(leaves),
        attributes=len(attributes),
        header=header,
        compact=tuple(compact),
        item_sizes=np.array(item_sizes, dtype=np.int64),
    )


def _structure(fields: Sequence[Field], size: int) -> np.dtype[Any]:
    names, formats, offsets = zip(*((field.name, field.format, field.offset) for field in fields), strict=True)
    description: Any = {"names": names, "formats": formats, "offsets": offsets, "itemsize": size}
    structure: np.dtype[Any] = np.dtype(description)
    return structure


def _add_to_tree(tree: _Tree, leaf: str, number: int) -> None:
    *groups, name = leaf.split("/")
    node: Any = tree
    for group in groups:
        node = node.setdefault(group, {}) if isinstance(node, dict) else None
    if not isinstance(node, dict) or name in node or not all(map(_is_name, [*groups, name])):
        raise NotWritable(
            f"the keys of a space must not be empty or '.', be longer than {LONGEST_NAME} bytes or other than UTF-8 "
            f"text without NUL, nor have slashes that make one the same as another",
            leaf=number,
        )
    node[name] = number


def _is_name(name: str) -> bool:
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        return False
    return name not in ("", ".") and b"\0" not in encoded and len(encoded) <= LONGEST_NAME


def _attribute(number: int, name: str, kind: Kind, shape: tuple[int, ...]) -> Message:
    value: np.dtype[Any] = np.dtype((_format(kind), shape)) if shape else _format(kind)
    try:
        return attribute(name, encode_datatype(kind), shape, Field(f"attribute {number}", 0, value))
    except ValueError as error:
        raise NotWritable(str(error), attribute=name) from None


def _format(kind: Kind) -> np.dtype[Any]:
    return VARIABLE_LENGTH if isinstance(kind, str) else kind
