"""Compression of columns: the choice of the user, and the codec of each column."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from minari._base.json_text import shortened
from minari._base.suggestions import did_you_mean
from minari.errors import CompressionError
from minari.spaces import FRAMES, ColumnPath, Leaf, is_of_agent, path_name


#: A user's choice: a codec for all columns, codecs for some of them, or None for the default.
CompressionChoice: TypeAlias = str | Mapping[str, str] | None
#: The codecs of a format, each with its levels; None if it has none.
Codecs: TypeAlias = Mapping[str, range | None]

NONE = "none"
_PARTS = ("observations", "actions", "rewards", "terminations", "truncations", "infos")
_SMALLEST_FRAME = 1024  # values; compressing smaller images is not worth the time


@dataclass(frozen=True, slots=True)
class Codec:
    """A codec and its level.

    >>> Codec.parse("gzip:9")
    Codec(name='gzip', level=9)
    >>> str(Codec("lzf"))
    'lzf'

    Attributes:
        name: name in the table of the format's codecs.
        level: compression level; None for the codec's own default.
    """

    name: str
    level: int | None = None

    @classmethod
    def parse(cls, text: Any) -> Codec:
        """Return the codec written as ``name`` or ``name:level``.

        Raises:
            CompressionError: the text has another form.
        """
        name, colon, level = text.partition(":") if isinstance(text, str) else ("", "", "")
        if not name or (colon and not (level.isdecimal() and len(level) < 5)):
            raise CompressionError(
                f"{shortened(text)} is not a codec, expected its name ('gzip'), its name and a level ('gzip:9'), or "
                f"'none'."
            )
        return cls(name, int(level) if colon else None)

    def __str__(self) -> str:
        return self.name if self.level is None else f"{self.name}:{self.level}"


class Compression:
    """Return the compression of a dataset.

    Args:
        choice: the choice of the user, or from ``metadata.json``.
        frames: the columns of frames, which are compressed by default.
        frame_codec: the default codec of frames.
        columns: the columns that are known in advance, to detect mistakes in the choice; excludes infos.
        encoded: columns with another encoding, which are never compressed.

    Attributes:
        frames: the columns of frames without another encoding.

    Raises:
        CompressionError: the choice is invalid, or names an unknown column.
    """

    def __init__(
        self,
        choice: CompressionChoice,
        frames: Iterable[ColumnPath] = (),
        frame_codec: Codec | None = None,
        columns: Iterable[ColumnPath] = (),
        encoded: Iterable[ColumnPath] = (),
    ) -> None:
        self._encoded = frozenset(encoded)
        self.frames, self._frame_codec = frozenset(frames) - self._encoded, frame_codec
        self._by_name: dict[str, Codec | None] = {}
        self._choice = choice
        if isinstance(choice, Mapping):
            known = {name for path in columns for name in _names_of(path)} | set(_PARTS)
            for name, text in choice.items():
                if name not in known and not str(name).startswith("infos/"):
                    raise CompressionError(
                        f"The compression of {name!r} is given, and the dataset has no such column, expected some of "
                        f"{sorted(known)}.{did_you_mean(name, known)}"
                    )
                self._by_name[name] = _codec(text)
        elif choice is not None:
            self._by_name[""] = _codec(choice)

    @property
    def stored(self) -> str | dict[str, str] | None:
        """Return the value for ``metadata.json``; None if nothing was chosen."""
        return dict(self._choice) if isinstance(self._choice, Mapping) else self._choice

    @property
    def codecs(self) -> set[Codec | None]:
        """Return every codec that a column may use; includes None if some columns are not compressed."""
        usual: set[Codec | None] = {self._frame_codec, None} if self.frames else {None}
        return set(self._by_name.values()) | (set() if "" in self._by_name else usual)

    def codec_for(self, path: ColumnPath) -> Codec | None:
        """Return the codec of a column, None if it is not compressed."""
        if path in self._encoded:
            return None
        for name in _names_of(path):
            if name in self._by_name:
                return self._by_name[name]
        if "" in self._by_name:
            return self._by_name[""]
        return self._frame_codec if path in self.frames else None


def _names_of(path: ColumnPath) -> list[str]:
    """Return the names of a column in a choice, from the most specific one on: its own, and those of what has it.

    >>> _names_of(("agents", "agent_0", "actions"))
    ['agents/agent_0/actions', 'agents/agent_0', 'actions', 'agents']
    """
    if path[0] == FRAMES:
        path = path[1:]  # chosen with the stacks that consist of them
    names = [path_name(path[:length]) for length in range(len(path), 0, -1)]
    if is_of_agent(path):
        names[-1:-1] = [path_name(path[2:length]) for length in range(len(path), 2, -1)]
    return names


def _codec(text: Any) -> Codec | None:
    return None if text == NONE else Codec.parse(text)


def is_frame(leaf: Leaf) -> bool:
    """Return whether the values of a leaf are images: uint8 boxes of two or more dimensions that are not tiny."""
    is_box = leaf.dtype == np.uint8 and leaf.low is not None
    return is_box and len(leaf.shape) >= 2 and math.prod(leaf.shape) >= _SMALLEST_FRAME


def check_codec(codec: Codec, codecs: Codecs, data_format: str) -> None:
    """Raise unless a format supports a codec.

    Raises:
        CompressionError: the format does not support it, or not at that level.
    """
    if codec.name not in codecs:
        known = ", ".join(map(repr, [NONE, *codecs]))
        raise CompressionError(
            f"The format {data_format!r} has no codec {shortened(codec.name)}, expected one of {known}."
            f"{did_you_mean(codec.name, [NONE, *codecs])}"
        )
    levels = codecs[codec.name]
    if codec.level is not None and (levels is None or codec.level not in levels):
        expected = "no level" if levels is None else f"one from {levels.start} to {levels.stop - 1}"
        raise CompressionError(f"The codec {codec.name!r} is given the level {codec.level}, expected {expected}.")
