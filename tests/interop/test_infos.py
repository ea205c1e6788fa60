"""Infos and rewards of every kind: stored by either package, and read by both."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import minari
from minari.testing.comparison import assert_same
from support import kinds, operations
from support.cases import spaces_of
from support.scripted import play
from support.toys import ToyEnv, Witness
from support.values import assert_identical, leaves, stack_steps


pytestmark = pytest.mark.filterwarnings("ignore:.* is set to None:UserWarning")

ARRAYS = ("observations", "actions", "rewards", "terminations", "truncations")
COLUMNAR = ["arrow", "parquet"]


def collected(env: gym.Env[Any, Any], dataset_id: str, *, seeds: tuple[int, ...] = (1,), **options: Any) -> None:
    """Record an episode of each seed."""
    collector = minari.DataCollector(env, jpeg_encoding=False, **options)
    for seed in seeds:
        play(collector, action=env.action_space.sample(), seed=seed)
    collector.create_dataset(dataset_id, **operations.METADATA)


@pytest.mark.parametrize("kind", kinds.INFOS)
def test_infos(kind: str, reference: Any) -> None:
    operations.record_kind("ours-v0", info=kind)
    reference.record_kind("theirs-v0", info=kind)
    assert_same(operations.values_of_kind("ours-v0"), operations.values_of_kind("theirs-v0"))
    assert_same(reference.values_of_kind("ours-v0"), reference.values_of_kind("theirs-v0"))
    operations.combine(["theirs-v0", "ours-v0"], "both-v0")
    assert_same(reference.values_of_kind("both-v0"), reference.values_of_kind("theirs-v0") * 2)


@pytest.mark.parametrize("kind", ["bytes", "bytes-that-are-no-text", "bytes-of-numpy", "void", "arrays-of-bytes"])
def test_bytes_come_back_as_they_do_there(kind: str, reference: Any) -> None:
    reference.record_kind("theirs-v0", info=kind)
    for _, values in operations.values_of_kind("theirs-v0"):
        expected = [kinds.INFOS[kind](time) for time in range(5)]
        assert [np.asarray(value).tolist() for value in values] == [np.asarray(value).tolist() for value in expected]


@pytest.mark.parametrize("kind", kinds.REWARDS)
def test_rewards(kind: str, reference: Any) -> None:
    operations.record_kind("ours-v0", reward=kind)
    reference.record_kind("theirs-v0", reward=kind)
    expected = np.stack([np.asarray(kinds.REWARDS[kind](time)) for time in range(1, 5)])
    expected = expected.astype(expected.dtype.newbyteorder("="))
    for dataset_id in ("ours-v0", "theirs-v0"):
        for package in (operations, reference):
            for rewards, _ in package.values_of_kind(dataset_id):
                assert_same(rewards, expected)
    reference.record_kind("ours-v0", reward=kind)  # appended by it to ours, and by us to its
    operations.record_kind("theirs-v0", reward=kind)
    assert len(reference.values_of_kind("theirs-v0")) == len(operations.values_of_kind("ours-v0")) == 4


class Capricious(ToyEnv):
    """Gives an info in every other step."""

    always: Any = staticmethod(lambda time: {})

    def _info(self) -> dict[str, Any]:
        bonus = {"bonus": np.float64(self._time / 2)} if self._time % 2 else {}
        return {"time": np.int64(self._time), **self.always(self._time), **bonus}


def test_infos_whose_keys_come_and_go(reference: Any) -> None:
    """0.5.4 could not record these; what we make of them is an ordinary dataset to it."""
    collected(Capricious(*spaces_of("discrete")), "capricious-v0", record_infos=True)
    ours, theirs = (side.dump("capricious-v0")["episodes"][0]["infos"] for side in (operations, reference))
    assert_identical(ours, theirs)
    assert ours["time"].tolist() == [0, 1, 2, 3, 4]
    assert ours["_bonus"].tolist() == [False, True, False, True, False]
    assert ours["bonus"][ours["_bonus"]].tolist() == [0.5, 1.5]
    assert len(ours["bonus"]) == 5


@pytest.mark.parametrize("data_format", COLUMNAR)
def test_infos_of_no_fixed_shape_in_columns(data_format: str, reference: Any) -> None:
    """The release reads the rest of the episodes, and of these infos what it has a place for."""
    env = Capricious(*spaces_of("discrete"))
    env.always = lambda t: {"ragged": np.arange(t % 3), "odd": [None, "a"], "void": np.empty((0, 2), np.float32)}
    collected(env, "capricious-v0", seeds=(1, 2), record_infos=True, data_format=data_format)
    ours, theirs = (side.dump("capricious-v0")["episodes"] for side in (operations, reference))
    for episode in ours:
        assert [array.tolist() for array in episode["infos"]["ragged"]] == [[], [0], [0, 1], [], [0]]
        assert episode["infos"]["odd"].tolist() == [[None, "a"]] * 5
        assert episode["infos"]["void"].shape == (5, 0, 2)
    for read in (ours, theirs):
        assert [episode["id"] for episode in read] == [0, 1]
        for episode in read:
            assert episode["infos"]["time"].tolist() == [0, 1, 2, 3, 4]
            assert episode["infos"]["_bonus"].tolist() == [False, True, False, True, False]
            assert episode["infos"]["bonus"].tolist() == [0, 0.5, 0, 1.5, 0]
            assert len(episode["observations"]) == 5
    assert theirs[0]["infos"]["odd"][0] == {"_json": '[null, "a"]'}


def test_infos_of_every_kind_leave_the_dataset_readable(reference: Any) -> None:
    """However we keep odd infos: the release reads all the rest of the dataset, and may add to it."""
    odd = {"text": "größe", "nothing": None, "list": [1, "two", None], "empty": {}, "big": 2**70,
           "wide": np.arange(4, dtype=np.uint64)}  # fmt: skip

    class Odd(ToyEnv):
        def _info(self) -> dict[str, Any]:
            ragged = np.arange(self._time, dtype=np.float32)
            return {"tick": np.int64(self._time), "ragged": ragged, "odd": dict(list(odd.items())[: self._time * 3])}

    witness = Witness(Odd(*spaces_of("dict"), truncate=True))
    collected(witness, "odd-v0", record_infos=True)
    recorded = {name: stack_steps(witness.episodes[0][name]) for name in ARRAYS}
    reference.append("odd-v0", "dict", how="buffers", seed=9)
    for dump in (operations.dump("odd-v0", "dict"), reference.dump("odd-v0", "dict")):
        assert dump["same_spaces"]
        assert dump["total_episodes"] == 3
        episode = dump["episodes"][0]
        assert_identical({name: episode[name] for name in ARRAYS}, recorded)
        assert episode["infos"]["tick"].tolist() == [0, 1, 2, 3, 4]


def test_what_a_step_data_callback_adds(reference: Any) -> None:
    class Height(minari.StepDataCallback):
        def __call__(self, env: Any, **values: Any) -> Any:
            height = np.float32(len(values["info"]) + 0.5)
            return super().__call__(env, **values) | {"physics": {"height": height, "parts": (np.int8(1), np.int8(2))}}

    collected(ToyEnv(*spaces_of("discrete")), "height-v0", step_data_callback=Height)
    for dump in (operations.dump("height-v0"), reference.dump("height-v0")):
        infos = leaves(dump["episodes"][0]["infos"])
        assert_identical(infos["physics", "height"], np.full(5, 0.5, np.float32))
