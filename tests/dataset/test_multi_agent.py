"""Datasets of many agents: views, selection, combination, conversion, statistics and validation."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

import minari
from minari._model.multi_agent import AgentSpaces
from minari.data_collector import EpisodeBuffer, MultiAgentEpisodeBuffer
from minari.errors import (
    ArgumentError,
    CombineError,
    DatasetVersionError,
    EpisodeError,
    EpisodeIndexError,
    EpisodeTypeError,
    SpaceError,
    StorageError,
)
from minari.testing.storage_suites.agents import draw_agents
from support.copies import is_installed


pytestmark = pytest.mark.filterwarnings("ignore::minari.errors.MissingMetadataWarning")

FORMATS = [name for name in ("hdf5", "arrow", "parquet", "zarr") if name == "hdf5" or is_installed(name)]
BOX = spaces.Box(-1.0, 1.0, (2,), np.float32)
AGENTS = {"a": BOX, 7: BOX, "c/d": BOX}
ACTIONS = dict.fromkeys(AGENTS, spaces.Discrete(3))


def buffers(count: int = 5, first: int = 0, agents: dict[Any, gym.Space[Any]] | None = None) -> list[Any]:
    agents = AGENTS if agents is None else agents
    actions = dict.fromkeys(agents, spaces.Discrete(3))
    drawn = [
        draw_agents(agents, actions, 2 + number % 4, number, seed=number, state=np.arange(3.0 + number % 4))[0]
        for number in range(first, first + count)
    ]
    for buffer in drawn:
        for trajectory in buffer.agents.values():
            trajectory.terminations[:-1] = trajectory.truncations[:-1] = False
            trajectory.terminations[-1:] = True
    return drawn


def created(name: str, episodes: list[Any] | None = None, **arguments: Any) -> minari.MinariDataset:
    arguments = {"observation_space": AGENTS, "action_space": ACTIONS, **arguments}
    return minari.create_dataset_from_buffers(
        f"many/{name}-v0", buffers() if episodes is None else episodes, **arguments
    )


@pytest.fixture(params=FORMATS)
def dataset(request: pytest.FixtureRequest) -> minari.MinariDataset:
    return created("agents", data_format=request.param)


def test_dataset_knows_its_agents(dataset: minari.MinariDataset) -> None:
    assert dataset.agents == list(AGENTS)
    assert dataset.observation_space == AgentSpaces(AGENTS)
    assert (dataset.observation_space[7], dataset.action_space["c/d"]) == (BOX, spaces.Discrete(3))  # type: ignore[index]
    assert 7 in dataset.observation_space  # type: ignore[operator]
    assert 8 not in dataset.observation_space  # type: ignore[operator]
    assert dataset.observation_space.sample() in dataset.observation_space
    assert dataset.total_steps == sum(map(len, dataset)) == 2 + 3 + 4 + 5 + 2
    steps = {agent: sum(len(episode[agent]) for episode in dataset if agent in episode) for agent in AGENTS}  # type: ignore[index, operator]
    assert dataset.agent_steps == steps
    assert dataset[1:3].agent_steps != steps
    assert dataset.minari_version == "0.6"
    assert dataset.storage.metadata["multi_agent"] is True
    assert minari.load_dataset(dataset.id)[3] == dataset[3]
    dataset.storage.repack()
    assert minari.load_dataset(dataset.id).minari_version == "0.6"


def test_episodes_are_those_of_the_buffers(dataset: minari.MinariDataset) -> None:
    for buffer, episode in zip(buffers(), dataset, strict=True):
        assert episode.agents == [agent for agent in AGENTS if agent in buffer.agents]  # type: ignore[attr-defined]
        np.testing.assert_array_equal(episode.state, buffer.state)  # type: ignore[attr-defined]
        for agent, trajectory in buffer.agents.items():
            found = episode[agent]  # type: ignore[index]
            np.testing.assert_array_equal(found.rewards, trajectory.rewards)
            np.testing.assert_array_equal(found.observations, np.array(trajectory.observations))
            np.testing.assert_array_equal(found.timesteps, buffer.timesteps[agent])


def test_view_of_an_agent_is_a_dataset_of_one(dataset: minari.MinariDataset) -> None:
    for agent in AGENTS:
        view = dataset.for_agent(agent)
        whole = {episode.id: episode[agent] for episode in dataset if agent in episode and len(episode[agent])}  # type: ignore[index, operator]
        assert view.agents == []
        assert view.observation_space == BOX
        assert view.episode_indices.tolist() == list(whole)
        assert view.total_steps == dataset.agent_steps[agent]
        assert [episode.id for episode in view] == list(whole)
        for given in (view, pickle.loads(pickle.dumps(view))):
            assert list(given) == list(whole.values())
            assert list(given.iterate_episodes(copy=False)) == list(whole.values())
        (metadata,) = view.storage.get_episode_metadata([view.episode_indices[0]])
        assert metadata["total_steps"] == len(view[0])
        assert metadata["seed"] == view[0].id
        assert view.filter_episodes(lambda episode: len(episode) > 1).total_steps <= view.total_steps
        assert view.storage.get_window(view[0].id, 0, 1)["rewards"] == view[0].rewards[:1]


def test_view_of_an_agent_becomes_a_dataset(dataset: minari.MinariDataset) -> None:
    view = dataset.for_agent("c/d")
    saved = view.save("many/saved-v0")
    for copy in (saved, view.convert("many/converted-v0", "hdf5", compression="gzip")):
        assert [episode.rewards.tolist() for episode in copy] == [episode.rewards.tolist() for episode in view]
        assert [episode.infos.keys() for episode in copy] == [episode.infos.keys() for episode in view]
        assert "multi_agent" not in copy.storage.metadata
        assert minari.validate(copy.id).ok
    assert minari.combine_datasets([saved, view], "many/twice-v0").total_steps == 2 * view.total_steps


def test_view_of_an_agent_cannot_be_changed(dataset: minari.MinariDataset) -> None:
    view = dataset.for_agent("a")
    for change in (
        lambda: view.update_dataset_from_buffer([EpisodeBuffer()]),
        lambda: view.storage.update_metadata({"author": "x"}),
        lambda: view.storage.repack(),
    ):
        with pytest.raises(
            StorageError, match="of the agent 'a' are a view of many/agents-v0, which cannot be changed"
        ):
            change()
    absent = next(index for index, episode in enumerate(dataset) if "a" not in episode)  # type: ignore[operator]
    with pytest.raises(EpisodeIndexError, match=f"Episode {absent} has no trajectory of the agent 'a'"):
        list(view.iterate_episodes([absent]))
    with pytest.raises(ArgumentError, match="has no agent 'z', expected one of"):
        dataset.for_agent("z")
    with pytest.raises(ArgumentError, match="expected one of 'one agent without a name'"):
        view.for_agent("a")


def test_selection_and_saving_keep_episodes(dataset: minari.MinariDataset) -> None:
    chosen = dataset.filter_episodes(lambda episode: 7 in episode and len(episode) > 2)  # type: ignore[operator]
    assert 0 < len(chosen) < len(dataset)
    parts = minari.split_dataset(dataset, [2, 3], seed=1)
    for view in (chosen, dataset[1:4], *parts):
        saved = view.save(f"many/{len(minari.list_local_datasets())}-v0")
        copies = [episode.copy() for episode in view]
        for place, (episode, again) in enumerate(zip(copies, saved, strict=True)):
            object.__setattr__(episode, "id", place)
            for agent in episode:  # type: ignore[attr-defined]
                object.__setattr__(episode[agent], "id", place)
            assert episode == again


@pytest.mark.parametrize("data_format", FORMATS)
def test_conversion_keeps_values_and_metadata(dataset: minari.MinariDataset, data_format: str) -> None:
    dataset.storage.update_episode_metadata([{"note": str(index)} for index in range(5)])
    converted = dataset.convert("many/other-v0", data_format)
    assert list(converted) == list(dataset)
    assert converted.observation_space == dataset.observation_space
    assert list(converted.agents) == dataset.agents
    assert converted.minari_version == "0.6"
    for before, after in zip(
        *(one.storage.get_episode_metadata(range(5)) for one in (dataset, converted)), strict=True
    ):
        assert before == after
    assert minari.validate(converted.id).findings == ()


def test_older_release_cannot_have_many_agents(dataset: minari.MinariDataset) -> None:
    with pytest.raises(DatasetVersionError, match=r"The dataset has many agents, which releases 0\.5 cannot read"):
        dataset.convert("many/old-v0", "hdf5", compatible_with="0.5")


def test_combination_has_the_agents_of_all(dataset: minari.MinariDataset) -> None:
    agents = {"late": spaces.Discrete(4), "a": BOX}
    other = created(
        "others",
        buffers(2, 7, agents),
        observation_space=agents,
        action_space=dict.fromkeys(agents, spaces.Discrete(3)),
        data_format=dataset.storage.FORMAT,
    )
    both = minari.combine_datasets([dataset, other], "many/both-v0")
    assert both.agents == ["a", 7, "c/d", "late"]
    assert both.total_steps == dataset.total_steps + other.total_steps
    assert both[5]["late"].rewards.tolist() == other[0]["late"].rewards.tolist()  # type: ignore[index]
    assert both.minari_version == "0.6"
    assert minari.validate(both.id).ok
    clash = created("clash", [], observation_space={"a": spaces.Discrete(9)}, action_space={"a": ACTIONS["a"]})
    with pytest.raises(CombineError, match="The space of the agent 'a' is another one than before"):
        minari.combine_datasets([dataset, clash], "many/refused-v0")
    with pytest.raises(CombineError, match="has many agents and many/agents-v0 has one"):
        minari.combine_datasets([dataset, dataset.for_agent("a")], "many/refused-v0")


def test_statistics_are_of_all_and_of_each(dataset: minari.MinariDataset) -> None:
    statistics = dataset.statistics()
    assert statistics.lengths.tolist() == [len(episode) for episode in dataset]
    totals = [sum(episode[agent].rewards.sum() for agent in episode) for episode in dataset]  # type: ignore[attr-defined, index]
    np.testing.assert_allclose(statistics.returns, totals)
    assert statistics.agents is not None
    for agent, of_agent in statistics.agents.items():
        view = dataset.for_agent(agent)
        np.testing.assert_array_equal(of_agent.returns, view.statistics().returns)
        np.testing.assert_array_equal(of_agent.lengths, [len(episode) for episode in view])
    summary = statistics.summary()
    assert summary["agents"].keys() == set(AGENTS)
    assert summary["agents"][7]["length"]["max"] == max(map(len, dataset.for_agent(7)))


def test_field_statistics_name_the_agent(dataset: minari.MinariDataset) -> None:
    found = dataset.field_statistics()
    assert set(found) == {
        f"{name}/{field}"
        for name in ("a", "_key:7", '_key:"c\\u002fd"')
        for field in ("observations", "actions", "rewards")
    }
    one = dataset.field_statistics(["a/rewards"])
    assert list(one) == ["a/rewards"]
    np.testing.assert_array_equal(one["a/rewards"].mean, dataset.for_agent("a").field_statistics()["rewards"].mean)
    assert len(dataset.field_statistics(["rewards"])) == 3
    with pytest.raises(ArgumentError, match="There is no field 'nothing'"):
        dataset.field_statistics(["a/nothing"])


def test_episodes_are_appended(dataset: minari.MinariDataset) -> None:
    before = list(dataset)
    dataset.update_dataset_from_buffer(buffers(2, 9))
    assert list(dataset)[:5] == before
    assert len(dataset) == 7
    with pytest.raises(
        EpisodeError, match=r"Episode 7 cannot be stored\. The episode has a trajectory of the agent 'z'"
    ):
        dataset.update_dataset_from_buffer([MultiAgentEpisodeBuffer({"z": EpisodeBuffer()}, total_steps=1)])
    with pytest.raises(EpisodeTypeError, match="expected a MultiAgentEpisodeBuffer"):
        dataset.update_dataset_from_buffer([EpisodeBuffer(observations=[0], actions=[], rewards=[])])


def test_dataset_is_renamed_and_validated(dataset: minari.MinariDataset) -> None:
    assert minari.validate(dataset.id).findings == ()
    minari.rename_dataset(dataset.id, "many/renamed-v1")
    assert minari.load_dataset("many/renamed-v1").agents == dataset.agents


def test_environment_of_pettingzoo_gives_the_spaces() -> None:
    class Environment:
        possible_agents = ("a", "b")

        def observation_space(self, agent: str) -> gym.Space[Any]:
            return BOX

        def action_space(self, agent: str) -> gym.Space[Any]:
            return spaces.Discrete(2 if agent == "a" else 3)

    dataset = minari.create_dataset_from_buffers("many/env-v0", [], env=Environment())  # type: ignore[arg-type]
    assert dict(dataset.action_space) == {"a": spaces.Discrete(2), "b": spaces.Discrete(3)}  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"action_space": spaces.Discrete(3)}, "One of observation_space and action_space is a mapping"),
        ({"action_space": {"a": spaces.Discrete(3)}}, "The action_space has no space of the agent 7"),
        ({"observation_space": {**AGENTS, "a": "Box"}}, "The space of the agent 'a' is 'Box', expected a gymnasium"),
    ],
)
def test_spaces_that_do_not_belong_together_are_refused(arguments: Any, sentence: str) -> None:
    with pytest.raises(SpaceError, match=sentence):
        created("refused", **arguments)
    assert not minari.list_local_datasets()


def test_values_outside_the_spaces_are_told_for_each_agent() -> None:
    (buffer,) = buffers(1)
    trajectory = buffer.agents[7]
    outside = EpisodeBuffer(**{**vars(trajectory), "observations": 5 * np.ones((len(trajectory) + 1, 2), np.float32)})
    episode = MultiAgentEpisodeBuffer({7: outside}, total_steps=len(trajectory))
    with pytest.warns(UserWarning, match="Agent 7: Observation is not in observation space"):
        created("outside", [episode])


def test_vector_rewards_of_agents(dataset: minari.MinariDataset, tmp_path: Path) -> None:
    def vector(buffer: Any) -> Any:
        agents = {
            agent: EpisodeBuffer(**{**vars(one), "rewards": np.ones((len(one), 2)) if len(one) else []})
            for agent, one in buffer.agents.items()
        }
        return MultiAgentEpisodeBuffer(agents, buffer.timesteps, buffer.total_steps)

    goals = created("goals", [vector(buffer) for buffer in buffers()], data_format=dataset.storage.FORMAT)
    assert goals.storage.reward_shape == (2,)
    assert goals.statistics().returns.shape == (5, 2)
    assert goals.transitions(joint=True)[:]["rewards"].shape == (goals.total_steps, 3, 2)
    assert minari.validate(goals.id).ok
    with pytest.raises(EpisodeError, match=r"The rewards have the shape \(\) a step, expected \(2,\)"):
        goals.update_dataset_from_buffer(buffers(1))
