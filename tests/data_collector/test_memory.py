"""Values that live in memory of others are recorded as they were."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from minari import DataCollector
from support.scripted import ScriptedEnv


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


@pytest.mark.parametrize("name", SHARING)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_memory_of_others_is_copied(name: str, dtype: type) -> None:
    value = SHARING[name]

    def showing(shown: Any) -> Callable[[int], Any]:
        def show(time: int) -> Any:
            ARRAY[:] = time / 8
            return shown

        return show

    inform = showing({"ram": value, "deep": {"list": [value, {"x": value}], "pair": (value, "a")}})
    space = spaces.Box(-9, 9, (2,), dtype)
    env = ScriptedEnv(showing(value), inform=inform, reward=showing(value), observation_space=space, action_space=space)
    collector = DataCollector(env, record_infos=True)
    ARRAY[:] = 7
    collector.reset(options={"start": value})
    for time in range(5):
        ARRAY[:] = time
        collector.step(value)
        ARRAY[:] = -1
    dataset = collector.create_dataset("test/shared-v0")
    episode = dataset[0]
    times = np.repeat(np.arange(6, dtype=np.float32)[:, None] / 8, 2, axis=1)
    assert np.array_equal(episode.observations, times)
    assert np.array_equal(episode.rewards, times[1:])
    assert episode.actions.tolist() == [[time, time] for time in range(5)]
    assert episode.infos["ram"].dtype == np.float32
    assert np.array_equal(episode.infos["ram"], times)
    assert [row[0] for row in episode.infos["deep"]["list"]] == times.tolist()
    assert [row[1]["x"] for row in episode.infos["deep"]["list"]] == times.tolist()
    assert np.array_equal(episode.infos["deep"]["pair"][0], times)
    (metadata,) = dataset.storage.get_episode_metadata([0])
    assert metadata["options"]["start"].tolist() == [7, 7]
