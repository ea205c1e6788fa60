"""Batches of many agents, joint and of each, of random datasets in every format, beside slow code."""

from __future__ import annotations

import itertools
import pickle
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

import minari
from minari import MinariDataset
from minari.errors import ArgumentError, SpaceError
from minari.sampling import JointTransitions
from minari.testing.storage_suites.agents import draw_agents
from support.copies import is_installed
from support.programs import run
from support.sampling_model import assert_same, row, stacked


pytestmark = pytest.mark.filterwarnings("ignore::minari.errors.MissingMetadataWarning", "ignore::UserWarning")

FORMATS = [name for name in ("hdf5", "arrow", "parquet", "zarr") if name == "hdf5" or is_installed(name)]
SPACES: dict[str, gym.Space[Any]] = {
    "vector": spaces.Box(-1.0, 1.0, (3,), np.float32),
    "number": spaces.Box(-1.0, 1.0, (), np.float64),
    "discrete": spaces.Discrete(5),
    "nested": spaces.Dict(
        {"grid": spaces.MultiBinary([2, 2]), "pair": spaces.Tuple((spaces.Discrete(3), spaces.Box(0, 1, (2,))))}
    ),
}
AGENTS = ("a", 1, "team/b", "d")
_numbers = itertools.count()


def make(
    data_format: str, observations: str, actions: str, agents: int, lengths: list[int], first: int
) -> MinariDataset:
    observation_spaces = dict.fromkeys(AGENTS[:agents], SPACES[observations])
    action_spaces = dict.fromkeys(AGENTS[:agents], SPACES[actions])
    return minari.create_dataset_from_buffers(
        f"joint/number{next(_numbers)}-v0",
        [
            draw_agents(observation_spaces, action_spaces, length, number)[0]
            for number, length in enumerate(lengths, first)
        ],
        observation_space=observation_spaces,
        action_space=action_spaces,
        data_format=data_format,
    )


@st.composite
def datasets(draw: st.DrawFn) -> MinariDataset:
    """A dataset of many agents, or a view of one."""
    dataset = make(
        draw(st.sampled_from(FORMATS)),
        draw(st.sampled_from(sorted(SPACES))),
        draw(st.sampled_from(sorted(SPACES))),
        draw(st.integers(1, 4)),
        draw(st.lists(st.integers(1, 6), min_size=1, max_size=4)),
        draw(st.integers(0, 9)),
    )
    return dataset[draw(st.permutations(range(len(dataset))))[: draw(st.integers(1, len(dataset)))]]


def slow_step(dataset: MinariDataset, place: int, step: int) -> dict[str, Any]:
    """Return one joint transition out of a whole episode."""
    episode: Any = dataset[place]
    joint: dict[str, list[Any]] = {}
    for agent in dataset.agents:
        one = episode.episodes.get(agent)
        rows = [] if one is None else one.timesteps.tolist()
        at = rows.index(step) if step in rows else None
        acts = at is not None and at < len(rows) - 1
        model: Any = one if one is not None else next(episode[other] for other in episode if len(episode[other]))
        values = {
            "observations": _row_or_zeros(model.observations, at),
            "actions": _row_or_zeros(_some_actions(dataset, place, agent), at if acts else None),
            "next_observations": _row_or_zeros(model.observations, at + 1 if acts else None),  # type: ignore[operator]
            "rewards": one.rewards[at] if acts else 0.0,
            "terminations": bool(acts and one.terminations[at]),
            "truncations": bool(acts and one.truncations[at]),
            "masks": acts,
            "alive": at is not None,
        }
        for name, value in values.items():
            joint.setdefault(name, []).append(value)
    return {
        **{name: stacked(values) for name, values in joint.items()},
        "episode_ids": np.int64(episode.id),
        "timesteps": np.int64(step),
    }


def _some_actions(dataset: MinariDataset, place: int, agent: Any) -> Any:
    """Return the actions of the agent, or of another one if it has none, of which only the form is used."""
    episode: Any = dataset[place]
    if agent in episode and len(episode[agent]):
        return episode[agent].actions
    return next(episode[other].actions for other in episode if len(episode[other]))


def _row_or_zeros(values: Any, at: int | None) -> Any:
    if isinstance(values, dict):
        return {key: _row_or_zeros(part, at) for key, part in values.items()}
    if isinstance(values, tuple):
        return tuple(_row_or_zeros(part, at) for part in values)
    return np.zeros_like(values[0]) if at is None else row(values, at)


@given(dataset=datasets(), data=st.data())
@settings(max_examples=60)
def test_joint_transitions_are_those_of_whole_episodes(dataset: MinariDataset, data: st.DataObject) -> None:
    joint = dataset.transitions(joint=True)
    assert len(joint) == dataset.total_steps
    assert joint.agents == dataset.agents
    steps = [(place, step) for place in range(len(dataset)) for step in range(len(dataset[place]))]
    chosen = data.draw(st.lists(st.integers(0, len(steps) - 1), min_size=1, max_size=8))
    batch = joint[chosen]
    expected = stacked([slow_step(dataset, *steps[index]) for index in chosen])
    assert_same(batch, {name: expected[name] for name in batch})
    assert set(batch) == set(expected)
    assert_same(pickle.loads(pickle.dumps(joint))[chosen], batch)
    assert_same(joint[chosen[0]], slow_step(dataset, *steps[chosen[0]]))


@given(dataset=datasets(), data=st.data())
@settings(max_examples=40)
def test_views_of_agents_are_sampled_like_any_dataset(dataset: MinariDataset, data: st.DataObject) -> None:
    agent = data.draw(st.sampled_from(dataset.agents))
    view = dataset.for_agent(agent)
    whole = [episode[agent] for episode in dataset if agent in episode and len(episode[agent])]  # type: ignore[index, operator]
    assert view.total_steps == sum(map(len, whole)) == dataset.agent_steps[agent]
    if not whole:
        return
    batch = view.transitions(returns_to_go=True).arrays()
    flat: list[dict[str, Any]] = [
        {
            "observations": row(one.observations, step),
            "actions": row(one.actions, step),
            "next_observations": row(one.observations, step + 1),
            "rewards": one.rewards[step],
            "episode_ids": np.int64(one.id),
            "timesteps": np.int64(step),
        }
        for one in whole
        for step in range(len(one))
    ]
    expected = stacked(flat)
    assert_same({name: batch[name] for name in expected}, expected)  # type: ignore[literal-required]
    np.testing.assert_allclose(batch["returns_to_go"][0], whole[0].rewards.sum())
    windows = view.windows(2, pad="right")
    assert_same(pickle.loads(pickle.dumps(windows)).arrays(), windows.arrays())
    np.testing.assert_array_equal(windows.arrays()["rewards"][:, 0], batch["rewards"])


@pytest.fixture(params=FORMATS)
def dataset(request: pytest.FixtureRequest) -> MinariDataset:
    return make(request.param, "vector", "discrete", 3, [4, 2, 7, 5], 0)


def test_fields_of_joint_transitions_are_chosen(dataset: MinariDataset) -> None:
    joint = dataset.transitions(joint=True, fields=["rewards", "masks"])
    assert list(joint[:]) == ["rewards", "masks"]
    assert joint[:]["rewards"].shape == joint[:]["masks"].shape == (18, 3)
    assert repr(joint).startswith("JointTransitions('joint/number")
    with pytest.raises(ArgumentError, match="There is no field 'reward'; the nearest names are 'rewards'"):
        dataset.transitions(joint=True, fields=["reward"])


def test_batches_of_joint_transitions_are_drawn_once_each(dataset: MinariDataset) -> None:
    joint = dataset.transitions(joint=True)
    drawn = [
        (episode, step)
        for batch in joint.batches(3, seed=1, epochs=1, drop_last=False)
        for episode, step in zip(batch["episode_ids"].tolist(), batch["timesteps"].tolist(), strict=True)
    ]
    assert sorted(drawn) == [(episode, step) for episode, length in enumerate((4, 2, 7, 5)) for step in range(length)]
    weighted = joint.batches(4, seed=1, weights="return")
    assert next(weighted)["observations"].shape == (4, 3, 3)
    out = joint[[0, 1]]
    assert joint.read(np.array([2, 3]), out=dict(out))["rewards"] is out["rewards"]
    assert joint[[]]["observations"].shape == (0, 3, 3)


def test_joint_transitions_are_read_by_workers(dataset: MinariDataset) -> None:
    run(
        f"""
        import minari, multiprocessing, operator

        joint = minari.load_dataset({dataset.id!r}).transitions(joint=True)
        view = minari.load_dataset({dataset.id!r}).for_agent("a").transitions()
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            for samples in (joint, view):
                batch = pool.apply(operator.getitem, [samples, [0, 2]])
                assert batch["observations"].tolist() == samples[[0, 2]]["observations"].tolist()
        """
    )


def test_transitions_of_many_agents_name_both_ways(dataset: MinariDataset) -> None:
    with pytest.raises(ArgumentError, match=r"use for_agent\('a'\).transitions\(\), or transitions\(joint=True\)"):
        dataset.transitions()
    with pytest.raises(ArgumentError, match=r"use for_agent\('a'\).windows\(\)"):
        dataset.windows(2)
    with pytest.raises(ArgumentError, match="n_step is given together with joint, expected only fields"):
        dataset.transitions(joint=True, n_step=2)  # type: ignore[call-overload]
    with pytest.raises(ArgumentError, match=r"joint is True, and .* has one agent"):
        dataset.for_agent("a").transitions(joint=True)


@pytest.mark.parametrize(
    ("of_b", "sentence"),
    [
        (SPACES["number"], r"agents 'a' and 'b' differ, .*: observations is Box"),
        (spaces.Text(3), r"agents 'a' and 'b' differ, .*: observations is Box"),
        (None, "observations of the agents have no fixed shape"),
    ],
    ids=["shape", "kind", "text"],
)
def test_agents_with_other_spaces_are_not_joined(of_b: Any, sentence: str) -> None:
    first = SPACES["vector"] if of_b is not None else spaces.Text(3)
    observations = {"a": first, "b": of_b if of_b is not None else first}
    actions = dict.fromkeys("ab", SPACES["discrete"])
    dataset = minari.create_dataset_from_buffers(
        "joint/others-v0",
        [draw_agents(observations, actions, 3, 2)[0]],
        observation_space=observations,
        action_space=actions,
    )
    with pytest.raises(SpaceError, match=sentence):
        dataset.transitions(joint=True)


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_cached_rows_of_agents_are_their_own(kind: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """Two agents with the same numbers of steps do not get the rows of each other."""
    monkeypatch.setenv("MINARI_CACHE_PATH", str(tmp_path))
    trajectory = {
        "actions": np.zeros(3, int),
        "rewards": np.zeros(3),
        "terminations": [0, 0, 1],
        "truncations": [0, 0, 0],
    }
    buffers = {
        agent: minari.data_collector.EpisodeBuffer(observations=np.full((4, 3), value, np.float32), **trajectory)
        for agent, value in {"a": 0.25, "b": 0.5}.items()
    }
    dataset = minari.create_dataset_from_buffers(
        "joint/cached-v0",
        [minari.data_collector.MultiAgentEpisodeBuffer(buffers)],
        observation_space=dict.fromkeys("ab", SPACES["vector"]),
        action_space=dict.fromkeys("ab", SPACES["discrete"]),
        compression="gzip",
    )
    for agent, value in {"a": 0.25, "b": 0.5}.items():
        for _ in range(2):
            assert (dataset.for_agent(agent).transitions(cache=kind)[:]["observations"] == value).all()
        assert dataset.for_agent(agent).field_statistics()["observations"].mean.tolist() == [value] * 3


def test_joint_transitions_are_public() -> None:
    assert issubclass(JointTransitions, minari.sampling.Samples)
