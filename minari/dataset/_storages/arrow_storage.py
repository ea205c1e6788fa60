"""Public import path of the storages in Arrow's formats."""

from minari._storages.arrow.storage import ArrowStorage, ParquetStorage


__all__ = ["ArrowStorage", "ParquetStorage"]
