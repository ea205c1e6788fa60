"""Infos: conversion between dicts of any shape and columns, see :mod:`minari._model.infos.nested`."""

from minari._model.infos.nested import (
    append_info,
    columns_of_info,
    decode_infos,
    discard_info,
    encode_infos,
    info_places,
    places_of_info,
    rows_so_far,
    with_renamed_infos,
    without_info,
)


__all__ = [
    "append_info",
    "columns_of_info",
    "decode_infos",
    "discard_info",
    "encode_infos",
    "info_places",
    "places_of_info",
    "rows_so_far",
    "with_renamed_infos",
    "without_info",
]
