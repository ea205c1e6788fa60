"""Values that live in memory of others: what is recorded is what they were, and a step never fails over them."""

from __future__ import annotations

import ctypes
import socket
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from minari import DataCollector
from minari.errors import EpisodeError
from support.scripted import ScriptedEnv, play


pytestmark = [
    pytest.mark.filterwarnings("ignore:`.*` is set to None"),
    pytest.mark.filterwarnings("ignore:.* is not in .* space"),
    pytest.mark.filterwarnings("ignore:Casting input"),
]

SHARED = (ctypes.c_float * 2)()
ARRAY = np.frombuffer(SHARED, np.float32)


class Handle:
    """Gives the memory of somebody else, and cannot be copied."""

    def __deepcopy__(self, memo: Any) -> Any:
        raise TypeError("no copies")

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return ARRAY  # whatever is asked


class ItsOwnCopy(Handle):
    """Its copies share its memory."""

    def __deepcopy__(self, memo: Any) -> Any:
        return self


class Tensor:
    """Like one that has a graph of gradients."""

    def __init__(self, has_gradient: bool = True) -> None:
        self._has_gradient = has_gradient

    def detach(self) -> Tensor:
        return Tensor(has_gradient=False)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        if self._has_gradient:
            raise RuntimeError("call detach() first")
        return ARRAY


class SharingArray(np.ndarray):
    """An array whose copies are views."""

    def copy(self, order: Any = "C") -> Any:
        return self

    def __deepcopy__(self, memo: Any) -> Any:
        return self


class OnDevice:
    """Cannot become an array here."""

    shape = (2,)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise TypeError("it is on device 7")


class Interface:
    """Tells where an array lies."""

    @property
    def __array_interface__(self) -> Any:
        return ARRAY.__array_interface__


SHARING: dict[str, Any] = {
    "memoryview": memoryview(SHARED).cast("B").cast("f"),
    "ctypes": SHARED,
    "view": ARRAY[::-1][::-1],
    "handle": Handle(),
    "its-own-copy": ItsOwnCopy(),
    "tensor": Tensor(),
    "subclass": ARRAY.view(SharingArray),
    "interface": Interface(),
}


def showing(value: Any) -> Callable[[int], Any]:
    def show(time: int) -> Any:
        ARRAY[:] = time / 8
        return value

    return show


@pytest.mark.parametrize("name", SHARING)
@pytest.mark.parametrize("space", [spaces.Box(-9, 9, (2,)), spaces.Box(-9, 9, (2,), np.float64)], ids=str)
def test_memory_of_others_is_copied(name: str, space: spaces.Space[Any]) -> None:
    value = SHARING[name]
    inform = showing({"ram": value, "deep": {"list": [value, {"x": value}], "pair": (value, "a")}})
    collector = DataCollector(ScriptedEnv(showing(value), inform=inform, observation_space=space), record_infos=True)
    play(collector)
    episode = collector.create_dataset("test/shared-v0")[0]
    times = np.repeat(np.arange(6, dtype=np.float32)[:, None] / 8, 2, axis=1)
    assert np.array_equal(episode.observations, times)
    assert episode.infos["ram"].dtype == np.float32
    assert np.array_equal(episode.infos["ram"], times)
    assert [row[0] for row in episode.infos["deep"]["list"]] == times.tolist()
    assert [row[1]["x"] for row in episode.infos["deep"]["list"]] == times.tolist()
    assert np.array_equal(episode.infos["deep"]["pair"][0], times)


@pytest.mark.parametrize("name", SHARING)
def test_actions_and_options_in_memory_of_others(name: str) -> None:
    collector = DataCollector(ScriptedEnv(action_space=spaces.Box(-9, 9, (2,))))
    ARRAY[:] = 7
    collector.reset(options={"start": SHARING[name]})
    for time in range(5):
        ARRAY[:] = time
        collector.step(SHARING[name])
        ARRAY[:] = -1
    dataset = collector.create_dataset("test/shared-v0")
    assert dataset[0].actions.tolist() == [[time, time] for time in range(5)]
    (metadata,) = dataset.storage.get_episode_metadata([0])
    assert metadata["options"]["start"].tolist() == [7, 7]


@pytest.mark.parametrize("name", SHARING)
def test_rewards_in_memory_of_others(name: str) -> None:
    collector = DataCollector(ScriptedEnv(reward=showing(SHARING[name])))
    play(collector)
    dataset = collector.create_dataset("test/shared-v0")
    assert dataset[0].rewards.tolist() == [[time / 8] * 2 for time in range(1, 6)]


def circle() -> list[Any]:
    inner: list[Any] = []
    inner += [inner, inner]
    return inner


class WithoutWords:
    """Not even its errors can be printed."""

    class Error(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    def __deepcopy__(self, memo: Any) -> Any:
        raise self.Error

    def __repr__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("value", "type_name"),
    [
        (OnDevice(), "OnDevice"),
        (socket.socket(), "socket"),
        ((number for number in range(3)), "generator"),
        (WithoutWords(), "WithoutWords"),
        ([1, OnDevice()], "OnDevice"),
    ],
    ids=["device", "socket", "generator", "without-words", "in-a-list"],
)
def test_what_cannot_be_kept_is_named(value: Any, type_name: str) -> None:
    """With its leaf, its step and its type; the other episodes and the rest of this one are there."""

    def inform(time: int) -> dict[str, Any]:
        return {"a": {"odd": value if time == 2 else None, "fine": time}}

    collector = DataCollector(ScriptedEnv(inform=inform), record_infos=True)
    play(collector)
    with pytest.raises(EpisodeError, match=rf"'infos/a/odd' at step 2 .*{type_name}") as caught:
        collector.create_dataset("test/odd-v0")
    assert "discard_info('a/odd')" in str(caught.value)
    collector.discard_info("a/odd")
    assert collector.create_dataset("test/odd-v0")[0].infos["a"].keys() == {"fine"}
    if isinstance(value, socket.socket):
        assert value.fileno() != -1  # it is still open
        value.close()


@pytest.mark.parametrize("value", [OnDevice(), WithoutWords(), circle()], ids=["device", "without-words", "circle"])
@pytest.mark.parametrize("where", ["observations", "actions", "rewards", "infos"])
def test_a_step_never_fails(value: Any, where: str) -> None:
    env = ScriptedEnv(
        lambda time: value if where == "observations" and time == 2 else np.zeros(2, np.float32),
        reward=lambda time: value if where == "rewards" and time == 2 else 0.0,
        inform=lambda time: {"x": value if where == "infos" and time == 2 else 0},
        action_space=spaces.Box(-9, 9, (2,)),
    )
    collector = DataCollector(env, record_infos=True)
    collector.reset()
    for time in range(5):
        collector.step(value if where == "actions" and time == 1 else np.zeros(2, np.float32))
    step = {"actions": 1, "rewards": 1}.get(where, 2)
    with pytest.raises(EpisodeError, match=f"at step {step} ") as caught:
        collector.create_dataset("test/odd-v0")
    assert where in str(caught.value)
