"""One walk over a Gymnasium space: from the values of its steps to flat columns, and back."""

from minari.spaces import ragged as _ragged  # noqa: F401  (registers its codecs)
from minari.spaces.codecs import ArrayCodec, SpaceCodec, codec_for, register_codec
from minari.spaces.columns import (
    Column,
    Columns,
    EpisodeColumns,
    Leaf,
    Path,
    has_flags,
    is_utf8_text,
    native,
    object_column,
    path_name,
    without_ones,
)


__all__ = [
    "ArrayCodec",
    "Column",
    "Columns",
    "EpisodeColumns",
    "Leaf",
    "Path",
    "SpaceCodec",
    "codec_for",
    "has_flags",
    "is_utf8_text",
    "native",
    "object_column",
    "path_name",
    "register_codec",
    "without_ones",
]
