"""Spaces: conversion between the values of steps and flat columns, and between spaces and JSON."""

from minari.spaces import ragged as _ragged  # noqa: F401  (registers its codecs)
from minari.spaces.codecs import (
    ArrayCodec,
    DictCodec,
    SpaceCodec,
    TextCodec,
    TupleCodec,
    codec_for,
    recorded_space,
    register_codec,
    unknown_space,
)
from minari.spaces.columns import (
    Column,
    ColumnPath,
    Columns,
    EpisodeBatch,
    EpisodeColumns,
    Leaf,
    has_flags,
    is_utf8_text,
    native,
    object_column,
    path_name,
    uniform_bound,
    without_ones,
)


__all__ = [
    "ArrayCodec",
    "Column",
    "Columns",
    "DictCodec",
    "EpisodeBatch",
    "EpisodeColumns",
    "Leaf",
    "ColumnPath",
    "SpaceCodec",
    "TextCodec",
    "TupleCodec",
    "codec_for",
    "has_flags",
    "is_utf8_text",
    "native",
    "object_column",
    "path_name",
    "recorded_space",
    "register_codec",
    "uniform_bound",
    "unknown_space",
    "without_ones",
]
