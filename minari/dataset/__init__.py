"""Datasets: creating, reading, combining, converting and validating them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minari._base.lazy import lazy_package


if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_package(__name__)
