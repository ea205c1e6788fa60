"""Public import path of :class:`DatasetMetadata`, for authors of formats."""

from minari._model.metadata import DatasetMetadata


__all__ = ["DatasetMetadata"]
