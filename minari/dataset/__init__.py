"""What a dataset is: its id, its metadata, its storage and its episodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minari._base.lazy import lazy_package


if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_package(__name__)
