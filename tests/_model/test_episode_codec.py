"""Columns of episodes that are damaged or continued; `dataset/test_from_buffers.py` has what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from minari._model.episode_codec import append_steps
from minari.dataset.encoding import EpisodeCodec
from minari.errors import DatasetCorruptError, EpisodeError
from minari.spaces import EpisodeColumns
from support.scripted import PLANE, buffer_of


CODEC = EpisodeCodec(spaces.Dict(x=PLANE), spaces.Discrete(3))
X = np.zeros((4, 2), np.float32)
STORED = CODEC.encode(buffer_of(3, observations={"x": X}, seed=5, options={"a": 1}))


@pytest.mark.parametrize("missing", [("observations", "x"), ("actions",), ("rewards",), ("truncations",)])
def test_missing_columns_are_damage(missing: Any) -> None:
    columns = {path: column for path, column in STORED.columns.items() if path != missing}
    with pytest.raises(DatasetCorruptError, match=f"Episode 4 has no '{'/'.join(missing)}'"):
        CODEC.decode(4, columns)


def test_further_steps_have_as_many_observations_as_actions() -> None:
    """Their infos are left to whoever joins them with those that are stored."""
    more = CODEC.encode_further_steps(buffer_of(2, observations={"x": X[:2]}, seed=3, infos={"n": [1]}))
    assert more.total_steps == 2
    assert {len(column) for column in more.columns.values()} == {2}
    assert ("infos", "n") not in more.columns
    whole = append_steps(STORED, more, None)
    assert (whole.total_steps, whole.metadata) == (5, {"seed": 5, "options": {"a": 1}})
    assert len(STORED.columns[("rewards",)]) == 3, "what is stored is left alone"
    with pytest.raises(EpisodeError, match=r"3 observations, expected 2 for its 2 rewards\."):
        CODEC.encode_further_steps(buffer_of(2, observations={"x": X[:3]}))
    for odd in ({}, {("rewards",): np.zeros((3, 2))}):
        columns = {path: column for path, column in STORED.columns.items() if path != ("rewards",)}
        with pytest.raises(EpisodeError, match=r"'rewards'.*damaged"):
            append_steps(EpisodeColumns(3, columns | odd), more, None)
