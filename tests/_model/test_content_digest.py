"""Digests of episodes: equal for equal values however they are stored, different for any other value."""

from __future__ import annotations

import numpy as np
import pytest

from minari._model.content_digest import content_digest
from minari.spaces import object_column


COLUMNS = {
    ("observations", "camera", 0): np.arange(12, dtype=np.uint8).reshape(3, 2, 2),
    ("actions",): np.array([1.5, np.nan]),
    ("infos", "text"): object_column(["a", "", "ü"]),
}


def test_digest_ignores_order_of_columns_and_of_bytes() -> None:
    other = {path: COLUMNS[path] for path in reversed(COLUMNS)}
    other[("actions",)] = COLUMNS[("actions",)].astype(">f8")
    other[("observations", "camera", 0)] = np.asfortranarray(COLUMNS[("observations", "camera", 0)])
    assert content_digest(other) == content_digest(COLUMNS)


@pytest.mark.parametrize(
    "changes",
    [
        {("actions",): np.array([1.5, 2.0])},
        {("actions",): np.array([1.5, np.nan], np.float32)},
        {("actions",): np.array([[1.5], [np.nan]])},
        {("infos", "text"): object_column(["", "a", "ü"])},
        {("infos", "text"): object_column([b"a", b"", "ü".encode()])},
        {("infos", "more"): np.zeros(0)},
    ],
    ids=["value", "dtype", "shape", "order", "bytes", "column"],
)
def test_digest_differs_with(changes: dict) -> None:
    assert content_digest({**COLUMNS, **changes}) != content_digest(COLUMNS)
