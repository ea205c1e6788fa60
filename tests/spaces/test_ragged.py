"""Spaces whose values differ in size from step to step: what their columns are, and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from minari.errors import EpisodeError, EpisodeTypeError
from minari.spaces import codec_for
from minari.testing.comparison import assert_same


BOX = spaces.Box(-1.0, 1.0, (2,), np.float32)


def vectors(count: int) -> Any:
    return np.arange(2 * count, dtype=np.float32).reshape(count, 2)


def columns_of(space: spaces.Space[Any], values: list[Any]) -> dict[str, Any]:
    columns = codec_for(space, ("o",)).encode(values)
    return {"/".join(map(str, path[1:])): column for path, column in columns.items()}


def test_sequence() -> None:
    columns = columns_of(spaces.Sequence(BOX), [tuple(vectors(2)), (), [vectors(1)[0]]])
    assert columns["_lengths"].tolist() == [2, 0, 1]
    assert columns["_lengths"].dtype == np.int64
    assert_same(columns["_values"], np.concatenate([vectors(2), vectors(1)]))


def test_sequence_without_any_element() -> None:
    space = spaces.Sequence(spaces.Dict({"x": BOX, "t": spaces.Text(2)}))
    codec = codec_for(space)
    columns = codec.encode([(), ()])
    assert columns[("_values", "x")].shape == (0, 2)
    assert codec.decode(columns) == [(), ()]


def test_stacked_sequence() -> None:
    space = spaces.Sequence(spaces.Dict({"x": BOX, "n": spaces.Discrete(3)}), stack=True)
    values = [{"x": vectors(2), "n": np.array([1, 2])}, {"x": vectors(0), "n": np.array([], np.int64)}]
    codec = codec_for(space, ("o",))
    columns = codec.encode(values)
    assert columns[("o", "_lengths")].tolist() == [2, 0]
    assert columns[("o", "_values", "n")].tolist() == [1, 2]
    assert_same(codec.decode(columns), values)


@pytest.mark.parametrize("value", [3, "abc", np.zeros((2, 2)), None])
def test_what_a_sequence_refuses(value: Any) -> None:
    with pytest.raises(EpisodeTypeError, match=r"(?s)o at step 1 are .* expected a tuple of elements"):
        columns_of(spaces.Sequence(BOX), [(), value])


@pytest.mark.parametrize("value", [3, None, {"y": vectors(1)}])
def test_what_a_stacked_sequence_refuses(value: Any) -> None:
    space = spaces.Sequence(spaces.Dict({"x": BOX}), stack=True)
    with pytest.raises(EpisodeTypeError, match=r"(?s)o at step 0 are .* expected stacked elements"):
        columns_of(space, [value])


def test_elements_that_do_not_fit() -> None:
    with pytest.raises(EpisodeError, match=r"o/_values have the shape \(3,\)"):
        columns_of(spaces.Sequence(BOX), [(np.zeros(3),)])


def test_graph() -> None:
    space = spaces.Graph(BOX, spaces.Discrete(4))
    graphs = [
        spaces.GraphInstance(vectors(3), np.array([1, 2]), np.array([[0, 1], [1, 2]], np.int32)),
        spaces.GraphInstance(vectors(1), None, None),
        spaces.GraphInstance(vectors(0), np.array([], np.int64), np.zeros((0, 2), np.int32)),
    ]
    columns = columns_of(space, graphs)
    assert columns["_node_counts"].tolist() == [3, 1, 0]
    assert columns["_edge_counts"].tolist() == [2, -1, 0]
    assert columns["_link_counts"].tolist() == [2, -1, 0]
    assert_same(columns["_nodes"], np.concatenate([vectors(3), vectors(1)]))
    assert columns["_edges"].tolist() == [1, 2]
    codec = codec_for(space)
    decoded = codec.decode(codec.encode(graphs))
    assert all(isinstance(graph, spaces.GraphInstance) for graph in decoded)
    assert_same(decoded, graphs)


@pytest.mark.parametrize("value", [3, (vectors(1), None, None), {"nodes": vectors(1)}])
def test_what_a_graph_refuses(value: Any) -> None:
    with pytest.raises(EpisodeTypeError, match=r"(?s)o at step 0 are .* expected a gymnasium\.spaces\.GraphInstance"):
        columns_of(spaces.Graph(BOX, None), [value])


def test_one_of() -> None:
    space = spaces.OneOf((spaces.Discrete(9), BOX, spaces.Text(2)))
    values = [(0, 4), (2, "ab"), (np.int64(0), 5), [1, vectors(1)[0]]]
    columns = columns_of(space, values)
    assert columns["_choice"].tolist() == [0, 2, 0, 1]
    assert columns["_option_0"].tolist() == [4, 5]
    assert columns["_option_1"].shape == (1, 2)
    assert columns["_option_2"].tolist() == ["ab"]
    codec = codec_for(space)
    decoded = codec.decode(codec.encode(values))
    assert [int(choice) for choice, _ in decoded] == [0, 2, 0, 1]
    assert all(space.contains(value) for value in decoded)


@pytest.mark.parametrize("value", [3, (0,), (3, 1), (-1, 1), ("0", 1), (0.0, 1), (0, 1, 2)])
def test_what_one_of_refuses(value: Any) -> None:
    with pytest.raises(EpisodeTypeError, match=r"o at step 1 are .* expected a pair of a number below 3"):
        columns_of(spaces.OneOf((spaces.Discrete(9), BOX, spaces.Text(2))), [(0, 1), value])
