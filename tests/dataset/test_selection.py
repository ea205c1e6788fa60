"""Selection of episodes by conditions as text, compared with the same conditions as functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

import minari
from minari._storages.core import StorageCore
from minari.data_collector import EpisodeBuffer, MultiAgentEpisodeBuffer
from minari.errors import ArgumentError
from support.copies import in_every_format, make_rich
from support.sampling_model import episode, make
from support.scripted import PLANE, buffer_of


pytestmark = [
    pytest.mark.filterwarnings("ignore::minari.errors.MissingMetadataWarning"),
    pytest.mark.filterwarnings("ignore:.*outside"),
]

FORMATS = ["hdf5", "arrow", "parquet", "zarr"]
ACTIONS = spaces.Discrete(3)


def selected(dataset: minari.MinariDataset, text: str) -> list[int]:
    return dataset.filter_episodes(text).episode_indices.tolist()


def expected(dataset: minari.MinariDataset, condition: Callable[[Any], Any]) -> list[int]:
    return [one.id for one in dataset if condition(one)]


DOOR: dict[str, Callable[[Any], Any]] = {
    "return > 500 and length < 300": lambda one: one.rewards.sum() > 500 and len(one) < 300,
    "truncated and id % 3 == 1": lambda one: one.truncations[-1] and one.id % 3 == 1,
    'mean("observations") > 0.1': lambda one: one.observations.mean() > 0.1,
    'max("actions") <= 1 and min("actions") < -0.999': lambda one: (
        one.actions.max() <= 1 and one.actions.min() < -0.999
    ),
    'std("rewards") > 5': lambda one: one.rewards.std() > 5,
    'sum("rewards") >= return - 1e-6': lambda one: True,
    'any("infos/success")': lambda one: one.infos["success"].any(),
    "rewards_max > 10 or rewards_min < -0.2": lambda one: one.rewards.max() > 10 or one.rewards.min() < -0.2,
    'metadata["seed"] == seed': lambda one: True,
    "seed is None": lambda one: False,
}


@pytest.mark.parametrize("data_format", FORMATS)
def test_door(real_root: Any, data_format: str) -> None:
    dataset = minari.load_dataset("D4RL/door/human-v2")
    if data_format != "hdf5":
        dataset = dataset.convert("door/copy-v0", data_format)
    lists = {text: selected(dataset, text) for text in DOOR}
    assert lists == {text: expected(dataset, condition) for text, condition in DOOR.items()}
    assert any(0 < len(one) < len(dataset) for one in lists.values())


RICH: dict[str, Callable[[Any], Any]] = {
    "length >= 4": lambda number: LENGTHS[number] >= 4,
    "mine.number in [1, 2]": lambda number: number in (1, 2),
    "mine.array == [0, 1]": lambda number: number == 2,
    "mine.array[1] == 1": lambda number: number >= 2,
    "list[1] == 'a' and list[2] is None and 1 in list": lambda number: True,
    "options.level == 'low' and metadata['options/state/qpos'][1][2] == 5": lambda number: True,
    "options.state.deep.flag and rewards_mean > 0.5": lambda number: number / 3 > 0.5,
    'max("infos/x") > 4 and mean("infos/matrix") < 1 and any("infos/nested/flag")': lambda number: LENGTHS[number] > 4,
}
LENGTHS = [5, 1, 3]


@in_every_format
def test_metadata_and_infos(data_format: str) -> None:
    dataset = make_rich("rich/a-v0", data_format)
    lengths = [len(one) for one in dataset]
    for text, condition in RICH.items():
        LENGTHS[:] = lengths
        assert selected(dataset, text) == [number for number in range(len(lengths)) if condition(number)], text
    assert selected(dataset, 'seed == 1 or max("observations/pixels") > 300') == [
        number
        for number, one in enumerate(dataset.storage.get_episode_metadata(range(len(dataset))))
        if one["seed"] == 1
    ]


UNKNOWN = {
    "lenght > 3": "No episode has 'lenght'.*'length'",
    "truncated == true": "No episode has 'true'.*; write True.$",
    "max(rewards) > 3": r"No episode has 'rewards'.*; fields are given in quotes and in a function, as in 'max\(",
    "id == pick": "No episode has 'pick'.*, and text needs quotes",
    "optoins.level == 'low'": "No episode has 'optoins'.*'options'",
    "options.levle == 'low'": r"No episode has \"options\['levle'\]\".*'level'",
    "length > 1e9 and mine.numbr > 2": r"No episode has \"mine\['numbr'\]\".*'number'",
    'metadata["lsit"] == 3': r"No episode has .*lsit.*'list'",
    "options.state.qpos[2] == 3": r"No episode has .*\[2\].*'\[0\] to \[1\]'",
    "return[0] > 3": r"No episode has 'return\[0\]'",
    "length.__class__ == 3": "No episode has .*__class__.*no names at this place",
    'agents["a"].return > 3': "No episode has",
    'mean("observation") > 3': "no field 'observation'.*'observations'",
    'mean("observations/pixles") > 3': "no field 'observations/pixles'.*'observations/pixels'",
    'mean("infos/matrx") > 3': "No episode has the field 'infos/matrx'.*'infos/matrix'",
    'mean("infos") > 3': "'infos' has something else than numbers",
    'mean("infos/nested/name") > 3': "something else than numbers",
    "options.level > 3": "compares 'low' with 3.*different kinds",
    "mine": "is not a condition",
}


@pytest.mark.parametrize("text", UNKNOWN)
def test_unknown_names_have_suggestions(text: str) -> None:
    dataset = make_rich("rich/a-v0", "hdf5")
    with pytest.raises(ArgumentError, match=UNKNOWN[text]) as caught:
        dataset.filter_episodes(text)
    assert str(caught.value).endswith(".")


def test_text_and_sequences_have_no_numbers() -> None:
    for space, leaf in (("text", "observations/mission"), ("sequence", "observations/0")):
        dataset = make(f"kinds/{space}-v0", space=space)
        with pytest.raises(ArgumentError, match="no numbers of a fixed shape"):
            dataset.filter_episodes(f'mean("{leaf}") > 3')
    assert selected(make("kinds/text-v1", space="text"), 'max("observations/at") <= 1') == [0, 1, 2, 3, 4]


def test_views_are_selected_from_in_their_order() -> None:
    dataset = make("views/a-v0")
    view = dataset[[4, 0, 3, 0, 1]]
    assert selected(view, "length >= 5 and return > -1e9") == [4, 0, 3, 0]
    assert selected(view, 'max("actions") > 20') == [4, 3]
    assert selected(view.filter_episodes("length < 10"), "id == 0") == [0, 0]
    assert selected(dataset[:0], "return > 3 and nothing == 3") == []
    assert len(dataset.filter_episodes("length > 10")[:1]) == 1


@pytest.mark.parametrize("data_format", FORMATS)
def test_a_dataset_without_episodes_has_none(data_format: str) -> None:
    dataset = minari.create_dataset_from_buffers(
        "empty/a-v0", [], observation_space=PLANE, action_space=ACTIONS, data_format=data_format
    )
    assert selected(dataset, 'return > 3 or length > 3 or seed == 3 or task == "a" or mean("rewards") > 3') == []
    assert minari.diff_datasets(dataset, dataset.filter_episodes("id > 3")).equal


def test_only_what_is_named_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = make("reads/a-v0", space="nested", data_format="hdf5")
    read: list[str] = []
    for name in ("get_outcomes", "read_parts", "get_episode_metadata", "get_episode_lengths", "get_episodes"):
        original = getattr(type(dataset.storage), name)

        def logged(
            self: StorageCore, *arguments: Any, _original: Any = original, _name: str = name, **more: Any
        ) -> Any:
            read.append(_name)
            return _original(self, *arguments, **more)

        monkeypatch.setattr(type(dataset.storage), name, logged)
    texts = {
        "length > 3 or id == 2": {"get_episode_lengths"},
        "seed == 3": {"get_episode_metadata"},
        "return > 3 or truncated": {"get_outcomes", "get_episode_lengths"},
        "return > 2 and terminated": set(),  # which are kept beside the data
        'mean("observations/arm") > 3': {"read_parts"},
    }
    for text, expected_calls in texts.items():
        read.clear()
        dataset.filter_episodes(text)
        assert set(read) == expected_calls, text
    asked: list[Any] = []
    monkeypatch.setattr(
        type(dataset.storage), "read_parts", lambda self, numbers, paths: asked.append(paths) or iter(())
    )
    with pytest.raises(ValueError, match="shorter"):
        dataset.filter_episodes('mean("observations/arm") > 3')
    assert ("observations", "arm", 0) in asked[0]
    assert ("observations", "camera") not in asked[0]


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("choice", [{}, {"jpeg_encoding": True}, {"frame_stack": "deduplicate"}])
def test_frames(data_format: str, choice: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    stacked = choice.get("frame_stack") == "deduplicate"
    space = spaces.Box(0, 255, (3, 40, 36) if stacked else (40, 36, 3), np.uint8)
    buffers = []
    for number in range(4):
        frames = np.full((8, 40, 36), 60 * number, np.uint8) + rng.integers(0, 9, (8, 40, 36), np.uint8)
        stacks = np.stack([frames[t : t + 3] for t in range(5)])
        buffers.append(buffer_of(4, observations={"camera": stacks if stacked else np.moveaxis(stacks, 1, -1)}))
    dataset = minari.create_dataset_from_buffers(
        "frames/a-v0",
        buffers,
        observation_space=spaces.Dict(camera=space),
        action_space=ACTIONS,
        data_format=data_format,
        **choice,
    )
    for text, condition in {
        'max("observations/camera") > 125': lambda one: one.observations["camera"].max() > 125,
        'mean("observations") < 100': lambda one: one.observations["camera"].mean() < 100,
        'std("observations/camera") < 3': lambda one: one.observations["camera"].std() < 3,
    }.items():
        assert selected(dataset, text) == expected(dataset, condition)
    assert selected(dataset, 'max("observations/camera") > 125') == [2, 3]


@pytest.mark.parametrize("data_format", FORMATS)
def test_vector_rewards(data_format: str) -> None:
    rewards = [np.full((3, 2), value, np.float32) * [1, -1] for value in range(4)]
    dataset = minari.create_dataset_from_buffers(
        "vector/a-v0",
        [buffer_of(3, rewards=one) for one in rewards],
        observation_space=PLANE,
        action_space=ACTIONS,
        data_format=data_format,
    )
    assert selected(dataset, "return[0] > 3 and return[1] > -9") == [2]
    assert selected(dataset, "sum(return) == 0 and max(return) >= 6") == [2, 3]
    assert selected(dataset, "return == [3, -3]") == [1]
    with pytest.raises(ArgumentError, match=r"'return > 3' compares \[0.0, -?0.0\] with 3"):
        dataset.filter_episodes("return > 3")


def test_a_vector_of_one_reward_is_a_number() -> None:
    buffers = [buffer_of(3, rewards=np.full((3, 1), value, np.float32)) for value in range(3)]
    dataset = minari.create_dataset_from_buffers("one/a-v0", buffers, observation_space=PLANE, action_space=ACTIONS)
    assert selected(dataset, "return > 1") == [1, 2]


def test_rows_without_an_info_do_not_count() -> None:
    def play(present: list[int]) -> EpisodeBuffer:
        buffer = EpisodeBuffer(observations=np.zeros(2, np.float32), infos={"deep": {"heat": 5.0}})
        for step in range(4):
            info = {"deep": {"heat": 5.0 + step}} if step in present else {}
            buffer = buffer.add_step_data(
                {
                    "observation": np.zeros(2, np.float32),
                    "action": 0,
                    "reward": 0.0,
                    "terminated": step == 3,
                    "truncated": False,
                    "info": info,
                }
            )
        return buffer

    buffers = [play([]), play([1, 2]), play([0, 1, 2, 3]), buffer_of(4, infos={"other": np.ones(5)})]
    dataset = minari.create_dataset_from_buffers("masks/a-v0", buffers, observation_space=PLANE, action_space=ACTIONS)
    assert selected(dataset, 'min("infos/deep/heat") == 5') == [0, 1, 2]
    assert selected(dataset, 'mean("infos/deep/heat") == 6') == [1]
    assert selected(dataset, 'sum("infos/deep/heat") == 18') == [1]
    assert selected(dataset, 'sum("infos/other") == 5') == [3]
    assert selected(dataset, 'sum("infos/other") is None') == [0, 1, 2]


# Many agents

AGENTS: dict[Any, gym.Space[Any]] = {"a": PLANE, 7: PLANE, "c/d": spaces.Dict(x=PLANE)}
LAST = {0: (4, 2, 3), 1: (1, None, 5), 2: (3, 3, None), 3: (2, 6, 1)}


def joint(number: int) -> MultiAgentEpisodeBuffer:
    rng = np.random.default_rng(number)
    trajectories = {
        agent: episode(space, ACTIONS, length, rng, ends="truncated" if number == 2 else "terminated", infos=True)
        for (agent, space), length in zip(AGENTS.items(), LAST[number], strict=True)
        if length is not None
    }
    return MultiAgentEpisodeBuffer(trajectories)


MANY: dict[str, Callable[[Any], Any]] = {
    "return > 0": lambda one: sum(one[agent].rewards.sum() for agent in AGENTS if agent in one) > 0,
    'agents["a"].return > 0': lambda one: one["a"].rewards.sum() > 0,
    "agents[7].return >= -100": lambda one: 7 in one,
    'agents["c/d"].length > agents["a"].length': lambda one: "c/d" in one and len(one["c/d"]) > len(one["a"]),
    "agents.a.terminated and agents[7] is not None": lambda one: one["a"].terminations[-1] and 7 in one,
    "terminated": lambda one: one["a"].terminations[-1],
    "truncated": lambda one: one["a"].truncations[-1],
    "length == 6": lambda one: len(one) == 6,
    'max("a/observations") > 90': lambda one: one["a"].observations.max() > 90,
    'mean("actions") > 1': lambda one: (
        np.concatenate([one[agent].actions for agent in AGENTS if agent in one]).mean() > 1
    ),
    'mean("observations/x") > 0': lambda one: "c/d" in one and one["c/d"].observations["x"].mean() > 0,
    'mean("a/infos/clock") > 0.5': lambda one: one["a"].infos["clock"].mean() > 0.5,
    'sum("infos/clock") > 5': lambda one: sum(one[agent].infos["clock"].sum() for agent in AGENTS if agent in one) > 5,
}


@pytest.mark.parametrize("data_format", FORMATS)
def test_many_agents(data_format: str) -> None:
    dataset = minari.create_dataset_from_buffers(
        "many/a-v0",
        [joint(number) for number in range(4)],
        observation_space=AGENTS,
        action_space=dict.fromkeys(AGENTS, ACTIONS),
        data_format=data_format,
    )
    for text, condition in MANY.items():
        assert selected(dataset, text) == expected(dataset, condition), text
    own = dataset.for_agent(7)
    assert selected(own, 'return > 0 or length >= 3 or max("observations") > 1e9') == [
        one.id for one in own if one.rewards.sum() > 0 or len(one) >= 3
    ]
    for text, message in {
        "agents.b.return > 3": "No episode has .*'b'",
        "agents.a.retrun > 3": "'return'",
        'mean("b/observations") > 3': "no field 'b/observations'",
        'mean("a/observations/x") > 3': "no field 'observations/x'",
        'mean("infos/clok") > 3': "No episode has the field 'infos/clok'.*'infos/clock'",
    }.items():
        with pytest.raises(ArgumentError, match=message):
            dataset.filter_episodes(text)


@given(
    st.lists(
        st.tuples(st.integers(1, 6), st.integers(-3, 3), st.sampled_from([None, "x", "y"])), min_size=1, max_size=6
    )
)
def test_episodes_are_those_that_a_loop_finds(drawn: list[tuple[int, int, str | None]]) -> None:
    buffers = [
        buffer_of(length, rewards=[float(reward)] * length, metadata={} if task is None else {"task": task})
        for length, reward, task in drawn
    ]
    if "model/a-v0" in minari.list_local_datasets():
        minari.delete_dataset("model/a-v0")
    dataset = minari.create_dataset_from_buffers("model/a-v0", buffers, observation_space=PLANE, action_space=ACTIONS)
    found = selected(dataset, "return > 2 or length % 2 == 1")
    assert found == [n for n, (length, reward, _) in enumerate(drawn) if length * reward > 2 or length % 2]
    if any(task for *_, task in drawn):
        found = selected(dataset, 'task != "x" and mean("rewards") <= 1')
        assert found == [n for n, (_, reward, task) in enumerate(drawn) if task != "x" and reward <= 1]
