"""Conformance: episodes of many agents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from minari._model.compression import is_frame
from minari._model.episode_buffer import EpisodeBuffer, MultiAgentEpisodeBuffer
from minari._model.multi_agent import AgentSpaces, MultiAgentCodec, agent_name
from minari._storages.base import MinariStorage
from minari._storages.rows import RowRequest
from minari._storages.write_session import append_encoded
from minari.dataset.minari_dataset import MinariDataset
from minari.errors import CombineError, EpisodeError, SpaceError
from minari.testing.comparison import assert_arrays, assert_episode, assert_metadata, assert_same
from minari.testing.examples import SPACES, as_buffer, draw_truth
from minari.testing.memory_storage import register_memory_storage
from minari.testing.storage_suites.suite import ACTIONS, OBSERVATIONS, Suite, refused


_ACTIONS = spaces.Discrete(3)
#: Ids of every kind, in an order that is not that of their names.
AGENTS: dict[Any, gym.Space[Any]] = {
    "walker": OBSERVATIONS,
    0: spaces.Box(-1.0, 1.0, (3,), np.float32),
    "team/left": spaces.Sequence(spaces.Discrete(4)),
    ("red", 1): spaces.Tuple((spaces.Text(3), spaces.MultiBinary(2))),
    "state": spaces.Discrete(7),
}


def draw_agents(
    observation_spaces: Mapping[Any, gym.Space[Any]],
    action_spaces: Mapping[Any, gym.Space[Any]],
    total_steps: int,
    number: int,
    **fields: Any,
) -> tuple[MultiAgentEpisodeBuffer, dict[Any, Any]]:
    """Return a random episode of many agents, some of which come late, leave early, never act, or are not there.

    Args:
        observation_spaces: the space of the observations of each agent.
        action_spaces: the space of the actions of each agent.
        total_steps: the number of joint steps.
        number: the same episode is drawn for the same number.
        fields: further fields of the buffer.

    Returns:
        The buffer, and what is to be read: for each agent its values, and its timesteps.
    """
    rng = np.random.default_rng(number)
    agents: dict[Any, EpisodeBuffer] = {}
    timesteps: dict[Any, Any] = {}
    truth: dict[Any, Any] = {}
    for place, agent in enumerate(observation_spaces):
        if place == number % (len(observation_spaces) + 1) and len(observation_spaces) > 1:
            continue
        rows = int(rng.integers(1, total_steps + 2)) if truth else total_steps + 1  # the first one acts
        steps = np.sort(rng.choice(total_steps + 1, size=rows, replace=False))
        infos = {"n": np.arange(float(rows)), "t": _texts(rows)} if place % 2 else {}
        of_agent = draw_truth(observation_spaces[agent], action_spaces[agent], rows - 1, number + place, infos)
        agents[agent], timesteps[agent] = as_buffer(of_agent), steps
        truth[agent] = {**of_agent, "timesteps": steps}
    return MultiAgentEpisodeBuffer(agents, timesteps, total_steps, **fields), truth


def _texts(count: int) -> Any:
    column = np.empty(count, object)
    column[:] = [f"é{i}" for i in range(count)]
    return column


class MultiAgentSuite(Suite):
    """Episodes whose agents come, leave and act at different times."""

    cases: ClassVar[dict[str, Any]] = {
        "space_of_agent": SPACES,
        "state": {
            "none": lambda rows: None,
            "array": lambda rows: np.arange(2.0 * rows, dtype=np.float32).reshape(rows, 2),
            "text": _texts,
            "dict": lambda rows: {"map": _texts(rows), "grid": np.ones((rows, 2, 2), np.int8)},
            "tuple": lambda rows: (np.arange(rows), np.zeros((rows, 3))),
        }.values(),
    }

    def new_of_agents(self, directory: Path, agents: Mapping[Any, gym.Space[Any]], **options: Any) -> MinariStorage:
        """Return an empty storage for agents with these spaces of observations."""
        return self.new(directory, AgentSpaces(agents), AgentSpaces(dict.fromkeys(agents, _ACTIONS)), **options)

    def draw_episode(
        self, agents: Mapping[Any, gym.Space[Any]], total_steps: int, number: int, **fields: Any
    ) -> tuple[MultiAgentEpisodeBuffer, dict[Any, Any]]:
        """Return a random episode of agents with these spaces of observations, and what is to be read."""
        return draw_agents(agents, dict.fromkeys(agents, _ACTIONS), total_steps, number, **fields)

    def filled_with_agents(self, directory: Path, **options: Any) -> tuple[MinariStorage, list[dict[Any, Any]]]:
        """Return a storage with some episodes of :data:`AGENTS`, and their content."""
        storage = self.new_of_agents(directory, AGENTS, **options)
        drawn = [self.draw_episode(AGENTS, length, seed, seed=seed) for seed, length in enumerate((3, 1, 6, 2))]
        storage.update_episodes([buffer for buffer, _ in drawn])
        return storage, [truth for _, truth in drawn]

    def assert_holds_agents(
        self, storage: MinariStorage, truths: Sequence[dict[Any, Any]], agents: Mapping[Any, gym.Space[Any]] = AGENTS
    ) -> None:
        """Require exactly these episodes, in the storage and after opening it again, as copies and as views."""
        for opened in (storage, MinariStorage.read(storage.data_path, verify_checksums=True)):
            assert opened.is_multi_agent
            assert opened.total_episodes == len(truths)
            for copy in (True, False):
                episodes = list(opened.get_episodes(range(len(truths)), copy=copy))
                assert [episode["id"] for episode in episodes] == list(range(len(truths)))
                for episode, truth in zip(episodes, truths, strict=True):
                    self.assert_agents(episode, truth, agents)

    def assert_agents(self, episode: Any, truth: Mapping[Any, Any], agents: Mapping[Any, gym.Space[Any]]) -> None:
        """Require the trajectories of an episode."""
        assert list(episode["episodes"]) == [agent for agent in agents if agent in truth]
        for agent, expected in truth.items():
            found = episode["episodes"][agent]
            assert_episode(vars(found), agents[agent], _ACTIONS, expected)
            assert_same(found.timesteps, np.asarray(expected["timesteps"], np.int64), "timesteps")

    def test_space_of_agent(self, tmp_path: Path, space_of_agent: str) -> None:
        """Store every space, as that of the observations and of the actions of one of two agents."""
        observation_spaces = AgentSpaces({"a": SPACES[space_of_agent], "b": _ACTIONS})
        action_spaces = AgentSpaces({"a": _ACTIONS, "b": SPACES[space_of_agent]})
        storage = self.new(tmp_path, observation_spaces, action_spaces)
        drawn = [draw_agents(observation_spaces, action_spaces, length, length) for length in (2, 3, 5)]
        storage.update_episodes([buffer for buffer, _ in drawn])
        for opened in (storage, MinariStorage.read(storage.data_path)):
            assert (opened.observation_space, opened.action_space) == (observation_spaces, action_spaces)
            for episode, (_, truth) in zip(opened.get_episodes(range(3)), drawn, strict=True):
                for agent, expected in truth.items():
                    found = vars(episode["episodes"][agent])
                    assert_episode(found, observation_spaces[agent], action_spaces[agent], expected)

    def test_agents_come_and_leave(self, tmp_path: Path) -> None:
        """Agents with ids of every kind may be missing, come late, leave early, and never act."""
        storage, truths = self.filled_with_agents(tmp_path)
        self.assert_holds_agents(storage, truths)
        opened = MinariStorage.read(storage.data_path)
        assert list(opened.observation_space) == list(AGENTS)  # type: ignore[call-overload]
        assert storage.total_steps == opened.total_steps == 12
        assert opened.get_episode_lengths().tolist() == [3, 1, 6, 2]
        for number, metadata in enumerate(opened.get_episode_metadata(range(4))):
            of_agents = {
                agent_name(agent): {"total_steps": len(truths[number][agent]["rewards"])} for agent in truths[number]
            }
            assert_metadata(metadata, {"id": number, "total_steps": (3, 1, 6, 2)[number], "agents": of_agents})

    def test_state_of_all_agents(self, tmp_path: Path, state: Any) -> None:
        """Store global states of any kind, one a joint step and one more."""
        storage = self.new_of_agents(tmp_path, {"a": _ACTIONS})
        given = [state(rows) for rows in (3, 2)]
        storage.update_episodes(
            self.draw_episode({"a": _ACTIONS}, rows - 1, 0, state=values)[0]
            for rows, values in zip((3, 2), given, strict=True)
        )
        for opened in (storage, MinariStorage.read(storage.data_path)):
            assert_same([episode["state"] for episode in opened.get_episodes([0, 1])], given, "state")

    def test_outcomes_and_rows(self, tmp_path: Path) -> None:
        """Read the outcomes of each agent, and rows of a leaf out of many episodes."""
        storage, truths = self.filled_with_agents(tmp_path)
        for opened in (storage, MinariStorage.read(storage.data_path)):
            for outcomes, truth in zip(opened.get_outcomes(range(4)), truths, strict=True):
                assert outcomes["agents"].keys() == truth.keys()
                for agent, expected in truth.items():
                    assert_same(outcomes["agents"][agent]["rewards"], expected["rewards"], "rewards")
            having = [index for index in (2, 0, 3, 1) if 0 in truths[index]]
            rows = [len(truths[index][0]["rewards"]) for index in having]
            path = ("agents", agent_name(0), "observations")
            (found,) = opened.read_rows([RowRequest(path, (3,), np.array(having), np.array(rows))])
            expected_rows = [truths[index][0]["observations"][row] for index, row in zip(having, rows, strict=True)]
            assert_same(found, np.stack(expected_rows), "rows")
            for agent in MinariDataset(opened).agents:
                assert_arrays(MinariDataset(opened).for_agent(agent))

    def test_agents_appear(self, tmp_path: Path) -> None:
        """An agent that nobody knew gets its spaces in the commit with its first episode."""
        first, more = {"a": _ACTIONS}, {"a": _ACTIONS, "late": SPACES["dict"]}
        storage = self.new_of_agents(tmp_path, first)
        buffer, truth = self.draw_episode(first, 3, 0)
        storage.update_episodes([buffer])
        other, writer = MinariStorage.read(storage.data_path), MinariStorage.read(storage.data_path)
        codec = MultiAgentCodec(first, first).with_agents(more, dict.fromkeys(more, _ACTIONS))
        later, later_truth = self.draw_episode(more, 4, 2)
        append_encoded(storage, [codec.encode(later)], codec)
        for opened in (storage, other):
            self.assert_holds_agents(opened, [truth, later_truth], more)
        assert MinariStorage.read(storage.data_path).observation_space == AgentSpaces(more)
        changed = MultiAgentCodec({"late": _ACTIONS}, {"late": _ACTIONS})
        with refused(SpaceError, "'late'", "another one than before"):
            append_encoded(storage, [], changed)
        writer.update_episodes([later])  # which was opened before there was such an agent
        self.assert_holds_agents(other, [truth, later_truth, later_truth], more)

    def test_copy_of_agents(self, tmp_path: Path) -> None:
        """Copy episodes of any format, with their metadata; the destination takes agents that it does not have."""
        register_memory_storage()
        for data_format in (self.data_format, "memory"):
            source, truths = self.filled_with_agents(tmp_path, data_format=data_format)
            source.update_episode_metadata([{"note": f"n{i}"} for i in range(4)])
            own = {"a": _ACTIONS}
            storage = self.new_of_agents(tmp_path, own)
            buffer, truth = self.draw_episode(own, 2, 0)
            storage.update_episodes([buffer])
            storage.update_from_storage(source, [3, 0])
            storage.update_from_storage(source, [2])
            expected = [truth, truths[3], truths[0], truths[2]]
            self.assert_holds_agents(storage, expected, {**own, **AGENTS})
            for number, (metadata, i) in enumerate(
                zip(storage.get_episode_metadata([1, 2, 3]), (3, 0, 2), strict=True), 1
            ):
                assert_metadata(metadata, {"id": number, "note": f"n{i}", "seed": i})

    def test_copy_of_other_agents_is_refused(self, tmp_path: Path) -> None:
        """An agent with other spaces, and a dataset of one agent, do not fit."""
        storage, truths = self.filled_with_agents(tmp_path)
        with refused(CombineError, "'walker'", "another one than before"):
            storage.update_from_storage(self.new_of_agents(tmp_path, {"walker": _ACTIONS}))
        single, _ = self.filled(tmp_path, [2])
        for one, other in ((storage, single), (single, storage)):
            with refused(CombineError, "many agents", "of one"):
                one.update_from_storage(other)
        self.assert_holds_agents(storage, truths)

    def test_episodes_of_agents_that_are_refused(self, tmp_path: Path) -> None:
        """An episode that does not fit, of one agent, or that should be extended, leaves everything unchanged."""
        storage, truths = self.filled_with_agents(tmp_path)
        good, _ = self.draw_episode(AGENTS, 2, 8)
        unfit: list[tuple[Any, str]] = [
            (as_buffer(self.draw(2, 0)), "expected a MultiAgentEpisodeBuffer"),
            (MultiAgentEpisodeBuffer(good.agents, good.timesteps, good.total_steps, id=0), "cannot be extended"),
            (MultiAgentEpisodeBuffer({"nobody": as_buffer(self.draw(2, 0))}), "'nobody'"),
        ]
        for buffer, word in unfit:
            with refused(EpisodeError, word):
                storage.update_episodes([good, buffer])
        self.assert_holds_agents(storage, truths)

    def test_frames_of_agents(self, tmp_path: Path) -> None:
        """Store frames of one agent, as they are and as JPEG, also where an agent is missing or never acts."""
        frames = spaces.Box(0, 255, (40, 32, 3), np.uint8)
        assert is_frame(next(MultiAgentCodec({"a": frames}, {"a": frames}).observations.leaves()))
        agents = {"camera": frames, "blind": ACTIONS}
        actions = {"camera": frames, "blind": ACTIONS}
        for jpeg in (False, True):
            storage = self.new(tmp_path, AgentSpaces(agents), AgentSpaces(actions), jpeg_encoding=jpeg)
            drawn = [draw_agents(agents, actions, 3, seed) for seed in range(3)]
            never_acts, _ = draw_agents({"camera": frames}, {"camera": frames}, 1, 5)
            empty = EpisodeBuffer(observations=never_acts.agents["camera"].observations[:1])
            blind = drawn[0][0].agents.get("blind") or drawn[1][0].agents["blind"]
            last = MultiAgentEpisodeBuffer({"camera": empty, "blind": blind}, {"camera": [0]}, 3)
            storage.update_episodes([*(buffer for buffer, _ in drawn), last])
            for opened in (storage, MinariStorage.read(storage.data_path)):
                episodes = list(opened.get_episodes(range(4)))
                assert episodes[3]["episodes"]["camera"].actions.shape == (0, 40, 32, 3)
                for episode, (_, truth) in zip(episodes, drawn, strict=False):
                    for agent in truth:
                        found = episode["episodes"][agent]
                        wanted = np.stack([*truth[agent]["observations"]])
                        assert found.observations.shape == wanted.shape
                        assert jpeg or np.array_equal(found.observations, wanted)

    def test_repack_of_agents(self, tmp_path: Path) -> None:
        """Rewriting in place keeps values, metadata and spaces."""
        storage, truths = self.filled_with_agents(tmp_path)
        storage.update_episode_metadata([{"note": "a", "agents": {0: {"team": "blue"}}}], [2])
        with refused(EpisodeError, "'nobody'"):
            storage.update_episode_metadata([{"agents": {"nobody": {}}}], [2])
        storage.repack()
        self.assert_holds_agents(storage, truths)
        (metadata,) = storage.get_episode_metadata([2])
        assert_metadata(metadata, {"note": "a", "seed": 2})
        of_agent = {"team": "blue", "total_steps": len(truths[2][0]["rewards"])}
        assert_metadata(metadata["agents"], {agent_name(0): of_agent})

    def test_agents_have_checksums(self, tmp_path: Path) -> None:
        """Values of many agents are verified as those of one are."""
        single, _ = self.filled(tmp_path, [2])
        storage, _ = self.filled_with_agents(tmp_path)
        missing: Iterable[int] = single.episodes_without_checksums([0])
        assert bool(storage.episodes_without_checksums(range(4))) == bool(missing)

    def test_infos_and_states_of_agents_change_their_type(self, tmp_path: Path) -> None:
        """A state, or an info of an agent, may be numbers in one episode and text or nested in the next."""
        values: list[Any] = [
            np.arange(3.0),
            ["a", "b", "c"],
            {"x": np.arange(3)},
            [1, "a", None],
            np.ones((3, 2), bool),
        ]
        storage = self.new_of_agents(tmp_path, {"a": _ACTIONS})
        buffers = []
        for state in values:
            truth = draw_truth(_ACTIONS, _ACTIONS, 2, 1, {"info": state})
            buffers.append(MultiAgentEpisodeBuffer({"a": as_buffer(truth)}, state=state))
        storage.update_episodes(buffers)
        storage.update_episodes(buffers[::-1])
        expected = [np.array(value, object) if isinstance(value, list) else value for value in values]
        for opened in (storage, MinariStorage.read(storage.data_path)):
            for episode, value in zip(opened.get_episodes(range(10)), [*expected, *expected[::-1]], strict=True):
                assert_same(episode["state"], value, "state")
                assert_same(episode["episodes"]["a"].infos["info"], value, "info")
