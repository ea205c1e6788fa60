"""Feather and Parquet files, written with pyarrow."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from benchmarks.rivals.rival import Content, Draw, Rival, Rows
from benchmarks.rivals.source import FIELDS, Array, Source


def _column(values: Array) -> Any:
    """Return an Arrow array with one element for each row: a list of numbers, or the bytes of a frame."""
    import pyarrow as pa

    flat = np.ascontiguousarray(values).reshape(-1)
    if values.ndim == 4:
        size = flat.size // len(values)
        return pa.FixedSizeBinaryArray.from_buffers(pa.binary(size), len(values), [None, pa.py_buffer(flat)])
    if values.ndim == 1:
        return pa.array(flat)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), values.shape[1])


def values_of(column: Any) -> Array:
    """Return the values of a column, without a copy where Arrow permits that."""
    import pyarrow as pa

    whole = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    if pa.types.is_fixed_size_binary(whole.type):
        frames = np.frombuffer(whole.buffers()[1], np.uint8)
        size = whole.type.byte_width
        return frames[whole.offset * size : (whole.offset + len(whole)) * size].reshape(len(whole), 84, 84, 3)
    if pa.types.is_fixed_size_list(whole.type):
        found: Array = whole.flatten().to_numpy(zero_copy_only=False)
        return found.reshape(len(whole), -1)
    return whole.to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def tables(source: Source) -> dict[str, Any]:
    """Return the tables of observations, steps and lengths."""
    import pyarrow as pa

    steps = {name: _column(getattr(source, name)) for name in FIELDS[1:]}
    return {
        "observations": pa.table({"observations": _column(source.observations)}),
        "steps": pa.table(steps),
        "episodes": pa.table({"lengths": _column(source.lengths)}),
    }


class Feather(Rival):
    """Arrow files without compression, which are mapped."""

    NAME = "feather"
    TITLE = "Feather, pyarrow"
    NOTE = "Three tables, of observations, steps and lengths, uncompressed and mapped."
    REQUIREMENTS = ("pyarrow>=15",)
    OPTIONS: ClassVar[dict[str, Any]] = {"compression": "uncompressed", "chunksize": 2**31 - 1}

    def prepare(self) -> None:
        import pyarrow.feather  # noqa: F401

        with suppress(ImportError):
            import pandas  # noqa: F401  # which pyarrow imports when it is first asked to write

    def write(self, source: Source, path: Path) -> None:
        from pyarrow import feather

        for name, table in tables(source).items():
            feather.write_feather(table, str(path / f"{name}.feather"), **self._options(source))

    def _options(self, source: Source) -> dict[str, Any]:
        return self.OPTIONS

    def open(self, path: Path) -> dict[str, Any]:
        from pyarrow import feather

        found = [feather.read_table(str(file), memory_map=True) for file in sorted(path.glob("*.feather"))]
        return {name: table[name] for table in found for name in table.column_names}

    def read_all(self, opened: dict[str, Any]) -> Content:
        return {name: np.array(values_of(column)) for name, column in opened.items()}

    def transitions(self, opened: dict[str, Any], count: int, rng: np.random.Generator) -> Draw:
        return self._rows(opened).transitions(count, rng)

    def windows(self, opened: dict[str, Any], count: int, length: int, rng: np.random.Generator) -> Draw:
        return self._rows(opened).windows(count, length, rng)

    def _rows(self, opened: dict[str, Any]) -> Rows:
        return Rows({name: values_of(column) for name, column in opened.items()})


class CompressedFeather(Feather):
    """Arrow files with Zstandard, an episode in each batch."""

    NAME = "feather-zstd"
    TITLE = "Feather, Zstandard"
    NOTE = "The same, with Zstandard and an episode in each record batch; everything is decoded to draw from."
    KINDS = ("vectors", "frames")

    def _options(self, source: Source) -> dict[str, Any]:
        return {"compression": "zstd", "chunksize": int(source.lengths[0]) + 1}


class Parquet(Feather):
    """Parquet files."""

    NAME = "parquet"
    TITLE = "Parquet, pyarrow"
    NOTE = "The same tables with Zstandard, frames as one binary value each; everything is decoded to draw from."

    def prepare(self) -> None:
        import pyarrow.parquet  # noqa: F401

        super().prepare()

    def write(self, source: Source, path: Path) -> None:
        from pyarrow import parquet

        group = int(source.lengths[0]) + 1 if source.has_frames else None
        for name, table in tables(source).items():
            file = str(path / f"{name}.parquet")
            parquet.write_table(table, file, compression="zstd", row_group_size=group, use_dictionary=False)

    def open(self, path: Path) -> dict[str, Any]:
        from pyarrow import parquet

        found = [parquet.read_table(str(file)) for file in sorted(path.glob("*.parquet"))]
        return {name: table[name] for table in found for name in table.column_names}
