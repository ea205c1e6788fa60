"""Public import path of :func:`get_dataset_path`."""

from minari._catalog.layout import get_dataset_path


__all__ = ["get_dataset_path"]
