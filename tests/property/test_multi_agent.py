"""For any agents, spaces, infos and states, the trajectories that are stored are those that are read."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from minari._model.episode_buffer import EpisodeBuffer, MultiAgentEpisodeBuffer
from minari._model.episode_codec import EpisodeCodec
from minari._model.infos import append_info
from minari._model.multi_agent import AgentSpaces, MultiAgentCodec, MultiAgentEpisodeData
from minari.dataset.minari_dataset import MinariDataset
from minari.dataset.minari_storage import MinariStorage
from minari.testing import strategies
from minari.testing.comparison import assert_episode, assert_same
from minari.testing.examples import Truth, as_buffer, draw_truth
from support.copies import is_installed


# Gymnasium warns about boxes without numbers in them, and about their bounds.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")

FORMATS = [name for name in ("hdf5", "arrow", "parquet", "zarr") if name == "hdf5" or is_installed(name)]
FRAMES = spaces.Box(0, 255, (40, 33, 3), np.uint8)
ids = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5),
    st.integers(-3, 3),
    st.tuples(st.sampled_from(["red", "state"]), st.integers(0, 2)),
    st.sampled_from(["agents", "state", "rewards", "infos", "timesteps", "..", "a/b", "_key:1", "_index_0", "0", "1"]),
)
_words = st.text(st.characters(codec="utf-8"), max_size=3)
_space = st.one_of(strategies.spaces(), st.just(FRAMES), st.just(spaces.Discrete(3)))
Agents = dict[Any, tuple[gym.Space[Any], gym.Space[Any]]]


def agents() -> st.SearchStrategy[Agents]:
    return st.dictionaries(ids, st.tuples(_space, _space), min_size=1, max_size=4)


@st.composite
def episodes(draw: st.DrawFn, given_agents: Agents) -> tuple[MultiAgentEpisodeBuffer, dict[Any, Truth], Any]:
    """An episode of some of the agents, its trajectories as they are to be read, and its states."""
    total_steps = draw(st.integers(1, 5))
    present = draw(st.lists(st.sampled_from(list(given_agents)), min_size=1, max_size=4, unique=True))
    truths: dict[Any, Truth] = {}
    buffers: dict[Any, EpisodeBuffer] = {}
    timesteps: dict[Any, list[int]] = {}
    for number, agent in enumerate(present):
        times = st.sets(st.integers(0, total_steps), min_size=1 if number else 2)
        rows = sorted(draw(times))
        infos: dict[str, Any] = {}
        for row, info in enumerate(draw(strategies.infos(len(rows)))):
            append_info(infos, info, row)
        truth = draw_truth(*given_agents[agent], len(rows) - 1, draw(st.integers(0, 99)))
        truths[agent], timesteps[agent] = truth, rows
        buffers[agent] = as_buffer(truth, infos=infos)
    state = draw(
        st.one_of(
            st.none(),
            st.just(np.arange(2.0 * (total_steps + 1)).reshape(-1, 2)),
            st.lists(_words, min_size=total_steps + 1, max_size=total_steps + 1),
        )
    )
    return MultiAgentEpisodeBuffer(buffers, timesteps, total_steps, state), truths, state


def assert_holds(episode: MultiAgentEpisodeData, drawn: Any, given_agents: Agents) -> None:
    buffer, truths, state = drawn
    assert set(episode.agents) == set(truths)
    assert len(episode) == buffer.total_steps
    for agent, truth in truths.items():
        of = given_agents[agent]
        expected = {name: values for name, values in truth.items() if name != "infos"}
        assert_episode(vars(episode[agent]), *of, expected)
        assert episode.timesteps[agent].tolist() == buffer.timesteps[agent]
        single = EpisodeCodec(*of, least_steps=0)
        of_one = single.decode(0, single.encode(buffer.agents[agent]).columns)
        assert_same(episode[agent].infos, of_one["infos"], "infos")
    if state is not None:
        assert_same(episode.state.tolist(), list(state) if isinstance(state, list) else state.tolist())
    assert episode == episode.copy()


def spaces_of(given_agents: Agents) -> tuple[AgentSpaces, AgentSpaces]:
    observations, actions = ({agent: of[place] for agent, of in given_agents.items()} for place in (0, 1))
    return AgentSpaces(observations), AgentSpaces(actions)


@given(given_agents=agents(), data=st.data())
@settings(max_examples=60)
def test_codec(given_agents: Agents, data: st.DataObject) -> None:
    """Trajectories to columns and back."""
    codec = MultiAgentCodec(*spaces_of(given_agents))
    drawn = data.draw(episodes(given_agents))
    encoded = codec.encode(drawn[0])
    codec.check(0, encoded.columns, encoded.total_steps)
    assert codec.required_paths(encoded.columns) <= encoded.columns.keys()
    assert_holds(MultiAgentEpisodeData(**codec.decode(0, encoded.columns, encoded.total_steps)), drawn, given_agents)


@given(given_agents=agents(), data=st.data(), formats=st.permutations(FORMATS), jpeg=st.booleans())
@settings(max_examples=25)
def test_formats(
    tmp_path_factory: pytest.TempPathFactory, given_agents: Agents, data: st.DataObject, formats: list[str], jpeg: bool
) -> None:
    """Episodes through two formats, of which the second one first knows only some of the agents."""
    drawn = [data.draw(episodes(given_agents)) for _ in range(2)]
    directory = tmp_path_factory.mktemp("agents")
    first = MinariStorage.new(directory / "first", *spaces_of(given_agents), data_format=formats[0])
    first.update_episodes([buffer for buffer, _, _ in drawn])
    known = dict(list(given_agents.items())[:1])
    second = MinariStorage.new(directory / "second", *spaces_of(known), data_format=formats[1])
    second.update_from_storage(first, [1, 0])
    for storage, order in ((first, [0, 1]), (second, [1, 0])):
        dataset = MinariDataset(storage.data_path, verify_checksums=True)
        assert set(dataset.agents) == set(given_agents)
        for copy in (True, False):
            for place, episode in zip(order, dataset.iterate_episodes(copy=copy), strict=True):
                assert_holds(episode, drawn[place], given_agents)  # type: ignore[arg-type]
