"""create_dataset_from_arrays: every layout that logs come in, and what had to be assumed."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

import minari
from minari import create_dataset_from_arrays
from minari.errors import DatasetIdError, EpisodeError, MinariError, SpaceError
from support.scripted import listing
from support.values import assert_identical


pytestmark = pytest.mark.filterwarnings("ignore:`.*` is set to None", "ignore:.*assumed that")

# Three episodes of 3, 1 and 4 steps; the second is truncated.
ENDS = np.array([0, 0, 1, 0, 0, 0, 0, 1], bool)
CUTS = np.array([0, 0, 0, 1, 0, 0, 0, 0], bool)
LENGTHS = [3, 1, 4]
N, E = 8, 3
BEFORE = np.arange(N, dtype=np.float32)[:, None] * [1, 10]  # of each step
AFTER = BEFORE + 100
WITH_FINAL = np.concatenate([BEFORE[:3], AFTER[2:3], BEFORE[3:4], AFTER[3:4], BEFORE[4:], AFTER[7:]])
STARTS, LASTS = [0, 3, 4], [2, 3, 7]


def create(dataset_id: str = "test/arrays-v0", **changes: Any) -> minari.MinariDataset:
    """Return a dataset of the eight steps, loaded again."""
    arguments: dict[str, Any] = {
        "observations": WITH_FINAL.astype(np.float32),
        "actions": np.array([0, 1, 2, 0, 1, 2, 0, 1]),
        "rewards": np.arange(N) / 2,
        "terminations": ENDS,
        "truncations": CUTS,
    }
    create_dataset_from_arrays(dataset_id, **(arguments | changes))
    return minari.load_dataset(dataset_id)


# Layouts


@pytest.mark.parametrize(
    ("changes", "last"),
    [
        ({}, AFTER),
        ({"observations": BEFORE, "next_observations": AFTER}, AFTER),
        ({"observations": BEFORE, "final_observation": "repeat"}, BEFORE),
    ],
)
def test_each_layout_gives_the_same_episodes(changes: dict[str, Any], last: Any) -> None:
    dataset = create(**changes)
    assert [len(episode) for episode in dataset] == LENGTHS
    for episode, start, length, end in zip(dataset, STARTS, LENGTHS, LASTS, strict=True):
        part = slice(start, start + length)
        assert episode.observations.tolist() == [*BEFORE[part].tolist(), last[end].tolist()]
        assert_identical(episode.actions, np.array([0, 1, 2, 0, 1, 2, 0, 1])[part])
        assert_identical(episode.rewards, (np.arange(N) / 2)[part])
        assert_identical(episode.terminations, ENDS[part])
        assert_identical(episode.truncations, CUTS[part])
        assert episode.infos == {}
    assert dataset.storage.metadata.get("final_observation") == changes.get("final_observation")


def test_the_last_step_is_dropped_where_that_is_asked_for() -> None:
    dataset = create(observations=BEFORE, final_observation="drop_last_step", infos={"k": np.arange(N)})
    assert [len(episode) for episode in dataset] == [2, 3]
    assert [e.observations.tolist() for e in dataset] == [BEFORE[:3].tolist(), BEFORE[4:].tolist()]
    assert [e.rewards.tolist() for e in dataset] == [[0.0, 0.5], [2.0, 2.5, 3.0]]
    # The step in which they terminated is gone, so they end truncated.
    assert [e.terminations.tolist() for e in dataset] == [[False] * 2, [False] * 3]
    assert [e.truncations.tolist() for e in dataset] == [[False, True], [False, False, True]]
    assert [e.infos["k"].tolist() for e in dataset] == [[0, 0, 1], [0, 4, 5, 6]]
    metadata = dataset.storage.metadata
    assert metadata["final_observation"] == "drop_last_step"
    assert "1 episodes of a single step are left out" in metadata["assumptions"]


def test_a_missing_last_observation_is_an_error_unless_something_is_chosen(datasets_root: Path) -> None:
    with pytest.raises(EpisodeError, match=r"8 observations for 8 steps in 3 episodes.*next_observations.*\"repeat\""):
        create(observations=BEFORE)
    with pytest.raises(EpisodeError, match="final_observation is 'guess'"):
        create(observations=BEFORE, final_observation="guess")
    assert listing(datasets_root) == {}


def test_an_end_that_nobody_says_is_assumed_and_noted() -> None:
    with pytest.warns(UserWarning, match=r"test/arrays-v0: assumed that the last episode.*is truncated") as caught:
        dataset = create(observations=np.arange(9.0), terminations=np.zeros(8), truncations=None)
    assert len([w for w in caught if "assumed" in str(w.message)]) == 1
    (episode,) = dataset
    assert episode.truncations.tolist() == [False] * 7 + [True]
    assumptions = dataset.storage.metadata["assumptions"]
    assert assumptions[0] == "the last episode, which no termination or truncation ends, is truncated"
    assert all(assumption in str(caught[0].message) for assumption in assumptions)


def test_what_is_given_is_not_changed() -> None:
    arrays = {"terminations": np.zeros(8, bool), "truncations": np.zeros(8, bool), "observations": BEFORE.copy()}
    for array in arrays.values():
        array.flags.writeable = False
    dataset = create(**arrays, final_observation="drop_last_step")
    assert dataset[0].truncations.tolist() == [False] * 6 + [True]


@pytest.mark.parametrize("kind", [list, np.asarray, lambda values: np.asarray(values).reshape(-1, 1), tuple])
def test_flags_and_rewards_are_taken_in_any_form(kind: Any) -> None:
    dataset = create(rewards=kind(range(8)), terminations=kind(ENDS.astype(int)), truncations=kind(CUTS.astype(float)))
    assert [len(episode) for episode in dataset] == LENGTHS
    assert dataset[2].rewards.tolist() == [4, 5, 6, 7]


def test_nested_columns_are_taken() -> None:
    observations = {"a": WITH_FINAL.astype(np.float32), "b": (np.arange(11, dtype=np.uint8), {"c": np.arange(11)})}
    actions = (np.arange(8) % 3, {"push": np.linspace(0, 1, 8)})
    dataset = create(observations=observations, actions=actions)
    limits = np.iinfo(np.int64)
    numbers = spaces.Dict(c=spaces.Box(limits.min, limits.max, (), np.int64))
    assert dataset.observation_space == spaces.Dict(
        a=spaces.Box(-np.inf, np.inf, (2,), np.float32), b=spaces.Tuple([spaces.Box(0, 255, (), np.uint8), numbers])
    )
    push = spaces.Dict(push=spaces.Box(-np.inf, np.inf, (), np.float64))
    assert dataset.action_space == spaces.Tuple([spaces.Discrete(3), push])
    assert_identical(dataset[1].observations["b"][0], np.array([4, 5], np.uint8))
    assert_identical(dataset[2].observations["b"][1]["c"], np.arange(6, 11))
    assert_identical(dataset[2].actions[1]["push"], np.linspace(0, 1, 8)[4:])
    after = {"a": AFTER, "b": (np.arange(8) + 50,)}
    dataset = create("test/after-v0", observations={"a": BEFORE, "b": (np.arange(8),)}, next_observations=after)
    assert dataset[0].observations["b"][0].tolist() == [0, 1, 2, 52]
    assert dataset[2].observations["a"][-1].tolist() == AFTER[7].tolist()


# Infos


def test_infos_of_the_steps_are_masked_at_the_resets() -> None:
    dataset = create(infos={"k": np.arange(8), "deep": {"v": np.ones((8, 2)), "t": list("abcdefgh")}})
    for episode, start, length in zip(dataset, STARTS, LENGTHS, strict=True):
        assert episode.infos["k"].tolist() == [0, *range(start, start + length)]
        assert episode.infos["_k"].tolist() == [False] + [True] * length
        assert_identical(episode.infos["deep"]["v"], np.repeat([[0.0, 0.0], [1.0, 1.0]], [1, length], 0))
        assert list(episode.infos["deep"]["t"])[1:] == list("abcdefgh")[start : start + length]
        assert episode.infos["deep"]["_t"].tolist() == [False] + [True] * length


def test_infos_of_resets_and_steps_need_no_mask() -> None:
    dataset = create(infos={"k": np.arange(11), "n": np.arange(8)})
    assert [episode.infos["k"].tolist() for episode in dataset] == [[0, 1, 2, 3], [4, 5], [6, 7, 8, 9, 10]]
    assert all("_k" not in episode.infos and "_n" in episode.infos for episode in dataset)


# Spaces that are inferred


@pytest.mark.parametrize(
    ("column", "space"),
    [
        (np.zeros((11, 2, 3), np.float16), spaces.Box(-np.inf, np.inf, (2, 3), np.float16)),
        (np.zeros(11, np.float64), spaces.Box(-np.inf, np.inf, (), np.float64)),
        (np.zeros((11, 4), np.int8), spaces.Box(-128, 127, (4,), np.int8)),
        (np.zeros((11, 40, 36, 3), np.uint8), spaces.Box(0, 255, (40, 36, 3), np.uint8)),
        (np.zeros((11, 2), np.uint64), spaces.Box(0, 2**64 - 1, (2,), np.uint64)),
        (np.zeros((11, 2), bool), spaces.Box(0, 1, (2,), np.bool_)),
        (np.array(list("abcabcabcab")), spaces.Text(1, charset="abc")),
        (["", "xyz"] + ["y"] * 9, spaces.Text(3, min_length=0, charset="xyz")),
        ([""] * 11, spaces.Text(1, min_length=0, charset="a")),
    ],
)
def test_observation_spaces_are_inferred(column: Any, space: spaces.Space[Any]) -> None:
    with pytest.warns(UserWarning, match="the observation space is "):
        dataset = create(observations=column)
    assert dataset.observation_space == space
    assert [len(episode) for episode in dataset] == LENGTHS
    assert all(space.contains(value) for episode in dataset for value in episode.observations)


@pytest.mark.parametrize(
    ("column", "space"),
    [
        ([0, 1, 2, 0, 1, 2, 0, 5], spaces.Discrete(6)),
        ([3, 3, 3, 3, 3, 3, 3, 4], spaces.Discrete(5)),
        ([-2, 3, 0, 0, 0, 0, 0, 0], spaces.Discrete(6, start=-2)),
        (np.array([0, 255] * 4, np.uint8), spaces.Discrete(256)),
        (np.array([0, 2**62, -(2**62), 0] * 2), spaces.Box(-(2**63), 2**63 - 1, (), np.int64)),
        (np.array([0, 2**64 - 1] * 4, np.uint64), spaces.Box(0, 2**64 - 1, (), np.uint64)),
        (np.zeros((8, 1), int), spaces.Box(-(2**63), 2**63 - 1, (1,), np.int64)),
        (np.zeros(8, bool), spaces.Box(0, 1, (), np.bool_)),
        (np.zeros((8, 28), np.float32), spaces.Box(-np.inf, np.inf, (28,), np.float32)),
    ],
)
def test_action_spaces_are_inferred(column: Any, space: spaces.Space[Any]) -> None:
    dataset = create(actions=column)
    assert dataset.action_space == space
    assert f"the action space is {space}" in dataset.storage.metadata["assumptions"]
    assert_identical(np.concatenate([episode.actions for episode in dataset]), np.asarray(column))


@pytest.mark.filterwarnings("error:.*assumed that")
def test_nothing_is_assumed_where_everything_is_given() -> None:
    given = {"observation_space": spaces.Box(-999, 999, (2,)), "action_space": spaces.Discrete(3)}
    dataset = create(**given)
    assert (dataset.observation_space, dataset.action_space) == tuple(given.values())
    assert "assumptions" not in dataset.storage.metadata
    cart = create(
        "test/cartpole-v0", observations=np.zeros((11, 4), np.float32), actions=ENDS.astype(int), env="CartPole-v1"
    )
    assert cart.env_spec.id == "CartPole-v1"


def test_all_that_create_dataset_from_buffers_takes_is_taken(tmp_path: Path) -> None:
    frames = np.zeros((11, 40, 36, 3), np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = create_dataset_from_arrays(
            "frames-v0", frames, np.zeros(8, int), np.zeros(8), ENDS, CUTS,
            jpeg_encoding=True, root=tmp_path, author="Ann", ref_min_score=0.0, ref_max_score=2.0, data_format="hdf5",
        )  # fmt: skip
    metadata = minari.load_dataset("frames-v0", root=tmp_path).storage.metadata
    assert (metadata["jpeg_encoding"], metadata["author"], metadata["ref_max_score"]) == (True, {"Ann"}, 2.0)
    assert dataset[0].observations.shape == (4, 40, 36, 3)


# What is refused


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no-step": ({"rewards": []}, "no step"),
    "fewer-observations": ({"observations": BEFORE[:7]}, "The observations have 7 rows, expected 8 or 11"),
    "one-more-observation": ({"observations": np.zeros(9)}, "have 9 rows, expected 8 or 11"),
    "observations-missing": ({"observations": None}, "observations have 0 rows"),
    "ragged-observations": ({"observations": [[1, 2], [1]] * 4}, "observations differ in shape"),
    "parts-of-other-lengths": ({"observations": {"a": BEFORE, "b": WITH_FINAL}}, "differ in length"),
    "fewer-actions": ({"actions": np.zeros(7)}, "actions have 7 rows, expected 8"),
    "actions-with-a-last-one": ({"actions": np.zeros(11)}, "actions have 11 rows, expected 8"),
    "fewer-terminations": ({"terminations": ENDS[:7]}, "terminations have 7 rows, expected 8"),
    "more-truncations": ({"truncations": np.zeros(9)}, "truncations have 9 rows"),
    "nan-terminations": ({"terminations": [0, 0, 1, 0, 0, 0, 0, np.nan]}, "float64 values, expected booleans"),
    "halves-for-flags": ({"truncations": [0.5] * 8}, "expected booleans"),
    "text-for-flags": ({"terminations": ["True"] * 8}, "expected booleans"),
    "matrix-of-flags": ({"terminations": np.zeros((4, 2))}, r"shape \(4, 2\), expected one value a step"),
    "empty-rewards": ({"rewards": np.zeros((4, 0))}, r"shape \(4, 0\), expected one value a step"),
    "one-reward": ({"rewards": 3.0}, r"shape \(\), expected one value a step"),
    "ragged-rewards": ({"rewards": [[1], [2, 3]]}, "rewards differ in shape"),
    "text-rewards": ({"rewards": ["a"] * 8}, "rewards are"),
    "other-lengths-after": ({"observations": BEFORE, "next_observations": AFTER[:7]}, "next_observations have 7 rows"),
    "other-shape-after": ({"observations": BEFORE, "next_observations": AFTER[:, :1]}, r"of shape \(1,\) a step"),
    "other-dtype-after": ({"observations": BEFORE, "next_observations": AFTER.astype(np.int32)}, "int32.*float64"),
    "other-nesting-after": ({"observations": BEFORE, "next_observations": {"a": AFTER}}, "next_observations are"),
    "other-keys-after": ({"observations": {"a": BEFORE}, "next_observations": {"b": AFTER}}, "next_observations are"),
    "infos-of-other-lengths": ({"infos": {"k": {"deep": np.zeros(9)}}}, "infos/k/deep have 9 rows"),
    "infos-as-a-list": ({"infos": [{"k": 1}] * 8}, "expected a dict of arrays"),
    "mask-that-is-taken": ({"infos": {"k": np.zeros(8), "_k": np.zeros(8)}}, "would overwrite the info '_k'"),
    "all-dropped": (
        {"observations": BEFORE, "terminations": np.ones(8), "final_observation": "drop_last_step"},
        "There is no episode",
    ),
    "other-shape-than-the-space": ({"observation_space": spaces.Box(-9, 9, (5,))}, r"expected \(5,\)"),
}


@pytest.mark.parametrize("name", BAD)
def test_arrays_that_do_not_fit_together_are_refused(name: str, datasets_root: Path) -> None:
    changes, text = BAD[name]
    with pytest.raises(EpisodeError, match=text) as caught:
        create(**changes)
    assert isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)
    assert listing(datasets_root) == {}


@pytest.mark.parametrize(
    "column",
    [np.array([None] * 11), np.zeros(11, complex), np.zeros(11, "M8[s]"), [b"a"] * 11, np.zeros(11, np.longdouble)],
)
def test_values_for_which_there_is_no_space_are_refused(column: Any, datasets_root: Path) -> None:
    with pytest.raises(SpaceError) as caught:
        create(observations=column)
    assert isinstance(caught.value, MinariError)
    assert listing(datasets_root) == {}


def test_the_id_is_looked_at_first() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DatasetIdError):
            create("no version")
