"""Leaves at a glance, and the leaves of episodes in memory, compared with those of datasets and with plain loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import minari
from minari.data_collector import EpisodeBuffer, MultiAgentEpisodeBuffer
from minari.errors import ArgumentError, ArgumentTypeError
from minari.inspection import EpisodeInMemory, EpisodeReader, condensed, histogram, overview_of, shared_histograms
from support.copies import make_rich


pytestmark = pytest.mark.filterwarnings("ignore::minari.errors.MissingMetadataWarning", "ignore::UserWarning")


def same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray) and one.dtype != object:
        return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    return bool(np.all([np.array_equal(a, b) for a, b in zip(one, other, strict=True)]))


def many_agents() -> minari.MinariDataset:
    camera = spaces.Box(0, 255, (9, 9, 3), np.uint8)
    spaces_of_agents = {"a": camera, ("b", 1): spaces.Dict(text=spaces.Text(5), number=spaces.Discrete(4))}
    one = EpisodeBuffer(
        observations=np.arange(4, dtype=np.uint8)[:, None, None, None] * np.ones((9, 9, 3), np.uint8),
        actions=[1, 0, 1], rewards=[1.0, 2.0, 3.0],
        terminations=[False] * 3, truncations=[False] * 3, infos={"x": np.arange(4)},
    )  # fmt: skip
    other = EpisodeBuffer(
        observations={"text": ["p", "q"], "number": [1, 2]}, actions=[1], rewards=[5.0],
        terminations=[True], truncations=[False],
    )  # fmt: skip
    buffers = [
        MultiAgentEpisodeBuffer({"a": one, ("b", 1): other}, {("b", 1): [1, 2]}, 3, state={"s": np.arange(4.0)}),
        MultiAgentEpisodeBuffer({"a": one}, {}, 3, state={"s": np.arange(4.0)}),
    ]
    actions = dict.fromkeys(spaces_of_agents, spaces.Discrete(2))
    return minari.create_dataset_from_buffers(
        "overview/agents-v0", buffers, observation_space=spaces_of_agents, action_space=actions
    )


def test_episodes_in_memory_have_the_leaves_of_those_in_datasets() -> None:
    for dataset in (make_rich("overview/rich-v0", "hdf5"), many_agents()):
        for number, episode in enumerate(dataset):
            stored, here = EpisodeReader(dataset.storage, number), EpisodeInMemory(episode)
            assert (here.number, here.length) == (stored.number, stored.length)
            kinds = {leaf.name: (leaf.kind, leaf.dtype, leaf.shape, leaf.agent) for leaf in stored.leaves}
            shaped = {leaf.name for leaf in stored.leaves if leaf.kind != "other"}
            mine = {leaf.name: (leaf.kind, leaf.dtype, leaf.shape, leaf.agent) for leaf in here.leaves}
            assert shaped <= mine.keys()
            for name in shaped:
                if kinds[name][0] == "frames" and kinds[name][1] != "uint8":
                    continue  # whose bounds only the space has
                assert mine[name] == kinds[name]
                assert same(stored.values(name), here.values(name)), name
                assert here.rows(name) == stored.rows(name)
                np.testing.assert_array_equal(here.timesteps(name), stored.timesteps(name))
                if kinds[name][0] == "frames":
                    rows = np.array([0, here.rows(name) - 1, 0])
                    np.testing.assert_array_equal(here.frames_at(name, rows), stored.frames(name)[rows])
                    np.testing.assert_array_equal(stored.frames_at(name, rows), stored.frames(name)[rows])


def test_what_is_not_an_episode() -> None:
    dataset = many_agents()
    with pytest.raises(ArgumentTypeError, match=r"episode is 3 \(int\), expected an episode such as dataset\[0\]"):
        EpisodeInMemory(3)  # type: ignore[arg-type]
    here = EpisodeInMemory(dataset[0])
    with pytest.raises(ArgumentError, match="Episode 0 has no leaf 'agents/a/reward'; the nearest names are 'agents/a"):
        here.values("agents/a/reward")
    with pytest.raises(
        ArgumentError, match=r"The leaf 'agents/a/rewards' has float64 of shape \(\), expected pictures"
    ):
        here.frames_at("agents/a/rewards", np.array([0]))


@pytest.fixture
def reader() -> EpisodeReader:
    numbers = np.array([[1.0, np.nan, 3.0], [np.inf, np.nan, -7.0], [0.5, np.nan, -np.inf]])
    buffer = EpisodeBuffer(
        observations={"numbers": numbers, "task": ["go", "go", "stop"], "bag": [(1,), (), (2, 3)]},
        actions=np.array([2**40, -5]),
        rewards=[0.0, 4.0],
        terminations=[False, True],
        truncations=[False, False],
        infos={"success": np.array([False, True, True]), "wrist": np.zeros((3, 8, 8), np.uint8)},
    )
    space = spaces.Dict(
        numbers=spaces.Box(-np.inf, np.inf, (3,), np.float64),
        task=spaces.Text(8),
        bag=spaces.Sequence(spaces.Discrete(5)),
    )
    dataset = minari.create_dataset_from_buffers(
        "overview/a-v0", [buffer], observation_space=space, action_space=spaces.Box(-(2**50), 2**50, (), np.int64)
    )
    return EpisodeReader(dataset.storage, 0)


def test_leaves_at_a_glance(reader: EpisodeReader) -> None:
    found = {leaf.name: overview_of(reader, leaf.name) for leaf in reader.leaves}
    numbers = found["observations/numbers"]
    assert (numbers.rows, numbers.minimum, numbers.maximum, numbers.omitted) == (3, -7.0, 3.0, 0)
    facts = [(one.label, one.minimum, one.maximum, one.nan, one.infinite) for one in numbers.components]
    assert facts == [("0", 0.5, 1.0, 0, 1), ("1", None, None, 3, 0), ("2", -7.0, 3.0, 0, 1)]
    few = overview_of(reader, "observations/numbers", 1)
    assert (len(few.components), few.omitted, few.minimum, few.maximum) == (1, 2, -7.0, 3.0)
    assert (found["actions"].minimum, found["actions"].maximum) == (-5, 2**40)
    assert found["observations/task"].texts == [(0, "go"), (2, "stop")]
    assert found["observations/bag"].first == (1,)
    assert found["infos/success"].components[0].numbers.tolist() == [0, 1, 1]
    assert (found["infos/wrist"].rows, found["infos/wrist"].components) == (3, [])
    here = EpisodeInMemory(minari.load_dataset("overview/a-v0")[0])
    assert overview_of(here, "observations/task").texts == found["observations/task"].texts


def test_texts_that_change_all_the_time_are_counted() -> None:
    flags = np.zeros(1499, bool)
    texts = [str(number) for number in range(1500)]
    episode = minari.EpisodeData(0, texts, np.zeros(1499), np.zeros(1499), flags, flags, {})
    found = overview_of(EpisodeInMemory(episode), "observations")
    assert (len(found.texts), found.omitted, found.texts[-1]) == (1000, 500, (999, "999"))


def test_a_rare_value_is_seen_and_a_frequent_one_averaged() -> None:
    rewards = np.zeros(1000)
    rewards[777] = 1.0
    assert condensed(rewards, 50).tolist() == [0.0] * 38 + [1.0] + [0.0] * 11
    assert condensed(np.tile([0.0, 1.0], 100), 20).tolist() == [0.5] * 20
    assert condensed(np.arange(100.0), 10).tolist() == pytest.approx([4.5 + 10 * n for n in range(10)])
    blank = condensed(np.array([np.nan, np.inf, 1.0, 3.0]), 2)
    assert np.isnan(blank[0])
    assert blank[1] == 2.0
    assert np.isnan(condensed(np.full(9, np.nan), 3)).all()


@given(arrays(np.float64, st.integers(0, 60), elements=st.floats(width=64)), st.integers(1, 20))
def test_condensed_series_stay_within_their_stretch(values: np.ndarray, most: int) -> None:
    points = condensed(values, most)
    assert len(points) == min(len(values), most)
    finite = values[np.isfinite(values)]
    known = points[~np.isnan(points)]
    slack = 1e-9 * np.abs(finite).max(initial=0.0)
    assert known.size == 0 or finite.min() - slack <= known.min() <= known.max() <= finite.max() + slack


@given(
    st.lists(arrays(np.float64, st.integers(0, 20), elements=st.floats(-1e6, 1e6) | st.just(np.nan)), max_size=4),
    st.booleans(),
)
def test_shared_bins_count_as_one_histogram(series: list[np.ndarray], is_whole: bool) -> None:
    if is_whole:
        series = [np.round(values) for values in series]
    together = histogram(np.concatenate([np.zeros(0), *series]), 7)
    found = shared_histograms(series, 7)
    assert all((one.edges, one.labels) == (together.edges, together.labels) for one in found)
    assert [sum(one.counts) + one.not_finite for one in found] == [len(values) for values in series]
    if series:
        assert [sum(counts) for counts in zip(*(one.counts for one in found), strict=True)] == together.counts
