"""Episodes of many agents: buffers, the codec, and the values that readers get."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from minari._model.episode_buffer import EpisodeBuffer
from minari._model.episode_codec import EpisodeCodec
from minari._model.multi_agent import (
    AgentEpisodeData,
    AgentSpaces,
    MultiAgentCodec,
    MultiAgentEpisodeBuffer,
    MultiAgentEpisodeData,
    agent_name,
    agent_of_name,
    spaces_by_agent,
    spaces_by_name,
)
from minari.errors import (
    DatasetCorruptError,
    EpisodeError,
    EpisodeKeyError,
    EpisodeTypeError,
    SpaceError,
)


BOX = spaces.Box(-1, 1, (2,), np.float32)
IDS = ["agent_0", "", ".", "..", "state", "observations", "team/left", 0, 3.5, ("red", 1), "_key:3", "_index_0", "é"]


def trajectory(steps: int, start: float = 0.0, **values: Any) -> EpisodeBuffer:
    flags = np.zeros(steps, bool)
    given = {
        "observations": np.full((steps + 1, 2), start, np.float32),
        "actions": np.arange(steps) % 2,
        "rewards": np.arange(float(steps)) + start,
        "terminations": flags,
        "truncations": flags,
    }
    return EpisodeBuffer(**{**given, **values})


def codec_of(*agents: Any) -> MultiAgentCodec:
    return MultiAgentCodec(dict.fromkeys(agents, BOX), dict.fromkeys(agents, spaces.Discrete(2)))


def read_again(codec: MultiAgentCodec, buffer: MultiAgentEpisodeBuffer) -> MultiAgentEpisodeData:
    episode = codec.encode(buffer)
    return MultiAgentEpisodeData(**codec.decode(0, episode.columns, episode.total_steps))


@pytest.mark.parametrize("agent", IDS, ids=repr)
def test_name_is_reversible_and_one_part_of_a_path(agent: Any) -> None:
    name = agent_name(agent)
    assert agent_of_name(name) == agent
    assert type(agent_of_name(name)) is type(agent)
    assert "/" not in name
    assert name not in ("", ".", "..", "state", "observations")


@pytest.mark.parametrize("agent", [frozenset({1}), object(), b"a", 1j], ids=lambda agent: type(agent).__name__)
def test_id_that_cannot_be_written_is_refused(agent: Any) -> None:
    with pytest.raises(EpisodeTypeError, match=r"An agent has the id .*, expected text, a number or a tuple"):
        agent_name(agent)


def test_spaces_are_restored_by_id_in_their_order() -> None:
    given = {"zoe": BOX, 0: spaces.Discrete(3), "adam": spaces.Text(3)}
    restored = spaces_by_agent(spaces_by_name(given))
    assert list(restored) == list(given)
    assert dict(restored.spaces) == given


def test_spaces_of_agents_are_a_space_and_a_mapping() -> None:
    given = AgentSpaces({"zoe": BOX, 0: spaces.Discrete(3)})
    for same in (given, copy.deepcopy(given), pickle.loads(pickle.dumps(given))):
        assert same == given
        assert list(same) == ["zoe", 0]
        assert 0 in same
        assert 1 not in same
        assert same.sample() in same
        assert {"zoe": np.ones(3), 0: 1} not in same
    with pytest.raises(SpaceError, match="The space of the agent 'a' is 3, expected a gymnasium space"):
        AgentSpaces({"a": 3})  # type: ignore[dict-item]


@pytest.mark.parametrize("space", [BOX, spaces.Dict({"_key:bad": BOX}), spaces.Dict({"a/b": BOX})], ids=repr)
def test_other_spaces_are_no_spaces_of_agents(space: Any) -> None:
    with pytest.raises(SpaceError, match="The space of many agents"):
        spaces_by_agent(space)


def test_agents_that_come_and_leave_at_different_times() -> None:
    buffer = MultiAgentEpisodeBuffer(
        {"b": trajectory(1, 5), "a": trajectory(3), "c": trajectory(0, 9)},
        timesteps={"b": [2, 4], "c": [3]},
        total_steps=4,
        state=[np.full(3, step) for step in range(5)],
        seed=7,
        options={"level": 2},
        metadata={"map": "small", "agents": {"c": {"rewards_before_first_action": 0.5}}},
    )
    codec = codec_of("a", "b", "c", "d")
    encoded = codec.encode(buffer)
    assert encoded.total_steps == 4
    assert encoded.metadata == {
        "seed": 7,
        "options": {"level": 2},
        "map": "small",
        "agents": {
            "a": {"total_steps": 3},
            "b": {"total_steps": 1},
            "c": {"total_steps": 0, "rewards_before_first_action": 0.5},
        },
    }
    episode = read_again(codec, buffer)
    assert episode.agents == ["a", "b", "c"]
    assert len(episode) == episode.total_steps == 4
    assert {agent: len(episode[agent]) for agent in episode} == {"a": 3, "b": 1, "c": 0}
    assert {agent: steps.tolist() for agent, steps in episode.timesteps.items()} == {
        "a": [0, 1, 2, 3],
        "b": [2, 4],
        "c": [3],
    }
    np.testing.assert_array_equal(episode.state, np.repeat(np.arange(5), 3).reshape(5, 3))
    assert episode["c"].observations.tolist() == [[9, 9]]
    assert episode["c"].actions.shape == episode["c"].rewards.shape == (0,)
    with pytest.raises(EpisodeKeyError, match="Episode 0 has no trajectory of the agent 'd', expected one of"):
        episode["d"]


def test_joint_arrays_have_zeros_where_nobody_is() -> None:
    buffer = MultiAgentEpisodeBuffer(
        {"a": trajectory(3, 1), "b": trajectory(1, 5), "c": trajectory(0, 9)}, {"b": [2, 4], "c": [3]}, total_steps=4
    )
    joint = read_again(codec_of("a", "b", "c"), buffer).joint()
    assert joint.agents == ["a", "b", "c"]
    assert len(joint) == 4
    assert joint.observations[..., 0].tolist() == [[1, 0, 0], [1, 0, 0], [1, 5, 0], [1, 0, 9], [0, 5, 0]]
    assert joint.rewards.tolist() == [[1, 0, 0], [2, 0, 0], [3, 5, 0], [0, 0, 0]]
    assert joint.actions.dtype == np.int64
    assert joint.alive.tolist() == [[1, 0, 0], [1, 0, 0], [1, 1, 0], [1, 0, 1], [0, 1, 0]]
    assert joint.acting.tolist() == [[1, 0, 0], [1, 0, 0], [1, 1, 0], [0, 0, 0]]
    assert joint.timesteps.tolist() == [0, 1, 2, 3, 4]
    assert joint == joint
    assert joint != read_again(codec_of("a", "b"), MultiAgentEpisodeBuffer({"a": trajectory(4)})).joint()


@pytest.mark.parametrize(
    ("spaces_of_b", "values"),
    [
        (spaces.Box(-1, 1, (3,)), np.zeros((2, 3), np.float32)),
        (spaces.Dict({"x": BOX}), {"x": np.zeros((2, 2), np.float32)}),
        (spaces.Text(3), ["x", "y"]),
        (spaces.MultiBinary(2), np.zeros((2, 2), np.int8)),
    ],
    ids=["shape", "nesting", "text", "kind"],
)
def test_agents_with_other_spaces_have_no_joint_arrays(spaces_of_b: Any, values: Any) -> None:
    codec = MultiAgentCodec({"a": BOX, "b": spaces_of_b}, dict.fromkeys("ab", spaces.Discrete(2)))
    buffer = MultiAgentEpisodeBuffer({"a": trajectory(1), "b": trajectory(1, observations=values)})
    with pytest.raises(SpaceError, match=r"The observations of the agent '[ab]' are .*; use the trajectory of each"):
        read_again(codec, buffer).joint()


def test_nested_spaces_text_and_infos_with_missing_keys() -> None:
    space = spaces.Dict({"camera": spaces.Box(0, 255, (4, 4), np.uint8), "word": spaces.Text(5)})
    codec = MultiAgentCodec({"a": space}, {"a": spaces.Tuple([spaces.Discrete(2), spaces.Sequence(BOX)])})
    observations = {"camera": np.arange(32, dtype=np.uint8).reshape(2, 4, 4), "word": ["x", "yz"]}
    actions = ([1], [(np.zeros(2, np.float32),)])
    buffer = EpisodeBuffer(
        observations=observations,
        actions=actions,
        rewards=[1.0],
        terminations=[True],
        truncations=[False],
        infos={"height": [1, 2], "note": [None, "x"]},
    )
    states = [{"map": "a", "grid": np.zeros(2)}, {"map": "b", "grid": np.ones(2)}]
    episode = read_again(codec, MultiAgentEpisodeBuffer({"a": buffer}, state=states))
    single = EpisodeCodec(space, codec.action_spaces["a"])
    expected = single.decode(0, single.encode(buffer).columns)
    assert episode["a"] == AgentEpisodeData(**expected, timesteps=np.array([0, 1]))
    assert [state["map"] for state in episode.state] == ["a", "b"]


@pytest.mark.parametrize(
    ("buffer", "sentence"),
    [
        (MultiAgentEpisodeBuffer({}), "expected the trajectory of at least one"),
        (MultiAgentEpisodeBuffer({"z": trajectory(1)}), "of the agent 'z', which has no spaces"),
        (MultiAgentEpisodeBuffer({"a": trajectory(0)}, total_steps=2), "No agent of the episode has a step"),
        (MultiAgentEpisodeBuffer({"a": trajectory(0)}), "The episode has 0 steps"),
        (MultiAgentEpisodeBuffer({"a": trajectory(1)}, total_steps=-1), "The episode has -1 steps"),
        (MultiAgentEpisodeBuffer({"a": trajectory(1)}, {"a": [0]}, 1), "timesteps are 1, expected 2"),
        (MultiAgentEpisodeBuffer({"a": trajectory(1)}, {"a": [1, 1]}), r"are \[1, 1\], expected increasing"),
        (MultiAgentEpisodeBuffer({"a": trajectory(1)}, {"a": [0, 3]}, 2), r"expected increasing numbers from 0 to 2"),
        (MultiAgentEpisodeBuffer({"a": trajectory(1)}, {"a": [-1, 0]}, 2), r"expected increasing"),
        (MultiAgentEpisodeBuffer({"a": trajectory(1)}, {"a": [0.5, 1]}, 2), "float64 values of shape"),
        (MultiAgentEpisodeBuffer({"a": trajectory(1)}, {"a": None}), "do not tell its length"),
        (MultiAgentEpisodeBuffer({"a": trajectory(1)}, {"b": [0, 1]}), "timesteps of the agent 'b'"),
        (MultiAgentEpisodeBuffer({"a": trajectory(1, seed=3)}), "an id, a seed or options"),
        (MultiAgentEpisodeBuffer({"a": "x"}, total_steps=1), "is 'x', expected an EpisodeBuffer"),
        (MultiAgentEpisodeBuffer({"a": trajectory(1)}, state=[1]), "The state of the episode cannot be stored"),
        (MultiAgentEpisodeBuffer({"a": trajectory(1, actions=[[1, 2]])}), "'a' cannot be stored. The actions"),
        (MultiAgentEpisodeBuffer({"a": trajectory(1)}, metadata={"agents": {"b": {}}}), "metadata of the agent 'b'"),
        (
            MultiAgentEpisodeBuffer({"a": trajectory(1), "b": trajectory(1, rewards=np.ones((1, 2)))}),
            r"have the shape \(2,\) a step, expected \(\) as those of the other",
        ),
        (trajectory(1), "The episode is EpisodeBuffer, expected a MultiAgentEpisodeBuffer"),
    ],
)
def test_unfit_episode_is_refused_in_one_sentence(buffer: Any, sentence: str) -> None:
    with pytest.raises(EpisodeError, match=sentence):
        codec_of("a", "b").encode(buffer)


def test_dataset_of_one_agent_refuses_many() -> None:
    with pytest.raises(EpisodeTypeError, match="expected an EpisodeBuffer, since the dataset has one agent"):
        EpisodeCodec(BOX, BOX).encode(MultiAgentEpisodeBuffer({"a": trajectory(1)}))


def test_agents_may_be_added_but_not_changed() -> None:
    codec = codec_of("a")
    assert codec.with_agents({"a": BOX}, {"a": spaces.Discrete(2)}) is codec
    grown = codec.with_agents({"b": BOX, "a": BOX}, {"b": BOX, "a": spaces.Discrete(2)})
    assert grown.agents == ["a", "b"]
    with pytest.raises(SpaceError, match=r"The space of the agent 'a' is another one than before, actions is Disc"):
        codec.with_agents({"a": BOX}, {"a": BOX})
    with pytest.raises(SpaceError, match="The action_space has no space of the agent 'b'"):
        codec.with_agents({"b": BOX}, {})


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda columns: columns.clear(), "has no trajectory of an agent"),
        (lambda columns: columns.pop(("agents", "a", "rewards")), "has no rewards"),
        (lambda columns: columns.pop(("agents", "a", "actions")), "'a' cannot be read. Episode 4 has no"),
        (lambda columns: columns.pop(("agents", "a", "timesteps")), "has no timesteps"),
        (lambda columns: columns.update({("agents", "z", "rewards"): np.zeros(1)}), "a trajectory of 'z'"),
        (lambda columns: columns.update({("rewards",): np.zeros(1)}), "has 'rewards', expected trajectories"),
        (lambda columns: columns.update({("agents", "a"): np.zeros(1)}), "has 'agents/a', expected trajectories"),
        (lambda columns: columns.update({("agents", "a", "timesteps"): np.array([0, 0, 1])}), "increasing"),
        (lambda columns: columns.update({("agents", "a", "timesteps"): np.array([0, 1, 9])}), "increasing"),
        (lambda columns: columns.update({("agents", "a", "timesteps"): np.zeros((3, 1))}), "float64 values"),
        (lambda columns: columns.update({("state",): np.zeros((1, 2))}), "The state of episode 4 has 1 values"),
        (lambda columns: columns.update({("state", "x", "_json"): np.zeros(3)}), "state"),
    ],
)
def test_damaged_columns_are_one_clear_error(change: Any, sentence: str) -> None:
    codec = codec_of("a", "b")
    episode = codec.encode(MultiAgentEpisodeBuffer({"a": trajectory(2)}, state=np.zeros((3, 2))))
    columns = dict(episode.columns)
    change(columns)
    for read in (codec.decode, codec.check):
        with pytest.raises(DatasetCorruptError, match=sentence):
            read(4, columns, 2)


def test_episode_is_copied_pickled_and_compared_by_value() -> None:
    buffer = MultiAgentEpisodeBuffer({"a": trajectory(2), 0: trajectory(1)}, state=np.zeros(3))
    episode = read_again(codec_of("a", 0), buffer)
    for same in (episode.copy(), pickle.loads(pickle.dumps(episode))):
        assert same == episode
        assert isinstance(same["a"], AgentEpisodeData)
        same["a"].rewards[0] = 8
        assert same != episode
    assert repr(episode) == (
        "MultiAgentEpisodeData(id=0, total_steps=2, agents={'a': 2 steps, 0: 1 steps}, with states)"
    )
    assert repr(episode["a"]).startswith("AgentEpisodeData(id=0, total_steps=2")
    assert repr(episode["a"]).endswith(", timesteps=ndarray of 3 ints)")
