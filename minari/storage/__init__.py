"""Local and remote storage of datasets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minari._base.lazy import lazy_package
from minari._catalog.layout import get_dataset_path


if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_package(__name__)

__all__ = ["get_dataset_path"]
