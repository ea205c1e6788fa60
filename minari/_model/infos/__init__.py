"""Infos: conversion between dicts of any shape and columns, see :mod:`minari._model.infos.nested`."""

from minari._model.infos.nested import (
    append_info,
    columns_of_info,
    decode_infos,
    discard_info,
    encode_infos,
    rows_so_far,
)


__all__ = ["append_info", "columns_of_info", "decode_infos", "discard_info", "encode_infos", "rows_so_far"]
